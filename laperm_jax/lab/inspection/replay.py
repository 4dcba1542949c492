"""Replaying a run, which is reproducible bit for bit: one of its kernels at many moments, for `laperm trace`."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.config import ConfigError, resolve
from laperm_jax.lab.config.scores import Score
from laperm_jax.lab.data import datasets
from laperm_jax.lab.models.networks import Variables
from laperm_jax.lab.runs import run_folder
from laperm_jax.lab.training.build import Training, build_training
from laperm_jax.lab.training.seeds import Initial, draw_initial
from laperm_jax.lab.training.state import TrainState
from laperm_jax.lab.training.step import make_run, make_shuffle
from laperm_jax.sync._vectors import weight_vectors

MAX_UNITS = 10


class Replay(NamedTuple):
    """A kernel at some moments of a run.

    Attributes:
      layer: its path.
      units: number of its weight vectors.
      steps: numbers of updates made, ascending, the first 0.
      vectors: the first ten of its reconnected weight vectors at each moment, ``(moments, vectors, fan_in)``.
      shape: of one vector: height and width first, for a convolution or a layer on images.
      score: name of the validation score.
      scores: validation score of the reconnected weights at each moment.
      exact: whether the last kernel is, bit for bit, that of the run.
    """

    layer: str
    units: int
    steps: list[int]
    vectors: np.ndarray
    shape: tuple[int, ...]
    score: Score
    scores: list[float]
    exact: bool


def replay(run: Path, layer: str | None = None, data_dir: Path | None = None, moments: int = 48) -> Replay:
    """Trains a run again, up to the epoch that was chosen, and keeps one of its kernels at some moments.

    Args:
      run: folder that ``laperm train --out`` has written.
      layer: path of the kernel; the first if None.
      data_dir: data directory of TensorFlow Datasets.
      moments: how many moments to keep, or fewer; a third of them is closer together at the beginning.

    Returns:
      The kernel at each moment, and the scores.

    Raises:
      ConfigError: if there is no such run or layer, or its dataset is not prepared.
    """
    config, final, summary = run_folder.read_config(run), run_folder.read_weights(run), run_folder.read_summary(run)
    if summary is None:
        raise ConfigError(f"{run} is not finished; resume it with --resume")
    if run_folder.began_with_start(run):
        raise ConfigError(f"{run} began with the order of another run (--start), which its folder does not keep")
    config = resolve(config)
    training = build_training(config, datasets.load(config.data.dataset, data_dir))
    task, method, evaluator = training.task, training.method, training.evaluator
    initial = draw_initial(training.network, config.seed)
    layer = layer or next(iter(method.kernel_axes))
    if layer not in method.kernel_axes:
        raise ConfigError(f"there is no layer {layer}; there are {', '.join(method.kernel_axes)}")
    axes = method.kernel_axes[layer]
    steps = spread(min(summary["steps"], summary["best_epoch"] * method.steps_per_epoch), moments)
    kernel = np.array(leaves_by_path(initial.variables.params)[layer])
    kernels, scores = [], []
    for state in _states(training, initial, steps):
        params = training.reconnected_params(state.opt_state, state.params)
        variables = evaluator.reestimate(Variables(params, state.batch_stats), initial.order_key)
        scores.append(evaluator.score(variables, task.validation))
        kernel = np.array(leaves_by_path(params)[layer])
        kernels.append(weight_vectors(kernel, axes)[:MAX_UNITS].copy())
    shape = tuple(final[layer].shape[axis] for axis in axes)
    image = task.input_shape
    return Replay(
        layer=layer,
        units=len(weight_vectors(kernel, axes)),
        steps=steps,
        vectors=np.stack(kernels),
        shape=image if shape == (math.prod(image),) else shape,
        score=task.score,
        scores=scores,
        exact=kernel.tobytes() == final[layer].tobytes(),
    )


def spread(total: int, number: int) -> list[int]:
    """Chooses moments of a run: two thirds at equal distances, and a third closer together at the beginning.

    Example:
      >>> from laperm_jax.lab.inspection.replay import spread
      >>> spread(100, 9)
      [0, 1, 5, 20, 22, 40, 60, 80, 100]
    """
    early = np.geomspace(1, max(1, total), number // 3 + 1).round().astype(int)
    even = np.linspace(0, total, number - number // 3).round().astype(int)
    return sorted({0, total, *early.tolist(), *even.tolist()} - ({1} if total < 1 else set()))


def _states(training: Training, initial: Initial, steps: Sequence[int]) -> Iterator[TrainState]:
    """The states after these numbers of updates; the arrays of each are donated to the next."""
    method, run = training.method, make_run(training.update)
    shuffle = make_shuffle(training.task, method.steps_per_epoch, method.batch_size)
    state, made = method.init_state(initial), 0
    for step in steps:
        while made < step:
            epoch, start = divmod(made, method.steps_per_epoch)
            stop = min(method.steps_per_epoch, start + step - made)
            order = shuffle([initial.order_key], epoch)
            state, _ = run(state, training.task.train, order, np.int32(start), np.int32(stop))
            made += stop - start
        yield state
