"""The loop of a run: epochs in pieces short enough to show progress and to hear a signal."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from laperm_jax.lab.training.side_by_side import SideBySide
from laperm_jax.lab.training.trainer import Trainer, TrainState, Tree

SyncRecord = dict[str, dict[str, float]]  # path of a parameter, name of a metric
Status = Literal["running", "finished", "interrupted", "diverged"]

_PIECE_SECONDS = 0.5


class Checkpoint(NamedTuple):
    """All that a run of one seed goes on from.

    Attributes:
      state: after ``state.opt_state.count`` updates.
      losses: of the updates since the end of the last epoch; none at the end of one.
      sync_metrics: as of :class:`Loop`; None at the end of an epoch.
      train_seconds, compile_seconds: spent up to here.
    """

    state: TrainState
    losses: list[float]
    sync_metrics: SyncRecord | None
    train_seconds: float
    compile_seconds: float


class Loop:
    """Runs a trainer from its first update to its last.

    Attributes:
      state: the current state.
      step: updates made, all of a finite loss.
      seeds: number of seeds side by side.
      sync_metrics: of each seed, what the first sync of the epoch in progress does, measured one update before it; None
        until then, in an epoch without a sync, and with a sync at every update.
      status: ``running`` until the last update is made, an interrupt is heard, or a loss or a weight is not finite.
      train_seconds: time spent on updates; compilation and evaluation are not counted.
      compile_seconds: time spent to compile them.

    Args:
      trainer: what to run.
      interrupted: tells whether to stop early.
      on_progress: called with the number of updates made, every half second or so.
      start: checkpoints to go on from, one for each seed, of the same number of updates; from the beginning if None.
    """

    def __init__(
        self,
        trainer: Trainer | SideBySide,
        interrupted: Callable[[], bool],
        on_progress: Callable[[int], None],
        start: Sequence[Checkpoint] | None = None,
    ):
        self._trainer = trainer
        self._interrupted = interrupted
        self._on_progress = on_progress
        self._piece = 1
        self._is_sync = jax.jit(jax.vmap(trainer.sync_schedule))
        self.state = trainer.join([checkpoint.state for checkpoint in start]) if start else trainer.init_state()
        self.step = int(self.state.opt_state.count)
        self.seeds = len(trainer.members(self.state))
        self.status: Status = "finished" if self.step == trainer.total_steps else "running"
        self.train_seconds = self.compile_seconds = 0.0
        self.sync_metrics: list[SyncRecord | None] = [None] * self.seeds
        self._losses: list[Any] = []  # of the epoch in progress
        if start:
            self.sync_metrics = [checkpoint.sync_metrics for checkpoint in start]
            self.train_seconds = sum(checkpoint.train_seconds for checkpoint in start)
            self.compile_seconds = sum(checkpoint.compile_seconds for checkpoint in start)
            columns = np.array([checkpoint.losses for checkpoint in start], np.float32)
            self._losses = list(columns[0] if self.seeds == 1 else columns.T)
        started, zero = time.perf_counter(), np.int32(0)
        self._run = trainer.run.lower(self.state, trainer.train, trainer.shuffle(zero), zero, zero).compile()
        self.compile_seconds += time.perf_counter() - started

    @property
    def diverged(self) -> bool:
        """Whether a loss or a weight was not finite."""
        return self.status == "diverged"

    @property
    def epoch_is_over(self) -> bool:
        """Whether the next update, if there is one, is the first of an epoch."""
        return self.step % self._trainer.steps_per_epoch == 0 or self.step == self._trainer.total_steps

    def run_epoch(self) -> np.ndarray:
        """Makes the updates of the next epoch, or what is left of it.

        Returns:
          The losses of the epoch so far, float32 ``(updates,)``, of seeds side by side ``(updates, seeds)``. If the
          status is ``diverged`` afterwards, a weight after update number ``step`` or a loss of the next one was not
          finite, and the state is of no use.
        """
        epoch, start = divmod(self.step, self._trainer.steps_per_epoch)
        stop = min(self._trainer.steps_per_epoch, self._trainer.total_steps - epoch * self._trainer.steps_per_epoch)
        order = self._trainer.shuffle(np.int32(epoch))
        if not start:
            self._losses, self.sync_metrics = [], [None] * self.seeds
        watched, last_sync = self._watch(self.step - start, self.step - start + stop)
        while start < stop and self.status == "running":
            if self.step == watched:
                states = self._trainer.members(self.state)
                self.sync_metrics = [self._trainer.sync_metrics(state) for state in states]
            pauses = [start + step - self.step for step in (watched, last_sync) if step and step > self.step]
            made = self._run_piece(order, start, min(start + self._piece, stop, *pauses))
            self._losses.extend(made)
            start += len(made)
            self.step += len(made)
            if self.step == last_sync:
                self.state = self._trainer.after_sync(self.state)
            self._on_progress(self.step)
            if self.status == "running" and self._interrupted():
                self.status = "interrupted"
        if self.status == "running" and self.step == self._trainer.total_steps:
            self.status = "finished"
        if not _all_finite(self.state.params):
            self.status = "diverged"
        return np.array(self._losses, np.float32)

    def checkpoints(self) -> list[Checkpoint]:
        """Where the run is, for each seed; the arrays are donated to the next update."""
        losses = np.array([] if self.epoch_is_over else self._losses, np.float32).reshape(-1, self.seeds)
        seconds = self.train_seconds / self.seeds, self.compile_seconds / self.seeds
        states = self._trainer.members(self.state)
        metrics = [None] * self.seeds if self.epoch_is_over else self.sync_metrics
        return [
            Checkpoint(state, losses[:, number].tolist(), metrics[number], *seconds)
            for number, state in enumerate(states)
        ]

    def _watch(self, first: int, last: int) -> tuple[int | None, int | None]:
        """Of the updates after the first up to the last: the one before the first sync, and the last sync.

        None where there is no sync; the former also if it is a sync itself, or the start: then nothing comes between.
        """
        if not self._trainer.axes or last == first:
            return None, None
        steps = np.arange(first, last + 1, dtype=np.int32)  # with the one before, which may be a sync as well
        is_sync = np.asarray(self._is_sync(steps)) | (steps == 0)
        syncs = steps[1:][is_sync[1:]].tolist()
        if not syncs:
            return None, None
        return None if is_sync[syncs[0] - first - 1] else syncs[0] - 1, syncs[-1]

    def _run_piece(self, order: Any, start: int, stop: int) -> np.ndarray:
        started = time.perf_counter()
        self.state, losses = self._run(self.state, self._trainer.train, order, np.int32(start), np.int32(stop))
        losses = np.asarray(losses)[start:stop]
        seconds = time.perf_counter() - started
        self.train_seconds += seconds
        self._piece = max(1, int((stop - start) * _PIECE_SECONDS / seconds))
        bad = np.flatnonzero(~np.isfinite(losses).reshape(len(losses), -1).all(axis=1))
        if bad.size:
            self.status = "diverged"
            losses = losses[: bad[0]]
        return losses


@jax.jit
def _all_finite(params: Tree) -> jax.Array:
    return jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), params))


@contextlib.contextmanager
def heard_interrupt() -> Iterator[Callable[[], bool]]:
    """Lets the first Ctrl-C or SIGTERM of the block be noted; the second one does what it always does.

    An exception in the middle of a dispatch would lose the state, whose old arrays have been donated.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are heard by the main thread only
        yield noted.is_set
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(*_: Any) -> None:
        noted.set()
        restore()

    for number in previous:
        signal.signal(number, note)
    try:
        yield noted.is_set
    finally:
        restore()
