"""Draws pictures of the documentation.

python benchmarks/pictures.py bits         docs/images/bits.png: score against bits a weight, from results/
python benchmarks/pictures.py f2           docs/images/f2.png: what the outputs of F1 and F2 look for; trains both
python benchmarks/pictures.py reordering   docs/reordering.png: a linear classifier before and after; trains it
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from rich.console import Console

from laperm_jax.lab.config import PAPER, TrainConfig, make_config, resolve
from laperm_jax.lab.data import datasets
from laperm_jax.lab.experiments.catalogue import EXPERIMENTS
from laperm_jax.lab.experiments.core import Method
from laperm_jax.lab.experiments.results import Results, Row, by_validation
from laperm_jax.lab.experiments.statistics import estimate
from laperm_jax.lab.runs.fit import SeedRun, fit
from laperm_jax.lab.training.build import Training, build_training
from laperm_jax.lab.training.seeds import draw_initial
from laperm_jax.sync._vectors import weight_vectors

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LINEAR = make_config(
    dataset="mnist", widths=(), init="normal:0.05", learning_rate=1e-2, sync_period=100, batch_size=128, epochs=10
)
VALUES = (2, 3, 4, 8, 16)
PANELS = (  # experiment, network and title
    ("bits", "mlp", "MNIST, mlp 256-256"),
    ("bits", "conv7, 2 epochs", "MNIST, Conv7, 2 epochs"),
    ("bits", "vit, CIFAR-10", "CIFAR-10, vision transformer, 700 steps"),
    ("bits-language", "4 x 128, 1,000 steps", "tiny_shakespeare, transformer 4 x 128"),
)
Where = Callable[[int | None], Sequence[Mapping[str, Any]]]  # rows with n values, or with as many as there are weights


class Style(NamedTuple):
    """How a method is drawn, and what selects its rows: the best on validation data is shown."""

    name: str
    color: str
    format: str
    where: Where


def _levels(feedback: bool) -> Where:
    """Reordered initial weights: of n levels, or of the initialisation of the network."""

    def where(n: int | None) -> Sequence[Mapping[str, Any]]:
        inits = (f"levels:{n}", f"levels:{n}:0.05") if n else ("he_uniform", "normal:0.05")
        return [{"init": init, "method": Method.LAPERM, "error_feedback": feedback} for init in inits]

    return where


ADAM = Style("Adam", "0.3", "-", lambda n: [] if n else [{"method": Method.INNER, "quantize": None}])
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
    Style("Adam, then rounding", "#a5a5a5", "v--", lambda n: [{"quantize": f"nearest:{n}", "steps": 1}]),
    Style("LaPerm without error feedback", "#7fb3d5", "o:", _levels(False)),
)


def best(results: Results, network: str, wheres: Sequence[Mapping[str, Any]]) -> Row | None:
    rows = [row for where in wheres for row in results.select(network, **where)]
    return max(rows, key=by_validation(rows), default=None)


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
    lines = (
        ("Adam,\n32 bits", ADAM.where, ADAM.color, "top"),
        ("LaPerm,\nall values", _levels(False), "#3f88b5", "bottom"),
    )
    for name, where, color, align in lines:
        if row := best(results, network, where(None)):
            mean = estimate(score(row)).mean
            panel.axhline(mean, color=color, linewidth=0.8)
            panel.annotate(
                name, (1.01, mean), xycoords=panel.get_yaxis_transform(), fontsize="small", color=color, va=align
            )
    panel.set_xticks([math.log2(n) for n in VALUES], [f"{n}\n{math.log2(n):.2g}" for n in VALUES])
    panel.set_xlabel("values, and bits a weight")
    panel.spines[["top", "right"]].set_visible(False)


def bits() -> None:
    """Draws each method's score against the number of values, of four networks."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    of = {name: Results(EXPERIMENTS[name], "cpu", ROOT / "results" / name) for name in ("bits", "bits-language")}
    for panel, (experiment, network, title) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        panel.set_title(title)
        if experiment == "bits":
            draw(panel, of[experiment], network, lambda row: 100 * (1 - row.values()))
            panel.set_ylabel("test error")
            if bottom := {"mlp": 1.2, "conv7, 2 epochs": 0.5}.get(network):
                panel.set(yscale="log", ylim=(bottom, None))
                panel.yaxis.set_major_locator(FixedLocator((1, 1.5, 2, 3, 5, 10, 20, 50)))
                panel.yaxis.set_minor_locator(FixedLocator(()))
            panel.yaxis.set_major_formatter("{x:g} %")
        else:
            draw(panel, of[experiment], network, lambda row: row.values())
            panel.set_ylabel("test loss, nats a character")
    figure.axes[0].legend(frameon=False, fontsize="small")
    figure.savefig(DOCS / "images" / "bits.png", dpi=150)


def _train(config: TrainConfig) -> tuple[Training, SeedRun]:
    config = resolve(config)
    training = build_training(config, datasets.load("mnist"))
    seed = SeedRun(training, draw_initial(training.network, config.seed), writer=None)
    fit(training, [seed], Console())
    return training, seed


def reordering() -> None:
    """Draws weight vectors of a linear classifier before and after training, and both sorted."""
    training, seed = _train(LINEAR)
    both = seed.initial.variables, seed.best.reconnected
    accuracies = [training.evaluator.score(variables, training.task.test) for variables in both]
    rows = [weight_vectors(np.asarray(variables.params["output"]["kernel"]), (0,)) for variables in both]
    shown = 6
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    grid = figure.add_gridspec(3, shown, height_ratios=[1, 1, 0.55])
    for row, (name, accuracy) in enumerate(zip(("before", "after"), accuracies, strict=True)):
        for digit in range(shown):
            panel = figure.add_subplot(grid[row, digit])
            panel.imshow(rows[row][digit].reshape(28, 28), cmap="RdBu_r", vmin=-0.15, vmax=0.15)
            panel.set(xticks=[], yticks=[])
            if digit == 0:
                panel.set_ylabel(f"{name}\n{accuracy:.1%} right")
            if row == 0:
                panel.set_title(f"weights of “{digit}”", fontsize=10)
            panel.spines[:].set_visible(False)
    for digit in range(shown):
        panel = figure.add_subplot(grid[2, digit])
        for values, style in zip(rows, ({"color": "0.6", "linewidth": 4}, {"color": "tab:blue"}), strict=True):
            panel.plot(np.sort(values[digit]), **style)
        panel.set(xticks=[], yticks=[])
        panel.spines[["top", "right"]].set_visible(False)
        if digit == 0:
            panel.set_ylabel("sorted:\nthe same")
    figure.savefig(DOCS / "reordering.png", dpi=110)


def f2() -> None:
    """Draws the product of the kernels up to each output, which is all of the network where no ReLU acts."""
    rows = []
    for model, weights in {"f1": ("reconnected",), "f2": ("reconnected", "free")}.items():
        training, seed = _train(PAPER[model])
        images, targets = training.task.test
        for name in weights:
            variables = getattr(seed.best, name)
            layers = variables.params.values()  # in the order of their names
            product = functools.reduce(np.matmul, [np.asarray(layer["kernel"]) for layer in layers])
            linear = np.mean(np.argmax(np.asarray(images).reshape(len(images), -1) @ product, axis=1) == targets)
            alike = np.corrcoef(product.T)[np.triu_indices(10, k=1)].mean()
            accuracy = training.evaluator.score(variables, training.task.test)
            rows.append((f"{model.upper()}, {name}", accuracy, linear, alike, product))
    figure = Figure(figsize=(10, 3), layout="constrained")
    for row, (name, accuracy, linear, alike, product) in enumerate(rows):
        limit = np.abs(product).max()
        for digit in range(10):
            panel = figure.add_subplot(len(rows), 10, 10 * row + digit + 1)
            panel.imshow(product[:, digit].reshape(28, 28), cmap="RdBu_r", vmin=-limit, vmax=limit)
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
            if digit == 0:
                text = f"{name}\n{accuracy:.1%} right,\nwithout ReLU {linear:.1%},\ncorrelation {alike:.2f}"
                panel.set_ylabel(text, rotation=0, ha="right", va="center")
            if row == 0:
                panel.set_title(f"“{digit}”", fontsize=10)
    figure.savefig(DOCS / "images" / "f2.png", dpi=110)


def main(picture: Literal["bits", "f2", "reordering"], /) -> None:
    """Draws a picture."""
    {"bits": bits, "f2": f2, "reordering": reordering}[picture]()


if __name__ == "__main__":
    tyro.cli(main)
