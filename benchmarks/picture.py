"""Draws docs/reordering.png: the weights of a linear classifier of MNIST before and after training by reordering.

python benchmarks/picture.py
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from laperm_jax.lab.config import make_config, resolve
from laperm_jax.lab.data import datasets
from laperm_jax.lab.runs.fit import SeedRun, fit
from laperm_jax.lab.training.build import build_training
from laperm_jax.lab.training.seeds import draw_initial
from laperm_jax.sync._vectors import weight_vectors

LINEAR = make_config(
    dataset="mnist", widths=(), init="normal:0.05", learning_rate=1e-2, sync_period=100, batch_size=128, epochs=10
)
SHOWN = 6


def main() -> None:
    config = resolve(LINEAR)
    training = build_training(config, datasets.load("mnist"))
    seed = SeedRun(training, draw_initial(training.network, config.seed), writer=None)
    fit(training, [seed], Console())
    both = seed.initial.variables, seed.best.reconnected
    accuracies = [training.evaluator.score(variables, training.task.test) for variables in both]
    rows = [weight_vectors(np.asarray(variables.params["output"]["kernel"]), (0,)) for variables in both]
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    grid = figure.add_gridspec(3, SHOWN, height_ratios=[1, 1, 0.55])
    for row, (name, accuracy) in enumerate(zip(("before", "after"), accuracies, strict=True)):
        for digit in range(SHOWN):
            panel = figure.add_subplot(grid[row, digit])
            panel.imshow(rows[row][digit].reshape(28, 28), cmap="RdBu_r", vmin=-0.15, vmax=0.15)
            panel.set(xticks=[], yticks=[])
            if digit == 0:
                panel.set_ylabel(f"{name}\n{accuracy:.1%} right")
            if row == 0:
                panel.set_title(f"weights of “{digit}”", fontsize=10)
            panel.spines[:].set_visible(False)
    for digit in range(SHOWN):
        panel = figure.add_subplot(grid[2, digit])
        for values, style in zip(rows, ({"color": "0.6", "linewidth": 4}, {"color": "tab:blue"}), strict=True):
            panel.plot(np.sort(values[digit]), **style)
        panel.set(xticks=[], yticks=[])
        panel.spines[["top", "right"]].set_visible(False)
        if digit == 0:
            panel.set_ylabel("sorted:\nthe same")
    figure.savefig(Path(__file__).parents[1] / "docs" / "reordering.png", dpi=110)


if __name__ == "__main__":
    main()
