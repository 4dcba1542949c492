"""`laperm profile`: weight profiles of each layer, printed and drawn."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from laperm_jax.analysis._profiles import weight_profile
from laperm_jax.lab.config import ConfigError, OutputError
from laperm_jax.lab.inspection.weight_files import Layers
from laperm_jax.lab.runs import plots
from laperm_jax.sync._vectors import weight_vectors

_COLUMNS = ("vectors", "fan-in", "std", "SoWP", "of i.i.d.", "normal", "uniform")
_NAMED = 3  # arrays that are named where more are left out


def table(layers: Layers) -> Table:
    """The weight profile of each kernel, before training where that is known, and after it.

    Raises:
      ConfigError: for weights that are not finite.
    """
    table = Table(
        caption="SoWP: share of the variance of sorted vectors that the layer's mean profile explains; beside it what "
        "i.i.d. normal vectors of that number and length would have. normal, uniform: distance of a sorted vector from "
        "these, in its standard deviations.",
        caption_justify="left",
        box=box.SIMPLE,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("layer")
    if layers.initial:
        table.add_column("trained")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for path, axes in layers.axes.items():
        for weights, trained in ((layers.initial, "before"), (layers.weights, "after")):
            if weights and path in weights:
                table.add_row(*_row(path, weight_vectors(weights[path], axes), [trained] if layers.initial else []))
    return table


def left_out(layers: Layers) -> Iterator[str]:
    """A sentence for each reason that arrays of a file are not in the table."""
    for reason in dict.fromkeys(layers.left_out.values()):
        names = [path for path, of_path in layers.left_out.items() if of_path == reason]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"left out, {reason}: {', '.join(names[:_NAMED])}{more}"


def draw(layers: Layers, out: Path) -> None:
    """Draws the profiles.

    Raises:
      OutputError: if the picture cannot be written.
    """
    try:
        plots.profiles(out, layers.initial, layers.weights, layers.axes)
    except OSError as error:
        raise OutputError(f"--out {out} cannot be written: {error.strerror}") from error


def _row(path: str, vectors: np.ndarray, trained: list[str]) -> list[str]:
    try:
        found = weight_profile(vectors)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    shares = [f"{found.similarity:.4f}", f"{found.expected_similarity:.4f}"]
    distances = [f"{distance:.3f}" for distance in (found.normal_distance, found.uniform_distance)]
    return [path, *trained, f"{found.vectors:,}", f"{found.fan_in:,}", f"{found.std:.3g}", *shares, *distances]
