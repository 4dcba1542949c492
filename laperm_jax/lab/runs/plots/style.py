"""Colours, panels, layer names and file types of all pictures."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes as Panel
from matplotlib.cm import ScalarMappable
from matplotlib.figure import FigureBase

from laperm_jax.lab.config import ConfigError

RECONNECTED, FREE, INITIAL, CHOSEN = "tab:blue", "tab:orange", "0.6", "tab:green"
PICTURES = (".png", ".pdf", ".svg")
MAX_KERNELS = 8  # rows of a picture
MAX_PLACES = 500  # weights of a vector that are drawn


def check_picture(path: Path, kinds: Sequence[str] = PICTURES, option: str = "--out") -> None:
    """Raises ConfigError for a file of a kind that is not drawn."""
    if path.suffix.lower() not in kinds:
        names = ", ".join(f"*{kind}" for kind in kinds)
        raise ConfigError(f"{option} {path} is not a picture file; name one of {names}")
    if path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; name a file")


def tidy(panel: Panel) -> None:
    """Takes away the frame above and at the right, and draws a faint grid."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.3)


def colorbar(mapped: ScalarMappable, panel: Panel, label: str = "") -> None:
    """Draws the colour bar of a picture at the right of its panel."""
    assert isinstance(panel.figure, FigureBase)
    panel.figure.colorbar(mapped, ax=panel, pad=0.02, label=label)


def short_name(path: str, length: int = 26) -> str:
    """A layer's path with its middle left out, where it is too long for a label.

    Example:
      >>> from laperm_jax.lab.runs.plots import short_name
      >>> short_name("encoder/blocks/11/attention/query/kernel")
      'encoder/…/query/kernel'
    """
    separator = "/" if "/" in path else "."
    first, *rest = path.split(separator)
    while len(rest) > 1 and len(path) > length:
        rest.pop(0)
        path = separator.join((first, "…", *rest))
    return path if len(path) <= length else "…" + path[1 - length :]
