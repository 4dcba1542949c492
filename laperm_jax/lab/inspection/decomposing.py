"""`laperm decompose`: accuracy with only the common values, the permutations, or the residual of a trained network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.table import Table

from laperm_jax import flax_fan_in
from laperm_jax._paths import map_by_path
from laperm_jax.analysis._decomposition import Decomposition, decompose
from laperm_jax.analysis._profiles import normal_quantiles
from laperm_jax.lab.config import resolve
from laperm_jax.lab.config.scores import Score, format_score
from laperm_jax.lab.data import datasets
from laperm_jax.lab.models.networks import Variables
from laperm_jax.lab.runs import run_folder
from laperm_jax.lab.runs.weights import to_numpy
from laperm_jax.lab.training.build import build_evaluation
from laperm_jax.lab.training.evaluation import Evaluator
from laperm_jax.lab.training.seeds import draw_initial
from laperm_jax.rules._fan_in import vector_axes
from laperm_jax.sync._vectors import Axes, from_vectors, weight_vectors

_BATCHES = 50  # to measure BatchNorm statistics on, whose old ones describe other weights


class Shares(NamedTuple):
    """Shares in the sum of squares of the weights of one layer.

    Attributes:
      values, places, residual: D0, D1 and D2, with the layer's best profile.
      residual_scaled: D2 where each vector has a scale.
      residual_initial: D2 with the profile of the initial weights.
    """

    values: float
    places: float
    residual: float
    residual_scaled: float
    residual_initial: float


class Decomposed(NamedTuple):
    """Result of :func:`decompose_run`.

    Attributes:
      shares: of each layer, by its path.
      scores: of each replacement, by its name, on test data.
      score: name of these, ``accuracy`` or ``loss``.
    """

    shares: dict[str, Shares]
    scores: dict[str, float]
    score: Score


def decompose_run(run: Path, data_dir: Path | None = None) -> Decomposed:
    """Takes the kernels of a run apart, replaces one part at a time, and scores what is left on the test data.

    Args:
      run: folder that ``laperm train --out`` has written.
      data_dir: data directory of TensorFlow Datasets.

    Returns:
      Shares and scores. BatchNorm statistics are measured again for each replacement.

    Raises:
      ConfigError: if there is no such run, it is not finished, or its dataset is not prepared.
    """
    config, final = resolve(run_folder.read_config(run)), run_folder.read_weights(run)
    task, network, _ = build_evaluation(config, datasets.load(config.data.dataset, data_dir))
    initial, order_key, _ = draw_initial(network, config.seed)
    kernel_axes = vector_axes(flax_fan_in, initial.params)
    before = to_numpy(initial.params)
    shares, parts, scaled = {}, {}, {}
    for path, axes in kernel_axes.items():
        vectors = weight_vectors(final[path], axes)
        parts[path], scaled[path] = decompose(vectors), decompose(vectors, scale=True)
        held = decompose(vectors, np.sort(weight_vectors(before[path], axes), axis=1).mean(axis=0))
        values, places, residual = parts[path].shares()
        shares[path] = Shares(values, places, residual, scaled[path].shares()[2], held.shares()[2])
    rng, first = np.random.default_rng(0), next(iter(parts))
    replacements: dict[str, Callable[[str], Decomposition]] = {
        "as trained": lambda path: parts[path],
        "D2 removed": lambda path: _without_residual(parts[path]),
        "D2 removed but in the first layer": lambda path: (
            parts[path] if path == first else _without_residual(parts[path])
        ),
        "D2 removed, a scale for each vector": lambda path: _without_residual(scaled[path]),
        "D1 shuffled": lambda path: parts[path]._replace(ranks=rng.permuted(parts[path].ranks, axis=1)),
        "D0 normal": lambda path: _with_normal_values(parts[path]),
        "D0 normal, D2 removed": lambda path: _without_residual(_with_normal_values(parts[path])),
    }
    batches = min(_BATCHES, task.examples // config.data.batch_size) if initial.batch_stats else 0
    evaluator = Evaluator(task, network, config.data.batch_size, batches)

    def score(replaced: Callable[[str], Decomposition]) -> float:
        def composed(path: str, leaf: Any) -> np.ndarray:
            axes: Axes | None = kernel_axes.get(path)
            return final[path] if axes is None else from_vectors(replaced(path).compose(), leaf.shape, axes)

        params = map_by_path(composed, initial.params)
        batch_stats = map_by_path(lambda path, _: final[path], initial.batch_stats)
        return evaluator.score(evaluator.reestimate(Variables(params, batch_stats), order_key), task.test)

    scores = {name: score(replaced) for name, replaced in replacements.items()}
    return Decomposed(shares, scores, task.score)


def tables(decomposed: Decomposed) -> list[Table]:
    """The shares and the scores for a terminal of 80 columns."""
    shares = Table(
        caption="shares in the sum of squares: D0 common values, D1 their permutations, D2 the residual",
        caption_justify="left",
        box=box.SIMPLE,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("layer", "D0", "D1", "D2", "D2, scaled", "D2, initial values"):
        shares.add_column(name, justify="left" if name == "layer" else "right")
    for path, of_layer in decomposed.shares.items():
        shares.add_row(path, *(f"{share:.2%}" for share in of_layer))
    scores = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    scores.add_column("weights")
    scores.add_column(f"test {decomposed.score}", justify="right")
    for name, score in decomposed.scores.items():
        scores.add_row(name, format_score(decomposed.score, score))
    return [shares, scores]


def _without_residual(part: Decomposition) -> Decomposition:
    return part._replace(residual=np.zeros_like(part.residual))


def _with_normal_values(part: Decomposition) -> Decomposition:
    """Common values that are quantiles of a normal distribution of their mean and standard deviation."""
    quantiles = normal_quantiles(part.profile.size)
    scale = part.profile.std() / (quantiles.std() or 1.0)
    return part._replace(profile=(part.profile.mean() + scale * quantiles).astype(part.profile.dtype))
