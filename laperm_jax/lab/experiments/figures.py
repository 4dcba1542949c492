"""Figures of the report: scores of every variant and training curves, as SVG for a light or a dark page."""

import html
import io
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure as Canvas

from laperm_jax.lab.config.scores import format_score
from laperm_jax.lab.experiments.results import Results, Row
from laperm_jax.lab.runs.plots import FREE, RECONNECTED, tidy

KINDS = (("_free", "free weights", FREE), ("", "reconnected weights", RECONNECTED))
_INK = "#010203"  # replaced by the colour of the page's text
_CURVE_COLORS = ("#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d", "#888888", "#17becf")
_LEAST_SPAN = {"accuracy": 4.0, "loss": 0.25}  # of a linear axis, so that small gaps look small: points, nats


class Figure(NamedTuple):
    """A figure: its caption, and the drawing with words for those who do not see it."""

    caption: str
    svg: Markup


def legend(results: Results) -> list[tuple[str, str]]:
    """Colours and names in the figures of an experiment: both kinds of weights, then variants in training curves."""
    kinds = [(mpl.colors.to_hex(color), name) for _, name, color in KINDS]
    labels = dict.fromkeys(row.label for row in results.rows) if _has_curves(results) else ()
    return kinds + [(_color(number), f"training: {label}") for number, label in enumerate(labels)]


def of_network(results: Results, network: str) -> list[Figure]:
    """The figures of one network: the scores of its variants, and its training curves if the experiment has them."""
    rows = results.select(network)
    draw = _against_setting if results.experiment.x else _by_variant
    height = 3.0 if results.experiment.x else 0.8 + 0.24 * len(rows)
    scores = "; ".join(f"{row.label} {format_score(results.score, row.mean())}" for row in rows)
    drawn = [Figure(network, _svg(results, draw, rows, height, f"test {results.score}, {network}: {scores}"))]
    if _has_curves(results):
        words = f"validation {results.score} after each epoch, {network}"
        drawn.append(Figure(f"{network}, training", _svg(results, _curves, rows, 3.0, words)))
    return drawn


def _svg(
    results: Results,
    draw: Callable[[Panel, Results, Sequence[Row]], None],
    rows: Sequence[Row],
    height: float,
    words: str,
) -> Markup:
    """Draws a figure, with words for those who do not see it."""
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": words,  # names of definitions are unique in the page
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    }
    with mpl.rc_context(style):
        canvas = Canvas(figsize=(4.6, height), layout="constrained")
        panel = canvas.subplots()
        draw(panel, results, rows)
        tidy(panel)
        file = io.StringIO()
        canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = re.sub('<g id="[^"]+"', "<g", file.getvalue().replace(_INK, "currentColor"))  # these ids are in every figure
    text = text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{html.escape(words)}"', 1)
    return Markup(text)  # made here, from our own names


def _against_setting(panel: Panel, results: Results, rows: Sequence[Row]) -> None:
    """Draws scores of both kinds of weights against the experiment's setting."""
    x = str(results.experiment.x)
    settings = [np.ravel(row.settings[x])[0] for row in rows]
    logarithmic = results.score == "loss" and len(rows) > 1
    scores = {kind: _scores(results, rows, kind, logarithmic) for kind, _, _ in KINDS}
    for kind, _, color in KINDS:
        means, errors = scores[kind]
        panel.errorbar(settings, means, errors, color=color, marker=".", capsize=2)
    panel.set(xscale="log", xlabel=x.replace("_", " "), ylabel=_label(results))
    if logarithmic:
        panel.set(yscale="log")
        reconnected, _ = scores[""]
        slope, offset = np.polyfit(np.log(settings), np.log(reconnected), 1)
        panel.plot(settings, np.exp(offset) * np.asarray(settings) ** slope, ":", color="0.5")
        panel.text(0.97, 0.95, f"slope {slope:+.2f}", transform=panel.transAxes, ha="right", va="top")
    else:
        panel.set_ylim(_widened(results, panel.get_ylim()))


def _by_variant(panel: Panel, results: Results, rows: Sequence[Row]) -> None:
    """Draws scores of both kinds of weights beside the labels of the variants."""
    places = -np.arange(len(rows))
    for (kind, _, color), offset in zip(KINDS, (0.13, -0.13), strict=True):
        means, errors = _scores(results, rows, kind)
        panel.errorbar(means, places + offset, xerr=errors, color=color, fmt="o", markersize=4, capsize=2)
    panel.set_yticks(places, [row.label for row in rows])
    panel.set(xlabel=_label(results), ylim=(places[-1] - 0.6, 0.6), xlim=_widened(results, panel.get_xlim()))
    panel.locator_params(axis="x", nbins=5)


def _curves(panel: Panel, results: Results, rows: Sequence[Row]) -> None:
    """Draws the validation score of reconnected weights after each epoch, the mean over the seeds."""
    numbers = {label: number for number, label in enumerate(dict.fromkeys(row.label for row in results.rows))}
    epochs = _epochs(rows)
    for row in rows:
        values = np.array([[record[f"val_{results.score}"] for record in run.curve[:epochs]] for run in row.runs])
        mean = _factor(results) * values.mean(axis=0)
        panel.plot(range(1, epochs + 1), mean, color=_color(numbers[row.label]), marker=".")
    panel.set(xlabel="epoch", ylabel=_label(results).replace("test", "validation"))
    panel.set_ylim(_widened(results, panel.get_ylim()))


def _scores(
    results: Results, rows: Sequence[Row], kind: str, logarithmic: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Means ``(rows,)`` and error bars ``(2, rows)``, in the unit of the axis: one standard deviation over the seeds.

    On a logarithmic axis a bar ends at the lowest seed, if one standard deviation below the mean is lower still.
    """
    metric = f"test_{results.score}{kind}"
    means, spreads = np.array([(row.mean(metric), row.spread(metric)) for row in rows]).T
    lowest = np.array([row.values(metric).min() for row in rows])
    below = np.minimum(spreads, means - lowest) if logarithmic else spreads
    return _factor(results) * means, _factor(results) * np.array([below, spreads])


def _widened(results: Results, limits: tuple[float, float]) -> tuple[float, float]:
    """Limits of an axis that are far enough apart; accuracies end at 100 %."""
    low, high = limits
    missing = max(0.0, _LEAST_SPAN[results.score] - (high - low))
    low, high = low - missing / 2, high + missing / 2
    over = max(0.0, high - 100.3) if results.score == "accuracy" else 0.0
    return low - min(over, missing), high - over


def _has_curves(results: Results) -> bool:
    return results.experiment.curves and all(
        _epochs(results.select(network)) > 1 for network in results.networks_with_runs
    )


def _epochs(rows: Sequence[Row]) -> int:
    """The number of epochs that all runs have."""
    return min(len(run.curve) for row in rows for run in row.runs)


def _color(number: int) -> str:
    return _CURVE_COLORS[number % len(_CURVE_COLORS)]


def _factor(results: Results) -> float:
    return 100 if results.score == "accuracy" else 1


def _label(results: Results) -> str:
    return f"test {results.score}" + (", %" if results.score == "accuracy" else "")
