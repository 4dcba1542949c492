"""Pictures of a run, drawn with matplotlib to files."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure

from laperm_jax.sync._vectors import Axes, weight_vectors
from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.runs.weights import Weights

RECONNECTED, FREE, INITIAL = "tab:blue", "tab:orange", "0.6"
_KINDS = (".png", ".pdf", ".svg")
_MAX_KERNELS = 8
_MAX_VECTORS = 24
_MAX_UNITS = 5
_MAX_TRAVELLERS = 60
_MAX_POINTS = 500


def check_picture(path: Path) -> None:
    """Raises ConfigError for a file of a kind that is not drawn."""
    if path.suffix not in _KINDS:
        raise ConfigError(f"--out {path} is no picture; name one of {', '.join(f'*{kind}' for kind in _KINDS)}")


def curves(path: Path, records: Sequence[Mapping[str, Any]], title: str) -> None:
    """Draws a run against epochs: training loss; validation scores; what the first sync of each epoch did.

    Of the latter, means over the layers, and their range.

    Args:
      path: PNG to write.
      records: as in ``metrics.jsonl``, one an epoch.
      title: above the picture.
    """
    synced = [record for record in records if record["first_sync"]]
    figure = Figure(figsize=(13 if synced else 9, 3.5), layout="constrained")
    figure.suptitle(title)
    left, middle, *right = figure.subplots(1, 3 if synced else 2)
    column = lambda name: [record[name] for record in records]
    left.plot(column("epoch"), column("train_loss"), color="black", marker=".")
    left.set(xlabel="epoch", ylabel="training loss")
    score = "accuracy" if "val_accuracy" in records[0] else "loss"
    middle.plot(column("epoch"), column(f"val_{score}_free"), color=FREE, marker=".", label="free weights")
    middle.plot(column("epoch"), column(f"val_{score}"), color=RECONNECTED, marker=".", label="reconnected weights")
    middle.set(xlabel="epoch", ylabel=f"validation {score}")
    middle.legend()
    for panel in right:
        epochs = [record["epoch"] for record in synced]
        for name, label, color in (
            ("moved", "share that moved", RECONNECTED),
            ("stuck", "share that could not move", INITIAL),
            ("free_distance", "distance, free to reconnected", FREE),
        ):
            layers = np.array([[of_layer[name] for of_layer in record["first_sync"].values()] for record in synced])
            panel.plot(epochs, layers.mean(axis=1), color=color, marker=".", label=label)
            panel.fill_between(epochs, layers.min(axis=1), layers.max(axis=1), color=color, alpha=0.2, linewidth=0)
        panel.set(xlabel="epoch", ylabel="at the first sync of the epoch", ylim=(0, None))
        panel.legend()
    for panel in (left, middle, *right):
        tidy(panel)
    figure.savefig(path, dpi=120)


def profiles(path: Path, initial: Weights, free: Weights, final: Weights, axes: Mapping[str, Axes]) -> None:
    """Draws weight profiles (Qiu & Suda, 2020): the vectors of each kernel, sorted and as they stand.

    One row a kernel, the first eight. On the left the mean of the sorted vectors before training, after it, and of the
    free weights; the first two coincide, since training has only reordered. On the right one vector as it stands,
    before and after: the order is what was learnt.

    Args:
      path: PNG to write.
      initial: weights before training.
      free: weights after training, as the inner optimiser left them.
      final: reconnected weights after training.
      axes: path of each parameter that is reordered, to the axes of one vector.
    """
    shown = list(axes)[:_MAX_KERNELS]
    figure = Figure(figsize=(9, 0.6 + 2.0 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 2, squeeze=False)
    for name, (left, right) in zip(shown, panels, strict=True):
        before, freed, after = (weight_vectors(weights[name], axes[name]) for weights in (initial, free, final))
        places = np.linspace(0, before.shape[1] - 1, min(before.shape[1], _MAX_POINTS)).astype(int)
        mean_profile = lambda rows, places=places: np.sort(rows, axis=1).mean(axis=0)[places]
        left.plot(places, mean_profile(before), color=INITIAL, linewidth=5, label="initial")
        left.plot(places, mean_profile(after), color=RECONNECTED, label="reconnected")
        left.plot(places, mean_profile(freed), color=FREE, linestyle=":", label="free")
        left.set(ylabel=name, xlabel="rank")
        # The vector of the largest spread: in a sparse or shared-value kernel some are all zero.
        vector = before.std(axis=1).argmax()
        right.plot(places, before[vector, places], ".", color=INITIAL, markersize=3)
        right.plot(places, after[vector, places], ".", color=RECONNECTED, markersize=3)
        right.set(xlabel="place")
    panels[0, 0].set_title("mean of the sorted vectors")
    panels[0, 1].set_title("one vector as it stands")
    for panel in panels.flat:
        tidy(panel)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=120)


def profile_panels(path: Path, initial: Weights | None, final: Weights, axes: Mapping[str, Axes]) -> None:
    """Draws the weight vectors of each layer as they stand and sorted, after training, and before it where known.

    One row a layer, the first eight. The band holds all vectors, the darker one the middle half of them at each place
    or rank; on it some vectors, at 500 places or fewer, so that a layer of any size is drawn in a moment.

    Args:
      path: picture to write, PNG, PDF or SVG.
      initial: weights before training, or None.
      final: weights after it.
      axes: path of each layer to the axes of one vector.
    """
    shown = list(axes)[:_MAX_KERNELS]
    columns = [
        (f"{order}{when}", weights, order == "sorted", color)
        for order in ("as they stand", "sorted")
        for when, weights, color in ((", before", initial, INITIAL), (", after" if initial else "", final, RECONNECTED))
        if weights
    ]
    figure = Figure(figsize=(3.2 * len(columns), 0.5 + 2.0 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), len(columns), squeeze=False, sharey="row")
    for row, name in zip(panels, shown, strict=True):
        for panel, (title, weights, ordered, color) in zip(row, columns, strict=True):
            vectors = weight_vectors(weights[name], axes[name])
            number, fan_in = vectors.shape
            places = np.unique(np.linspace(0, fan_in - 1, min(fan_in, _MAX_POINTS)).astype(int))
            curves = (np.sort(vectors, axis=1) if ordered else vectors)[:, places]
            low, first, third, high = np.quantile(curves, (0, 0.25, 0.75, 1), axis=0)
            panel.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)
            panel.fill_between(places, first, third, color=color, alpha=0.35, linewidth=0)
            chosen = np.linspace(0, number - 1, min(number, _MAX_VECTORS)).astype(int)
            style = {"linewidth": 0.5, "alpha": 0.6} if ordered else {"linestyle": "", "marker": ".", "markersize": 0.6}
            panel.plot(places, curves[chosen].T, color=color, **style)
            panel.set_xlabel("rank" if ordered else "place")
            if name == shown[0]:
                panel.set_title(title)
            tidy(panel)
        row[0].set_ylabel(f"{name}\n{number:,} x {fan_in:,}")
    figure.savefig(path, dpi=100)


def travels(path: Path, layer: str, steps: Sequence[int], vectors: np.ndarray, shape: Sequence[int]) -> None:
    """Draws how the values of a kernel travelled: some of its vectors as pictures, and where some values stood.

    Args:
      path: picture to write, PNG, PDF or SVG.
      layer: path of the kernel.
      steps: numbers of updates.
      vectors: the weight vectors after so many, ``(moments, vectors, fan_in)``.
      shape: of one vector: height and width first, if it is of a convolution or looks at an image.
    """
    moments, number, fan_in = vectors.shape
    shown = min(number, _MAX_UNITS)
    figure = Figure(figsize=(max(8, 1.3 * moments), 1.3 * shown + 3.5), layout="constrained")
    figure.suptitle(f"{layer}: {shown} of its {number} units")
    above, below = figure.subfigures(2, 1, height_ratios=(1.3 * shown, 3.2), squeeze=False).flat
    limit = abs(vectors[:, :shown]).max() or 1.0
    panels = above.subplots(shown, moments, squeeze=False)
    for unit, row in enumerate(panels):
        for panel, step, moment in zip(row, steps, vectors, strict=True):
            panel.imshow(_as_image(moment[unit], shape), cmap="RdBu_r", vmin=-limit, vmax=limit)
            panel.set(xticks=[], yticks=[])
            if unit == 0:
                panel.set_title(f"update {step:,}" if step else "before", fontsize="small")
        row[0].set_ylabel(f"unit {unit}")
    panel = below.subplots()
    # Some values of the first unit, by rank: of equal ones the order of their places.
    chosen = np.unique(np.linspace(0, fan_in - 1, min(fan_in, _MAX_TRAVELLERS)).astype(int))
    places = np.argsort(vectors[:, 0], axis=1, kind="stable")[:, chosen]
    values = np.take_along_axis(vectors[-1, 0], places[-1], axis=0)
    for track, value in zip(places.T, values, strict=True):
        panel.plot(track, color=colormaps["RdBu_r"](0.5 + 0.5 * value / limit), linewidth=0.8)
    panel.set_xticks(range(moments), [f"{step:,}" for step in steps])
    panel.set(xlabel="updates", ylabel="place", title=f"where {len(chosen)} values of unit 0 stood")
    tidy(panel)
    figure.savefig(path, dpi=120)


def _as_image(vector: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A vector as a picture: its mean over channels if it has height and width, else as nearly square as can be."""
    if len(shape) > 1:
        return vector.reshape(*shape[:2], -1).mean(axis=-1)
    width = math.ceil(vector.size**0.5)
    filled = np.full(width * math.ceil(vector.size / width), np.nan)
    filled[: vector.size] = vector
    return filled.reshape(-1, width)


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
    for row in models:
        panel.plot(row["weights"], row["sync_ms"], "x", color=FREE)
        panel.annotate(row["model"], (row["weights"], row["sync_ms"]), xytext=(4, -9), textcoords="offset points")
    panel.set(xscale="log", yscale="log", xlabel="weights", ylabel="milliseconds", title=title)
    panel.legend()
    tidy(panel)
    figure.savefig(path, dpi=120)


def tidy(panel: Panel) -> None:
    """Takes away the frame above and at the right, and draws a faint grid."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.3)
