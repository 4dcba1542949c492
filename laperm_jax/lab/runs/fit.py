"""The epochs of a run: resume, train, evaluate, keep the best, save."""

import contextlib
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding
from rich.console import Console

from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.config.scores import selection_score
from laperm_jax.lab.models.networks import Variables
from laperm_jax.lab.runs import console as messages
from laperm_jax.lab.runs.checkpoints import DamagedCheckpointError, Resumed
from laperm_jax.lab.runs.console import ProgressFn, say
from laperm_jax.lab.runs.run_folder import Record
from laperm_jax.lab.runs.writer import RunWriter
from laperm_jax.lab.training.build import Training
from laperm_jax.lab.training.diagnostics import initial_gain
from laperm_jax.lab.training.evaluation import Snapshot
from laperm_jax.lab.training.loop import Loop
from laperm_jax.lab.training.seeds import Initial
from laperm_jax.lab.training.signals import heard_interrupt
from laperm_jax.lab.training.state import TrainState


class SeedRun:
    """One seed of a run.

    Attributes:
      initial: what it begins with.
      best: the epoch with the best validation score, the latest on ties; the initial weights, as epoch 0, until an
        epoch has ended.

    Args:
      training: the parts of the run.
      initial: what it begins with.
      writer: its folder; nothing is written if None.
    """

    def __init__(self, training: Training, initial: Initial, writer: RunWriter | None):
        self.initial, self.writer = initial, writer
        self._training = training
        self._best: Snapshot | None = None

    @property
    def best(self) -> Snapshot:
        """The best epoch so far."""
        if self._best is None:
            self._best = self._snapshot(0, self._training.method.init_state(self.initial))
        return self._best

    def begin(self, resumed: Resumed | None) -> None:
        """Opens the folder at the beginning of the run, or where it resumes."""
        if self.writer:
            self.writer.begin(resumed)
        if resumed and resumed.best:
            self._best = self._snapshot(*resumed.best)

    def evaluate(self, epoch: int, state: TrainState) -> dict[str, float]:
        """Scores an epoch, and keeps it if it is the best so far."""
        snapshot = self._snapshot(epoch, state)
        if self._best is None or selection_score(snapshot.scores) >= selection_score(self._best.scores):
            self._best = snapshot
        return snapshot.scores

    def _snapshot(self, epoch: int, state: TrainState) -> Snapshot:
        reconnected = self._training.reconnected_params(state.opt_state, state.params)
        free = Variables(state.params, state.batch_stats)
        return self._training.evaluator.snapshot(epoch, free, reconnected, self.initial.order_key)


def fit(
    training: Training, seeds: Sequence[SeedRun], console: Console, on_progress: ProgressFn | None = None
) -> tuple[Loop, list[str]]:
    """Trains one seed, or several side by side, to the end, to a signal, or to a loss or weight that is not finite.

    Args:
      training: the parts of the run.
      seeds: its seeds.
      console: where the first seed is reported.
      on_progress: called with the number of updates made and of all updates; a bar on the console if None.

    Returns:
      The loop, with its status and times, and warnings about the first seed.
    """
    resumed = _resume(training, seeds, console)
    for number, seed in enumerate(seeds):
        seed.begin(resumed[number] if resumed else None)
    method = training.method
    if not resumed and method.axes and training.task.score == "accuracy":
        gain = initial_gain(seeds[0].initial.variables.params, method.kernel_axes)
        if small := messages.gain_warning(gain):
            say(console, f"note: {small}")
    total, sizes = method.total_steps, _sizes(seeds[0].initial)
    frozen: str | None = None
    measured = resumed is not None
    with contextlib.ExitStack() as stack:
        interrupted = stack.enter_context(heard_interrupt())
        show = on_progress or stack.enter_context(messages.progress_bar(console))
        loop = Loop(
            training.task,
            method,
            training.update,
            [seed.initial for seed in seeds],
            interrupted,
            lambda step: show(step, total),
            [of_seed.checkpoint for of_seed in resumed] if resumed else None,
        )
        if resumed:
            say(console, f"resuming after update {loop.step} of {total}")
        while loop.status == "running":
            records = _run_epoch(training, loop, seeds)
            if not records:
                break
            first = records[0]
            scores = {name: score for name, score in first.items() if name.startswith("val_")}
            if messages.is_shown(console, first["epoch"], loop.step == total):
                say(console, messages.epoch_line(training.task, first["epoch"], first["train_loss"], scores))
            # With error feedback steps add up over several syncs: a weight that one sync leaves alone is not frozen.
            feeds_back = loop.state.opt_state.residual is not None
            if not measured and not feeds_back and (metrics := first["first_sync"]):
                measured, frozen = True, messages.frozen_warning(metrics, sizes)
                if frozen:
                    say(console, f"note: {frozen}")
    return loop, _warnings(training, loop, seeds[0], frozen)


def _run_epoch(training: Training, loop: Loop, seeds: Sequence[SeedRun]) -> list[Record]:
    """Runs and evaluates one epoch; returns its metrics for each seed, none if it diverged."""
    epoch = loop.step // training.method.steps_per_epoch + 1
    losses = loop.run_epoch()
    if loop.diverged:
        return []
    records: list[Record] = []
    for number, (seed, checkpoint) in enumerate(zip(seeds, loop.checkpoints(), strict=True)):
        if seed.writer and not loop.epoch_is_over:  # first of all, since whoever has stopped the run may not wait
            seed.writer.save(checkpoint)
        record = {
            "epoch": epoch,
            "step": loop.step,
            "learning_rate": float(np.asarray(training.method.learning_rate(loop.step - 1))),
            "train_loss": float(losses[:, number].mean()),
            **seed.evaluate(epoch, checkpoint.state),
            "train_seconds": loop.train_seconds / loop.seeds,
            "first_sync": loop.sync_metrics[number],
        }
        if seed.writer:
            seed.writer.add_epoch(record)
            if loop.epoch_is_over:
                seed.writer.save(checkpoint)
        records.append(record)
    return records


def _warnings(training: Training, loop: Loop, seed: SeedRun, frozen: str | None) -> list[str]:
    if frozen:
        return [frozen]
    if not seed.best.epoch:
        return []
    found = messages.gap_warning(training.task, seed.best.scores)
    if loop.status == "finished":
        found = found or messages.chance_warning(training.task, seed.best.scores)
    return [found] if found else []


def _sizes(initial: Initial) -> dict[str, int]:
    return {path: leaf.size for path, leaf in leaves_by_path(initial.variables.params).items()}


def _resume(training: Training, seeds: Sequence[SeedRun], console: Console) -> list[Resumed] | None:
    """Reads the last checkpoints of all seeds that are whole and of the same update; None if there are none."""
    writers = [seed.writer for seed in seeds if seed.writer]
    if len(writers) < len(seeds):
        return None
    template = _template(training, seeds[0].initial)
    damaged = None
    for step in sorted(set.intersection(*(writer.steps for writer in writers)), reverse=True):
        try:
            return [writer.read(step, template) for writer in writers]
        except DamagedCheckpointError as error:
            say(console, f"{error}; trying the one before")
            damaged = error
    if damaged:
        raise ConfigError(f"{damaged}, and there is none before it; remove the folder to begin again") from damaged
    return None


def _template(training: Training, initial: Initial) -> TrainState:
    """Shapes and dtypes of a state on this device; it may have been saved on another, or on several."""
    here = SingleDeviceSharding(jax.devices()[0])
    on_this_device = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)
    return jax.tree.map(on_this_device, jax.eval_shape(lambda: training.method.init_state(initial)))
