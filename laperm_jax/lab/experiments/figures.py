"""Figures of the report: scores of every variant, and training curves, as SVG for a light or a dark page."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure

from laperm_jax.lab.experiments.results import Results, Row
from laperm_jax.lab.runs.plots import FREE, RECONNECTED, tidy

_KINDS = (("_free", "free weights", FREE), ("", "reconnected weights", RECONNECTED))
_INK = "#010203"  # stands for the colour of the page's text, which is light or dark


def of_network(results: Results, network: str) -> list[Markup]:
    """The figures of one network: the scores of its variants, and its training curves if the experiment has them."""
    rows = results.select(network)
    draws = [_against_setting if results.experiment.x else _by_variant]
    if results.experiment.curves and _epochs(rows) > 1:
        draws.append(_curves)
    return [_svg(results, network, rows, draw) for draw in draws]


def _svg(
    results: Results, network: str, rows: Sequence[Row], draw: Callable[[Panel, Results, Sequence[Row]], None]
) -> Markup:
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        # Several figures in one page need names of their own for what they define.
        "svg.hashsalt": f"{results.experiment.name} {network} {draw.__name__}",
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    }
    with mpl.rc_context(style):
        height = 1.1 + 0.24 * len(rows) if draw is _by_variant else 3.2
        figure = Figure(figsize=(4.6, height), layout="constrained")
        panel = figure.subplots()
        draw(panel, results, rows)
        panel.set_title(network, fontsize=9)
        tidy(panel)
        figure.legend(frameon=False, loc="outside upper center", ncols=3)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    return Markup(text[text.index("<svg") :].replace(_INK, "currentColor"))  # made here, from our own names


def _against_setting(panel: Panel, results: Results, rows: Sequence[Row]) -> None:
    """Scores of both kinds of weights against the experiment's setting."""
    x = str(results.experiment.x)
    settings = [np.ravel(row.settings[x])[0] for row in rows]
    for metric, label, color in _KINDS:
        means, errors = _scores(results, rows, metric)
        panel.errorbar(settings, means, errors, color=color, marker=".", capsize=2, label=label)
    panel.set(xscale="log", xlabel=x.replace("_", " "), ylabel=_label(results))
    if results.score == "loss" and len(settings) > 1:
        panel.set(yscale="log")
        slope, offset = np.polyfit(np.log(settings), np.log(means), 1)
        line = np.exp(offset) * np.asarray(settings) ** slope
        panel.plot(settings, line, ":", color="0.5", label=f"slope {slope:+.2f}")


def _by_variant(panel: Panel, results: Results, rows: Sequence[Row]) -> None:
    """Scores of both kinds of weights beside the names of the variants."""
    places = -np.arange(len(rows))
    for (metric, label, color), offset in zip(_KINDS, (0.13, -0.13), strict=True):
        means, errors = _scores(results, rows, metric)
        panel.errorbar(means, places + offset, xerr=errors, color=color, fmt="o", markersize=4, capsize=2, label=label)
    panel.set_yticks(places, [row.label for row in rows])
    panel.set(xlabel=_label(results), ylim=(places[-1] - 0.6, 0.6))
    panel.locator_params(axis="x", nbins=5)


def _epochs(rows: Sequence[Row]) -> int:
    """The number of epochs that all runs have."""
    return min(len(run.curve) for row in rows for run in row.runs)


def _curves(panel: Panel, results: Results, rows: Sequence[Row]) -> None:
    """Validation score of reconnected weights after each epoch, the mean over the seeds."""
    epochs = _epochs(rows)
    for number, row in enumerate(rows):
        values = np.array([[record[f"val_{results.score}"] for record in run.curve[:epochs]] for run in row.runs])
        color = mpl.colormaps["viridis"](0.9 * number / max(1, len(rows) - 1))
        panel.plot(
            range(1, epochs + 1), _factor(results) * values.mean(axis=0), color=color, marker=".", label=row.label
        )
    panel.set(xlabel="epoch", ylabel=_label(results).replace("test", "validation"))


def _scores(results: Results, rows: Sequence[Row], kind: str) -> tuple[list[float], list[float]]:
    """Means and standard deviations over the seeds, in the unit of the axis."""
    metric = f"test_{results.score}{kind}"
    factor = _factor(results)
    return [factor * row.mean(metric) for row in rows], [factor * row.spread(metric) for row in rows]


def _factor(results: Results) -> float:
    return 100 if results.score == "accuracy" else 1


def _label(results: Results) -> str:
    return f"test {results.score}" + (", %" if results.score == "accuracy" else "")
