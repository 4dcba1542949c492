"""How the values of one kernel travelled: what `laperm trace` draws. The run is made again, for it is reproducible."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.config import ConfigError, OutputError, resolve
from laperm_jax.lab.data import datasets
from laperm_jax.lab.runs import plots, run_folder
from laperm_jax.lab.training.trainer import Trainer, TrainState
from laperm_jax.sync._vectors import weight_vectors

_MOMENTS = 8


class Trace(NamedTuple):
    """A kernel at some moments of a run.

    Attributes:
      layer: its path.
      steps: numbers of updates made, ascending, the first 0.
      vectors: its reconnected weight vectors at each, ``(moments, vectors, fan_in)``.
      shape: of the kernel without its output axes: height and width of an image first, for a layer on images.
      same: whether the last are, bit for bit, those of the run.
    """

    layer: str
    steps: list[int]
    vectors: np.ndarray
    shape: tuple[int, ...]
    same: bool


def trace(
    run: Path,
    layer: str | None = None,
    data_dir: Path | None = None,
) -> Trace:
    """Makes a run again, up to the epoch that was chosen, and looks at a kernel after some of its syncs.

    Args:
      run: folder that ``laperm train --out`` has written.
      layer: path of the kernel; the first if None.
      data_dir: data directory of TensorFlow Datasets.

    Returns:
      The kernel at eight moments or fewer, closer together at the beginning.

    Raises:
      ConfigError: if there is no such run or layer, or its dataset is not prepared.
    """
    config, final, summary = run_folder.read_config(run), run_folder.read_weights(run), run_folder.read_summary(run)
    if summary is None:
        raise ConfigError(f"{run} has not come to its end; go on with it by --resume")
    if any(name.endswith("_start") for name in summary):
        raise ConfigError(f"{run} began with the order of another run (--start), which its folder does not keep")
    config = resolve(config)
    trainer = Trainer(config, datasets.load(config.data.dataset, data_dir))
    layer = layer or next(iter(trainer.kernel_axes))
    if layer not in trainer.kernel_axes:
        raise ConfigError(f"there is no layer {layer}; there are {', '.join(trainer.kernel_axes)}")
    axes = trainer.kernel_axes[layer]
    total = min(summary["steps"], summary["best_epoch"] * trainer.steps_per_epoch)
    steps, kernels = _moments(trainer, total), []
    for state in _replay(trainer, steps):
        params = trainer.reconnected_params(state.opt_state, state.params)
        kernels.append(np.array(leaves_by_path(params)[layer]))
    image, shape = trainer.task.input_shape, tuple(final[layer].shape[axis] for axis in axes)
    return Trace(
        layer,
        steps,
        np.stack([weight_vectors(kernel, axes) for kernel in kernels]),
        image if shape == (math.prod(image),) else shape,
        kernels[-1].tobytes() == final[layer].tobytes(),
    )


def draw(traced: Trace, out: Path) -> None:
    """Draws the kernel at each moment, and where some of its values stood.

    Raises:
      OutputError: if it cannot be written.
    """
    try:
        plots.travels(out, traced.layer, traced.steps, traced.vectors, traced.shape)
    except OSError as error:
        raise OutputError(f"--out {out} cannot be written: {error.strerror}") from error


def _moments(trainer: Trainer, total: int) -> list[int]:
    """No update, the first sync, the last update, and syncs between them; without syncs, any updates."""
    steps = np.arange(1, total + 1, dtype=np.int32)
    syncs = steps[np.asarray(jax.vmap(trainer.sync_schedule)(jnp.asarray(steps)))] if trainer.axes else steps
    chosen = np.geomspace(1, len(syncs), _MOMENTS - 2).round().astype(int) - 1 if len(syncs) else np.zeros(0, int)
    return sorted({0, *syncs[chosen].tolist(), total})


def _replay(trainer: Trainer, steps: Sequence[int]) -> Iterator[TrainState]:
    """States after so many updates; the arrays of each are donated to the next."""
    state, made = trainer.init_state(), 0
    for step in steps:
        while made < step:
            epoch, start = divmod(made, trainer.steps_per_epoch)
            stop = min(trainer.steps_per_epoch, start + step - made)
            order = trainer.shuffle(np.int32(epoch))
            state, _ = trainer.run(state, trainer.train, order, np.int32(start), np.int32(stop))
            made += stop - start
        yield state
