"""Latency of a sync against the number of weights."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from laperm_jax.lab.runs.plots.style import FREE, INITIAL, RECONNECTED, tidy

_LABEL_WIDTH, _LABEL_HEIGHT, _LABEL_BELOW = 0.5, 0.22, 0.2  # decades


def latency(path: Path, models: Sequence[Mapping[str, Any]], series: Sequence[Mapping[str, Any]], title: str) -> None:
    """Draws the latency of a sync against the number of weights, with a copy and a sort of the keys as floors.

    Args:
      path: PNG to write.
      models: rows of networks, one point each.
      series: rows of matrices of growing size, one line.
      title: above the picture.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    panel = figure.subplots()
    column = lambda name: [math.nan if row[name] is None else row[name] for row in series]
    for name, label, color in (
        ("sync_ms", "sync", RECONNECTED),
        ("keys_sort_ms", "sort of the keys alone", INITIAL),
        ("copy_ms", "copy", "black"),
    ):
        panel.plot(column("weights"), column(name), marker=".", color=color, label=label)
    panel.set(xscale="log", yscale="log", xlabel="weights", ylabel="milliseconds", title=title)
    heights: list[tuple[float, float]] = []  # of the labels, in decades
    for row in sorted(models, key=lambda row: row["sync_ms"]):
        panel.plot(row["weights"], row["sync_ms"], "x", color=FREE)
        x, y = math.log10(row["weights"]), math.log10(row["sync_ms"]) - _LABEL_BELOW
        while any(abs(x - other) < _LABEL_WIDTH and abs(y - height) < _LABEL_HEIGHT for other, height in heights):
            y -= _LABEL_HEIGHT
        heights.append((x, y))
        panel.annotate(row["model"], (row["weights"], row["sync_ms"]), xytext=(1.06 * 10**x, 10**y), fontsize=8)
    panel.legend()
    tidy(panel)
    figure.savefig(path, dpi=120)
