"""Draws docs/images/bits.png: score against bits a weight, by method, from results/bits and results/bits-language.

python benchmarks/bits.py
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from laperm_jax.lab.experiments.catalogue import EXPERIMENTS
from laperm_jax.lab.experiments.core import Method
from laperm_jax.lab.experiments.results import Results, Row
from laperm_jax.lab.experiments.statistics import estimate

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "bits.png"
VALUES = (2, 3, 4, 8, 16)


class Style(NamedTuple):
    """How a method is drawn, and what selects its rows with n values: the best on validation data is shown."""

    name: str
    color: str
    format: str
    where: Callable[[int], Sequence[Mapping[str, Any]]]


def _levels(feedback: bool) -> Callable[[int], Sequence[Mapping[str, Any]]]:
    return lambda n: [{"init": f"levels:{n}{std}", "error_feedback": feedback} for std in ("", ":0.05")]


STYLES = (
    Style("LaPerm, error feedback", "#1b6ca8", "o-", _levels(True)),
    Style("quantisation-aware Adam", "#b8860b", "s-", lambda n: [{"quantize": f"nearest:{n}", "start": None}]),
    Style(
        "supermask (edge-popup)",
        "#7b4b94",
        "D",
        lambda n: [{"quantize": f"supermask:{share}"} for share in (0.5, 0.3) if n == 2],
    ),
    Style("Adam, then k-means", "#7a7a7a", "^--", lambda n: [{"quantize": f"kmeans:{n}"}]),
    Style("Adam, then rounding", "#a5a5a5", "v--", lambda n: [{"quantize": f"nearest:{n}", "start": "Adam"}]),
    Style("LaPerm without it", "#7fb3d5", "o:", _levels(False)),
)


def best(results: Results, network: str, wheres: Sequence[Mapping[str, Any]]) -> Row | None:
    rows = [row for where in wheres for row in results.select(network, **where)]
    return max(rows, key=Row.selection_score, default=None)


def draw(panel: Axes, results: Results, network: str, score: Callable[[Row], Any]) -> None:
    """Draws each method's score against log2 of the number of values, and lines for all values."""
    for style in STYLES:
        rows = {values: row for values in VALUES if (row := best(results, network, style.where(values)))}
        scores = [estimate(score(row)) for row in rows.values()]
        places = [math.log2(values) for values in rows]
        margins = [of.high - of.mean if math.isfinite(of.high) else 0 for of in scores]
        means = [of.mean for of in scores]
        label = style.name if rows else None
        panel.errorbar(
            places, means, margins, fmt=style.format, color=style.color, label=label, capsize=3, markersize=5
        )
    free: list[Mapping[str, Any]] = [{"method": Method.INNER, "quantize": None}]
    reordered = [
        {"method": Method.LAPERM, "error_feedback": False, "init": init} for init in ("he_uniform", "normal:0.05")
    ]
    for name, where, color in (("Adam,\n32 bits", free, "0.3"), ("LaPerm,\nall values", reordered, "#3f88b5")):
        if row := best(results, network, where):
            mean = estimate(score(row)).mean
            panel.axhline(mean, color=color, linewidth=0.8)
            align = "top" if where is free else "bottom"
            panel.annotate(
                name, (1.01, mean), xycoords=panel.get_yaxis_transform(), fontsize="small", color=color, va=align
            )
    panel.set_xticks([math.log2(n) for n in VALUES], [f"{n}\n{math.log2(n):.2g}" for n in VALUES])
    panel.set_xlabel("values, and bits a weight")
    panel.spines[["top", "right"]].set_visible(False)


def main() -> None:
    figure = Figure(figsize=(10, 4), layout="constrained")
    digits, language = figure.subplots(1, 2)
    of = {name: Results(EXPERIMENTS[name], "cpu", ROOT / "results" / name) for name in ("bits", "bits-language")}
    draw(digits, of["bits"], "mlp", lambda row: 100 * (1 - row.values()))
    digits.set(ylabel="test error", title="MNIST, mlp 256-256", yscale="log")
    ticks = (1.5, 2, 3, 5, 10, 20, 50)
    digits.yaxis.set_major_locator(FixedLocator(ticks))
    digits.yaxis.set_major_formatter(FixedFormatter([f"{tick:g} %" for tick in ticks]))
    digits.yaxis.set_minor_locator(FixedLocator(()))
    digits.legend(frameon=False, fontsize="small")
    draw(language, of["bits-language"], of["bits-language"].networks[0], lambda row: row.values())
    language.set(ylabel="test loss, nats a character", title="tiny_shakespeare, transformer 4 x 128", ylim=(1.6, 2))
    figure.savefig(OUT, dpi=150)


if __name__ == "__main__":
    main()
