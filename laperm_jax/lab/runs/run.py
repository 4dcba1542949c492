"""A run from settings to summary: train, evaluate after every epoch, keep the best, prove the permutation."""

import contextlib
import datetime
import importlib.metadata
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from laperm_jax._paths import leaves_by_path
from laperm_jax.sync._vectors import Axes, weight_vectors
from laperm_jax.lab.data import datasets
from laperm_jax.lab.runs import weights
from laperm_jax.lab.config import ConfigError, TrainConfig, check, make_config, resolve
from laperm_jax.lab.training.loop import Checkpoint, Loop, SyncRecord, heard_interrupt
from laperm_jax.lab.runs.run_folder import DamagedCheckpointError, Resumed, RunFolder, check_folder, read_summary
from laperm_jax.lab.inspection.sampling import continue_text
from laperm_jax.lab.config.scores import selection_score
from laperm_jax.lab.training.side_by_side import SideBySide
from laperm_jax.lab.training.trainer import Trainer, TrainState, Tree
from laperm_jax.analysis._profiles import profile_similarity

Summary = dict[str, Any]

_SAMPLE = 400  # characters that a language model writes at the end of a run
_FROZEN = 0.9  # share of weights that cannot move
_LARGE_GAP = 0.05  # in the score of free weights and of reconnected ones: an accuracy, or nats


class Snapshot(NamedTuple):
    """Weights at the end of an epoch, and what they score on the validation examples.

    Attributes:
      epoch: its number; 0 before the first.
      params, free_params: reconnected weights, and as the inner optimiser left them.
      batch_stats, free_batch_stats: BatchNorm statistics that each was evaluated with.
      scores: of each, as ``val_accuracy`` and ``val_accuracy_free``, or ``val_loss`` and ``val_loss_free``.
    """

    epoch: int
    params: Tree
    batch_stats: Tree
    free_params: Tree
    free_batch_stats: Tree
    scores: dict[str, float]


def train(
    config: TrainConfig,
    out: Path | None = None,
    *,
    resume: bool = False,
    data_dir: Path | None = None,
    console: Console | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Trains a network as the settings say.

    The model is chosen by what its reconnected weights score on the validation examples, of equal epochs the later;
    the test examples are looked at once, for the chosen one. Ctrl-C and SIGTERM end the run early and in order, and the
    second one at once; ``resume`` goes on with it. A run that is finished is not made again: its summary is
    returned.

    Args:
      config: settings.
      out: folder for the results; nothing is written if None.
      resume: go on with the run in ``out``, bit for bit as if it had not been stopped; begin it if there is none yet.
      data_dir: data directory of TensorFlow Datasets.
      console: where to report; nowhere if None.
      on_progress: called with the number of updates made and of all updates; a bar on the console if None.

    Returns:
      What ``summary.json`` holds. Accuracies are shares, losses nats or squares. ``status`` is ``finished``,
      ``interrupted`` or ``diverged``: then a weight after update number ``steps``, or the loss of the next one, was not
      finite.

    Raises:
      ConfigError: for settings that cannot be run, if the dataset is not prepared or damaged, and for a run to go on
        with whose checkpoints are all damaged.
      OutputError: if its files cannot be written any more; what was saved before is kept.

    Example:
      >>> from laperm_jax.lab.config import make_config
      >>> from laperm_jax.lab.runs.run import train
      >>> summary = train(make_config(widths=(32,), epochs=2, sync_period=5))
      >>> summary["status"], summary["exact_vectors"], summary["total_vectors"]
      ('finished', 42, 42)
    """
    (summary,) = train_seeds(
        [config], [out], resume=resume, data_dir=data_dir, console=console, on_progress=on_progress
    )
    return summary


def train_seeds(
    configs: Sequence[TrainConfig],
    outs: Sequence[Path | None],
    *,
    resume: bool = False,
    data_dir: Path | None = None,
    console: Console | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Summary]:
    """Trains several seeds of one run side by side: each as :func:`train` does, but for rounding.

    Times are shared: each summary has the seconds of all, divided by their number.

    Args:
      configs: settings that differ in ``seed`` only, without ``redraw``.
      outs: folder for the results of each seed.
      resume, data_dir: as of :func:`train`.
      console: where to report, of one seed; nowhere if None.
      on_progress: called with the number of updates made and of all updates; a bar on the console if None.

    Returns:
      The summary of each. Where a loss or weight of one was not finite, all say ``diverged``: train them one by one.

    Raises:
      ConfigError: as :func:`train`.
    """
    configs = [resolve(config) for config in configs]
    if resume and None in outs:
        raise ConfigError("--resume needs --out, the folder of the run to go on with")
    for config, out in zip(configs, outs, strict=True):
        if out:
            check_folder(out, config, resume=resume)
    finished = [summary for out in outs if out and (summary := read_summary(out))]
    if len(finished) == len(configs):
        if console:
            console.print(f"nothing to do: the run in {outs[0]} has come to its end", markup=False, soft_wrap=True)
        return finished
    first = Trainer(configs[0], datasets.load(configs[0].data.dataset, data_dir))
    trainers = [first, *(first.with_seed(config.seed) for config in configs[1:])]
    with contextlib.ExitStack() as stack:
        folders = [
            stack.enter_context(RunFolder(out, config, resume=resume)) if out else None
            for config, out in zip(configs, outs, strict=True)
        ]
        loop, bests = fit(trainers, folders, console, on_progress)
        return [_finish(*run, loop) for run in zip(configs, trainers, bests, folders, strict=True)]


def _finish(config: TrainConfig, trainer: Trainer, best: Snapshot, folder: RunFolder | None, loop: Loop) -> Summary:
    """Tests the chosen weights, proves the permutation, and writes what there is to write."""
    initial, free = weights.to_numpy(trainer.initial_params), weights.to_numpy(best.free_params)
    final = weights.to_numpy(best.params)
    exact, total = weights.count_exact_vectors(initial, final, trainer.axes)
    seconds, score = loop.train_seconds / loop.seeds, trainer.task.score
    summary = {
        "status": loop.status,
        "dataset": config.data.dataset,
        "model": config.model.model,
        "inner": config.optimizer.inner,
        "sync_period": config.sync.sync_period,
        "seed": config.seed,
        "seeds_side_by_side": loop.seeds,
        "epochs": math.ceil(loop.step / trainer.steps_per_epoch),
        "steps": loop.step,
        "syncs": int(jnp.sum(jax.vmap(trainer.sync_schedule)(jnp.arange(1, loop.step + 1)))),
        "best_epoch": best.epoch,
        **best.scores,
        f"test_{score}": trainer.score(best.params, best.batch_stats, trainer.test),
        f"test_{score}_free": trainer.score(best.free_params, best.free_batch_stats, trainer.test),
        "profile_similarity_initial": _profile_similarity(initial, trainer.kernel_axes),
        "profile_similarity_free": _profile_similarity(free, trainer.kernel_axes),
        "exact_vectors": exact,
        "total_vectors": total,
        "params_sha256": weights.sha256(final),
        "train_seconds": seconds,
        "compile_seconds": loop.compile_seconds / loop.seeds,
        "examples_per_second": loop.step * config.data.batch_size / max(seconds, 1e-9),
        **_more(config, trainer, best),
        **environment(),
    }
    if folder:
        batch_stats = weights.to_numpy(best.batch_stats)
        folder.finish(summary, initial=initial, free=free, final=final | batch_stats, axes=trainer.axes)
    return summary


def _more(config: TrainConfig, trainer: Trainer, best: Snapshot) -> Summary:
    """What only some runs have: the score of the weights they began with, and what a language model writes."""
    summary: Summary = {}
    if config.model.start:
        start = trainer.score(trainer.initial_params, trainer.initial_batch_stats, trainer.test)
        summary[f"test_{trainer.task.score}_start"] = start
    if config.task == "language":
        summary["sample"] = continue_text(trainer, best.params, length=_SAMPLE)
    return summary


def environment() -> Summary:
    """Date, device and versions, for every result that is written down."""
    device = jax.devices()[0]
    packages = ("laperm-jax", "jax", "jaxlib", "optax", "flax", "numpy")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": f"{device.device_kind}, {os.cpu_count()} cores" if device.platform == "cpu" else device.device_kind,
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
    }


def fit(
    trainers: Sequence[Trainer],
    folders: Sequence[RunFolder | None],
    console: Console | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Loop, list[Snapshot]]:
    """Trains one seed, or several side by side, to the end, to a signal, or to a loss or weight that is not finite.

    Args:
      trainers: what to train, one for each seed.
      folders: where each epoch is written, for each seed.
      console: where each epoch is reported, of one seed.
      on_progress: called with the number of updates made and of all updates; a bar on the console if None.

    Returns:
      The loop, with its status and times, and of each seed the snapshot that scores best on the validation examples;
      of the initial weights, as epoch 0, if no epoch came to its end.
    """
    console = console or Console(quiet=True)
    together = trainers[0] if len(trainers) == 1 else SideBySide(trainers)
    start, bests = _begin(trainers, folders, console)
    with contextlib.ExitStack() as stack:
        interrupted = stack.enter_context(heard_interrupt())
        show = on_progress or stack.enter_context(_progress_bar(console, together.total_steps))
        loop = Loop(together, interrupted, lambda step: show(step, together.total_steps), start)
        if start:
            console.print(f"going on after update {loop.step} of {together.total_steps}")
        movement_checked, frozen = start is not None, False
        while loop.status == "running":
            epoch = loop.step // together.steps_per_epoch + 1
            losses = loop.run_epoch()
            if loop.diverged:
                break
            for number, checkpoint in enumerate(loop.checkpoints()):
                folder = folders[number]
                if folder and not loop.epoch_is_over:  # before anything else: what stops a run may not wait
                    folder.save(checkpoint)
                snapshot = _snapshot(trainers[number], checkpoint.state, epoch)
                if number not in bests or selection_score(snapshot.scores) >= selection_score(bests[number].scores):
                    bests[number] = snapshot
                record = {
                    "epoch": epoch,
                    "step": loop.step,
                    "learning_rate": float(trainers[number].learning_rate(loop.step - 1)),
                    "train_loss": float(losses.reshape(len(losses), -1)[:, number].mean()),
                    **snapshot.scores,
                    "train_seconds": loop.train_seconds / loop.seeds,
                    "first_sync": loop.sync_metrics[number],
                }
                reconnected, free = map(trainers[number].task.format_score, snapshot.scores.values())
                console.print(
                    f"epoch {epoch:3}  loss {record['train_loss']:.4f}  validation {reconnected:>7} reconnected "
                    f"{free:>7} free",
                    soft_wrap=True,
                )
                if not movement_checked and (metrics := loop.sync_metrics[number]):
                    movement_checked, frozen = True, _warn_if_frozen(console, trainers[number], metrics)
                if folder:
                    folder.add_epoch(record)
                    if loop.epoch_is_over:
                        folder.save(checkpoint)
    if 0 in bests and not frozen:
        _warn_if_apart(console, trainers[0], bests[0])
    untrained = lambda trainer: _snapshot(trainer, trainer.init_state(), epoch=0)
    return loop, [bests.get(number) or untrained(trainer) for number, trainer in enumerate(trainers)]


def _warn_if_frozen(console: Console, trainer: Trainer, metrics: SyncRecord) -> bool:
    """Says so before the learning rate decays: at its end no weight moves, and none has to."""
    sizes = {path: leaf.size for path, leaf in leaves_by_path(trainer.initial_params).items() if path in metrics}
    stuck = sum(metrics[path]["stuck"] * size for path, size in sizes.items()) / sum(sizes.values())
    if stuck > _FROZEN:
        console.print(
            f"warning: {stuck:.1%} of the weights cannot reach a neighbouring value from one sync to the next, and "
            "stay where they are; give a longer --sync-period or a larger --learning-rate",
            soft_wrap=True,
        )
    return stuck > _FROZEN


def _warn_if_apart(console: Console, trainer: Trainer, best: Snapshot) -> None:
    reconnected, free = best.scores.values()
    if abs(free - reconnected) > _LARGE_GAP and trainer.task.is_better(free, reconnected):
        gap = trainer.task.format_score(abs(free - reconnected))
        console.print(
            f"warning: reconnected weights score {gap} worse than free ones; a shorter --sync-period, or a learning "
            "rate that decays to zero, brings them together",
            soft_wrap=True,
        )


def _begin(
    trainers: Sequence[Trainer], folders: Sequence[RunFolder | None], console: Console
) -> tuple[list[Checkpoint] | None, dict[int, Snapshot]]:
    """What the seeds go on from: their last checkpoints of the same number of updates, and the best epochs so far."""
    kept = [folder for folder in folders if folder]
    resumed = _resume(kept, _template(trainers[0]), console) if len(kept) == len(trainers) else None
    if resumed is None:
        for folder in kept:
            folder.begin()
        return None, {}
    bests = {}
    for number, (folder, run) in enumerate(zip(kept, resumed, strict=True)):
        folder.begin(run)
        if run.best:
            epoch, state = run.best
            bests[number] = _snapshot(trainers[number], state, epoch)
    return [run.checkpoint for run in resumed], bests


def _template(trainer: Trainer) -> TrainState:
    """What a state looks like here: it may have been saved on another device, or on several."""
    here = SingleDeviceSharding(jax.devices()[0])
    as_here = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)
    return jax.tree.map(as_here, jax.eval_shape(trainer.init_state))


def _resume(folders: Sequence[RunFolder], template: TrainState, console: Console) -> list[Resumed] | None:
    """Reads the last checkpoints that are whole; None if there are none."""
    damaged = None
    for step in sorted(set.intersection(*(folder.steps for folder in folders)), reverse=True):
        try:
            return [folder.read(step, template) for folder in folders]
        except DamagedCheckpointError as error:
            console.print(f"{error}; trying the one before", markup=False, soft_wrap=True)
            damaged = error
    if damaged:
        raise ConfigError(f"{damaged}, and there is none before it; remove the folder to begin again") from damaged
    return None


def _profile_similarity(weights_: weights.Weights, axes: Mapping[str, Axes]) -> float:
    """Of all kernels, each weighted by its size."""
    similarity = [profile_similarity(weight_vectors(weights_[path], axes[path])) for path in axes]
    return float(np.average(similarity, weights=[weights_[path].size for path in axes]))


def _snapshot(trainer: Trainer, state: TrainState, epoch: int) -> Snapshot:
    # Copies: the arrays of the state are donated to the next update, and a leaf that is not reordered is one of them.
    free = jax.tree.map(jnp.copy, state.params)
    reconnected = jax.tree.map(jnp.copy, trainer.reconnected_params(state.opt_state, state.params))
    stats, free_stats = (
        jax.tree.map(jnp.copy, trainer.reestimated(params, state.batch_stats)) for params in (reconnected, free)
    )
    name = f"val_{trainer.task.score}"
    scores = {
        name: trainer.score(reconnected, stats, trainer.validation),
        f"{name}_free": trainer.score(free, free_stats, trainer.validation),
    }
    return Snapshot(epoch, reconnected, stats, free, free_stats, scores)


@contextlib.contextmanager
def _progress_bar(console: Console, total: int) -> Iterator[Callable[[int, int], None]]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task("compiling", total=total)
        yield lambda step, total: progress.update(bar, completed=step, total=total, description="training")
