"""Draws docs/images/bits.png: accuracy against bits a weight, by method, from results/bits.

python benchmarks/bits.py
"""

import contextlib
import math
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from laperm_jax.lab.experiments.catalogue import EXPERIMENTS
from laperm_jax.lab.experiments.core import MissingRunsError
from laperm_jax.lab.experiments.results import Results
from laperm_jax.lab.experiments.statistics import estimate

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "bits.png"
NETWORK = "mlp"
VALUES = (2, 3, 4, 8, 16)
METHODS = {  # what selects a method with n values, of several settings the best on validation images; colour, style
    "LaPerm, error feedback": (lambda n: {"init": f"levels:{n}", "error_feedback": True}, "#1b6ca8", "o-"),
    "quantisation-aware Adam": (lambda n: {"quantize": f"nearest:{n}", "start": None}, "#b8860b", "s-"),
    "Adam, then k-means": (lambda n: {"quantize": f"kmeans:{n}"}, "#7a7a7a", "^--"),
    "Adam, then rounding": (lambda n: {"quantize": f"nearest:{n}", "start": "Adam"}, "#a5a5a5", "v--"),
    "LaPerm": (lambda n: {"init": f"levels:{n}", "error_feedback": False}, "#7fb3d5", "o:"),
}


def main() -> None:
    results = Results(EXPERIMENTS["bits"], "cpu", ROOT / "results" / "bits")
    figure = Figure(figsize=(7, 4), layout="constrained")
    panel = figure.subplots()
    for name, (where, color, style) in METHODS.items():
        rows = {}
        for values in VALUES:
            with contextlib.suppress(MissingRunsError):
                rows[values] = results.best(NETWORK, **where(values))
        errors = [estimate(1 - row.values()) for row in rows.values()]
        places = [math.log2(values) for values in rows]
        means = [100 * error.mean for error in errors]
        margins = [100 * (error.high - error.mean) if math.isfinite(error.high) else 0 for error in errors]
        panel.errorbar(places, means, margins, fmt=style, color=color, label=name, capsize=3, markersize=5)
    adam = estimate(1 - results.best(NETWORK, label="Adam").values())
    panel.axhline(100 * adam.mean, color="0.3", linewidth=0.8)
    panel.annotate("Adam, 32 bits", (4, 100 * adam.mean), (0, -4), textcoords="offset points", ha="right", va="top")
    panel.set_yscale("log")
    ticks = (1.5, 2, 3, 5, 10, 20, 50)
    panel.yaxis.set_major_locator(FixedLocator(ticks))
    panel.yaxis.set_major_formatter(FixedFormatter([f"{tick:g} %" for tick in ticks]))
    panel.yaxis.set_minor_locator(FixedLocator(()))
    panel.set_xticks(
        [math.log2(values) for values in VALUES], [f"{values}\n{math.log2(values):.2g}" for values in VALUES]
    )
    panel.set(xlabel="values, and bits a weight", ylabel="test error, MNIST, mlp 256-256")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)
    figure.savefig(OUT, dpi=150)


if __name__ == "__main__":
    main()
