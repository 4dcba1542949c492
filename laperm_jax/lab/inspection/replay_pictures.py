"""Pictures of a replay: a kernel's units at some moments, and how the values of one unit move."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure

from laperm_jax.lab.inspection.replay import Replay
from laperm_jax.lab.runs.plots import short_name, tidy

COLORS = "RdBu_r"
_UNITS, _MOMENTS, _VALUES = 5, 8, 60


def draw(replayed: Replay, out: Path) -> None:
    """Draws five units at eight moments, closer together at the beginning, and how the values of one unit move.

    Args:
      replayed: the kernel.
      out: PNG, PDF or SVG.

    Raises:
      OSError: if it cannot be written.
    """
    chosen = _geometric(replayed.steps)
    shown = min(_UNITS, replayed.vectors.shape[1])
    limit = color_limit(replayed)
    figure = Figure(figsize=(max(8, 1.3 * len(chosen)), 1.3 * shown + 3.6), layout="constrained")
    figure.suptitle(f"{short_name(replayed.layer, 60)}: {shown} of {replayed.units} units")
    above, below = figure.subfigures(2, 1, height_ratios=(1.3 * shown, 3.3), squeeze=False).flat
    panels = above.subplots(shown, len(chosen), squeeze=False)
    for unit, row in enumerate(panels):
        for panel, moment in zip(row, chosen, strict=True):
            image = panel.imshow(as_image(replayed.vectors[moment, unit], replayed.shape), COLORS)
            image.set_clim(-limit, limit)
            panel.set(xticks=[], yticks=[])
            if unit == 0:
                panel.set_title(_updates(replayed.steps[moment]), fontsize="small")
        row[0].set_ylabel(f"unit {unit}")
    above.colorbar(panels[0, 0].images[0], ax=panels, label="value of a weight", pad=0.01)
    _draw_unit(below.subplots(), replayed, limit)
    figure.savefig(out, dpi=120)


def color_limit(replayed: Replay) -> float:
    """Limit of the colour scale: all but the largest few values are below it."""
    size = abs(replayed.vectors)
    return float(np.quantile(size, 0.995)) or float(size.max()) or 1.0


def as_image(vector: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A vector as a picture: its mean over channels if it has height and width, else as nearly square as can be."""
    if len(shape) > 1:
        return vector.reshape(*shape[:2], -1).mean(axis=-1)
    width = math.ceil(vector.size**0.5)
    filled = np.full(width * math.ceil(vector.size / width), np.nan)
    filled[: vector.size] = vector
    return filled.reshape(-1, width)


def _draw_unit(panel: Panel, replayed: Replay, limit: float) -> None:
    """Lines that follow single values; where few values are unique, what value each place has."""
    vectors, steps = replayed.vectors[:, 0], replayed.steps
    values, counts = np.unique(vectors[-1], return_counts=True)
    unique = values[counts == 1]
    if len(unique) >= _UNITS and (np.sort(vectors, axis=1) == np.sort(vectors[-1])).all():
        chosen = unique[np.unique(np.linspace(0, len(unique) - 1, min(len(unique), _VALUES)).astype(int))]
        order = np.argsort(vectors, axis=1)
        ranks = np.searchsorted(np.sort(vectors[-1]), chosen)
        for places, value in zip(order[:, ranks].T, chosen, strict=True):
            panel.plot(steps, places, color=colormaps[COLORS](0.5 + 0.5 * value / limit), linewidth=0.8)
        title = f"where {len(chosen)} of the values of unit 0 are"
    else:
        edges = np.concatenate([[steps[0]], (np.array(steps[1:]) + steps[:-1]) / 2, [steps[-1]]])
        places = np.arange(vectors.shape[1] + 1) - 0.5
        panel.pcolormesh(edges, places, vectors.T, cmap=COLORS, vmin=-limit, vmax=limit, rasterized=True)
        title = "the value at each place of unit 0"
    panel.set(xlabel="updates", ylabel="place", title=title, xlim=(0, max(1, steps[-1])))
    tidy(panel)


def _geometric(steps: Sequence[int]) -> list[int]:
    """Numbers of eight moments: the first, the last, and others at growing distances."""
    wanted = np.geomspace(max(1, steps[-1] / 4 ** (_MOMENTS - 2)), max(1, steps[-1]), _MOMENTS - 1)
    return sorted({0, *(int(abs(np.array(steps) - step).argmin()) for step in wanted)})


def _updates(step: int) -> str:
    return f"update {step:,}" if step else "before"
