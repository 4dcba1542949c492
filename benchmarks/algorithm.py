"""Draws docs/images/algorithm.png: one sync of one weight vector, in four panels.

python benchmarks/algorithm.py
"""

import itertools
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch

WEIGHTS = 7
OUT = Path(__file__).parents[1] / "docs" / "images" / "algorithm.png"


def main() -> None:
    rng = np.random.default_rng(3)
    initial = np.round(rng.normal(0, 0.5, WEIGHTS), 2)
    values = np.sort(initial)
    current = initial + rng.normal(0, 0.35, WEIGHTS)  # as the inner optimiser leaves them
    ranks = np.argsort(np.argsort(current))
    titles = ("1  sorted initial values", "2  weights drift", "3  their ranks", "4  values placed by rank")
    heights = (values, current, current, values[ranks])
    labels = (
        [f"{value:+.2f}" for value in values],
        [""] * WEIGHTS,
        [f"rank {rank}" for rank in ranks],
        [f"{value:+.2f}" for value in values[ranks]],
    )
    colors = (range(WEIGHTS), [None] * WEIGHTS, ranks, ranks)
    notes = ("kept in the state", "the inner optimiser's updates", "ties: by position", "the sync")

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, 4, sharey=True)
    palette = np.array([[0.14, 0.31, 0.55, 0.35 + 0.65 * rank / (WEIGHTS - 1)] for rank in range(WEIGHTS)])
    for panel, title, height, label, color, note in zip(panels, titles, heights, labels, colors, notes, strict=True):
        bars = [palette[number] if number is not None else (0.72, 0.72, 0.72, 1.0) for number in color]
        panel.bar(range(WEIGHTS), height, color=bars)
        for place, (value, text) in enumerate(zip(height, label, strict=True)):
            panel.annotate(
                text,
                (place, value),
                (0, 3 if value >= 0 else -3),
                textcoords="offset points",
                ha="center",
                va="bottom" if value >= 0 else "top",
                fontsize=6.5,
            )
        panel.axhline(0, color="0.3", linewidth=0.8)
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xlabel(note, fontsize=8.5)
        panel.set(xticks=[], ylim=(-1.75, 1.75))
        panel.spines[["top", "right", "bottom"]].set_visible(False)
    for left, right in itertools.pairwise(panels):
        arrow = ConnectionPatch(
            (1.0, 0.96),
            (0.0, 0.96),
            "axes fraction",
            "axes fraction",
            axesA=left,
            axesB=right,
            arrowstyle="->",
            color="0.4",
            shrinkA=2,
            shrinkB=2,
        )
        figure.add_artist(arrow)
    figure.savefig(OUT, dpi=130)


if __name__ == "__main__":
    main()
