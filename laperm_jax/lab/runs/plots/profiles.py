"""Weight vectors of a network: sorted, and before and after training."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from scipy.stats import rankdata

from laperm_jax.lab.runs.plots.style import (
    INITIAL,
    MAX_KERNELS,
    MAX_PLACES,
    RECONNECTED,
    colorbar,
    short_name,
    tidy,
)
from laperm_jax.lab.runs.weights import Weights
from laperm_jax.sync._vectors import Axes, weight_vectors

_MAX_VECTORS = 32
_MAX_LEVELS = 16  # distinct values of a kernel of shared values
_BINS = 40


class _Kernel(NamedTuple):
    """Some of a kernel's vectors ``(vectors, fan_in)``, after training and before it if known."""

    name: str
    shape: tuple[int, int]
    after: np.ndarray
    before: np.ndarray | None


def profiles(path: Path, initial: Weights | None, final: Weights, axes: Mapping[str, Axes]) -> None:
    """Draws weight profiles (Qiu & Suda, 2020), and what training made of them.

    One row a kernel, the first eight, with 32 vectors or fewer of each: the sorted vectors; the vectors as they are,
    before and after training; and the rank that each weight began with against the one it has now. LaPerm changes the
    order of the values alone, so that the sorted vectors are drawn once.

    Args:
      path: picture to write, PNG, PDF or SVG.
      initial: weights before training; None if unknown, and without kernels that are not known.
      final: weights after training.
      axes: path of each kernel to the axes of one vector.
    """
    kernels = [_some_vectors(name, initial or {}, final, axes[name]) for name in list(axes)[:MAX_KERNELS]]
    titles = ["sorted vectors", "before training", "after training", "rank before and after"]
    if not initial:
        titles = ["sorted vectors", "vectors"]
    figure = Figure(figsize=(3.4 * len(titles), 0.7 + 2.3 * len(kernels)), layout="constrained")
    rows = figure.subplots(len(kernels), len(titles), squeeze=False)
    for kernel, (left, *others) in zip(kernels, rows, strict=True):
        _sorted(left, kernel)
        if initial:
            before, after, ranks = others
            _as_they_are(before, kernel.before, kernel.after)
            _as_they_are(after, kernel.after, kernel.after, with_bar=True)
            _ranks(ranks, kernel.before, kernel.after)
        else:
            _as_they_are(others[0], kernel.after, kernel.after, with_bar=True)
    for panel, title in zip(rows[0], titles, strict=True):
        panel.set_title(title)
    figure.savefig(path, dpi=100)


def _some_vectors(name: str, initial: Weights, final: Weights, axes: Axes) -> _Kernel:
    after = weight_vectors(final[name], axes)
    chosen = np.linspace(0, len(after) - 1, min(len(after), _MAX_VECTORS)).astype(int)
    before = weight_vectors(initial[name], axes)[chosen] if name in initial else None
    return _Kernel(name, after.shape, after[chosen], before)


def _sorted(panel: Panel, kernel: _Kernel) -> None:
    """Quantiles over the vectors at each rank: a mean of steps, which shared values make, would be a ramp."""
    after = np.sort(kernel.after, axis=1)
    curves = [(after, RECONNECTED, "after" if kernel.before is not None else None)]
    if kernel.before is not None:
        before = np.sort(kernel.before, axis=1)
        if np.array_equal(before, after):
            curves = [(after, RECONNECTED, "before and after")]
        else:
            curves.insert(0, (before, INITIAL, "before"))
    ranks = _places(after.shape[1])
    for vectors, color, label in curves:
        low, median, high = np.quantile(vectors[:, ranks], (0, 0.5, 1), axis=0, method="nearest")
        panel.fill_between(ranks, low, high, color=color, alpha=0.25, linewidth=0, step="mid")
        panel.step(ranks, median, where="mid", color=color, label=label)
    panel.set(xlabel="rank", ylabel=f"{short_name(kernel.name)}\n{kernel.shape[0]:,} x {kernel.shape[1]:,}")
    if kernel.before is not None:
        panel.legend(fontsize="small", frameon=False)
    tidy(panel)


def _as_they_are(panel: Panel, vectors: np.ndarray | None, scale: np.ndarray, with_bar: bool = False) -> None:
    """Vectors as rows of pixels; colours reach to all but the largest few of ``scale``."""
    if vectors is None:
        panel.set_axis_off()
        return
    limit = float(np.quantile(abs(scale), 0.995)) or float(abs(scale).max()) or 1.0
    image = panel.imshow(
        vectors[:, _places(vectors.shape[1])],
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
        extent=(0, vectors.shape[1], len(vectors), 0),
    )
    panel.set(xlabel="place", yticks=[])
    if with_bar:
        colorbar(image, panel)


def _ranks(panel: Panel, before: np.ndarray | None, after: np.ndarray) -> None:
    """How often weights went from one rank to another, relative to an order drawn at random.

    Equal values share a rank, so that a few values give a few cells, as large as the values are frequent.
    """
    if before is None:
        panel.set_axis_off()
        return
    values, counts = np.unique(after, return_counts=True)
    if len(values) <= _MAX_LEVELS:
        edges = np.append(0, np.cumsum(counts) / counts.sum())
        ranks = [(edges[:-1] + edges[1:])[np.searchsorted(values, vectors)] / 2 for vectors in (before, after)]
    else:
        edges = np.linspace(0, 1, min(_BINS, after.shape[1]) + 1)
        ranks = [(rankdata(vectors, axis=1) - 0.5) / vectors.shape[1] for vectors in (before, after)]
    cells, *_ = np.histogram2d(ranks[0].ravel(), ranks[1].ravel(), bins=[edges, edges])
    density = cells / cells.sum() / np.outer(np.diff(edges), np.diff(edges))
    limit = max(2.0, float(np.quantile(density, 0.99)))
    mesh = panel.pcolormesh(100 * edges, 100 * edges, density.T, cmap="Blues", vmin=0, vmax=limit)
    panel.plot([0, 100], [0, 100], color="black", linewidth=0.6, linestyle=":")
    panel.set(xlabel="rank before, %", ylabel="rank after, %", aspect="equal")
    colorbar(mesh, panel, "1: at random")


def _places(fan_in: int) -> np.ndarray:
    return np.unique(np.linspace(0, fan_in - 1, min(fan_in, MAX_PLACES)).astype(int))
