"""The loop of a run: epochs in pieces short enough to show progress and to notice a signal."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from laperm_jax.lab.data.tasks import Task
from laperm_jax.lab.training.diagnostics import Diagnostics, mark_sync
from laperm_jax.lab.training.method import Method
from laperm_jax.lab.training.seeds import Initial, Update, stack_seeds, unstack_seeds
from laperm_jax.lab.training.state import Checkpoint, SyncRecord, TrainState, Tree
from laperm_jax.lab.training.step import make_run, make_shuffle

Status = Literal["running", "finished", "interrupted", "diverged"]

_PIECE_SECONDS = 0.5


class Loop:
    """Runs one seed, or several side by side in one program, from the first update to the last.

    Attributes:
      state: the current state; with several seeds, stacked.
      step: updates made, all with a finite loss.
      seeds: number of seeds.
      sync_metrics: for each seed, what the first sync of the epoch in progress does, measured one update before it;
        None until then, in an epoch without a sync, and with a sync at every update.
      status: ``running`` until the last update is made, a signal is noticed, or a loss or a weight is not finite.
      train_seconds: seconds spent on updates, without compilation and evaluation.
      compile_seconds: seconds spent on compilation.

    Args:
      task: the task.
      method: how the network is trained.
      update: the update of one seed.
      initials: what each seed begins with.
      interrupted: tells whether to stop early.
      on_progress: called with the number of updates made, about every half second.
      checkpoints: for each seed, the checkpoint to resume from, after the same number of updates.
    """

    def __init__(
        self,
        task: Task,
        method: Method,
        update: Update,
        initials: Sequence[Initial],
        interrupted: Callable[[], bool] = lambda: False,
        on_progress: Callable[[int], None] = lambda step: None,
        checkpoints: Sequence[Checkpoint] | None = None,
    ):
        self._method, self._data = method, task.train
        self._interrupted, self._on_progress = interrupted, on_progress
        self._diagnostics = Diagnostics(method.axes, method.sync_schedule)
        shuffle = make_shuffle(task, method.steps_per_epoch, method.batch_size)
        self._shuffle = lambda epoch: shuffle([initial.order_key for initial in initials], epoch)
        self._piece = 1
        self.seeds = len(initials)
        self.train_seconds = self.compile_seconds = 0.0
        self.sync_metrics: list[SyncRecord | None] = [None] * self.seeds
        self._losses: list[Any] = []  # of the epoch in progress
        if checkpoints:
            self.state = self._restore(checkpoints)
        else:
            self.state = stack_seeds([method.init_state(initial) for initial in initials])
        self.step = int(self.state.opt_state.count)
        self.status: Status = "finished" if self.step == method.total_steps else "running"
        started, zero = time.perf_counter(), np.int32(0)
        run = make_run(update, self.seeds)
        self._run = run.lower(self.state, self._data, self._shuffle(0), zero, zero).compile()
        self.compile_seconds += time.perf_counter() - started

    @property
    def diverged(self) -> bool:
        """Whether a loss or a weight was not finite."""
        return self.status == "diverged"

    @property
    def epoch_is_over(self) -> bool:
        """Whether the next update, if there is one, is the first of an epoch."""
        return self.step % self._method.steps_per_epoch == 0 or self.step == self._method.total_steps

    def run_epoch(self) -> np.ndarray:
        """Makes the updates of the next epoch, or the rest of an epoch that was interrupted.

        Returns:
          The losses of the epoch so far, float32 ``(updates, seeds)``. If the status is ``diverged`` afterwards, a
          weight after update number ``step`` or a loss of the next update was not finite, and the state is of no use.
        """
        steps_per_epoch, total_steps = self._method.steps_per_epoch, self._method.total_steps
        epoch, start = divmod(self.step, steps_per_epoch)
        stop = min(steps_per_epoch, total_steps - epoch * steps_per_epoch)
        order = self._shuffle(epoch)
        if not start:
            self._losses = []
            self.sync_metrics = [None] * self.seeds
        watched, last_sync = self._diagnostics.steps_to_watch(self.step - start, self.step - start + stop)
        while start < stop and self.status == "running":
            if self.step == watched:
                self.sync_metrics = [self._diagnostics.measure(state) for state in self.states()]
            pauses = [start + step - self.step for step in (watched, last_sync) if step and step > self.step]
            made = self._run_piece(order, start, min(start + self._piece, stop, *pauses))
            self._losses.extend(made)
            start += len(made)
            self.step += len(made)
            if self.step == last_sync:
                self.state = mark_sync(self.state, self._method.axes)
            self._on_progress(self.step)
            if self.status == "running" and self._interrupted():
                self.status = "interrupted"
        if self.status == "running" and self.step == total_steps:
            self.status = "finished"
        if not _all_finite(self.state.params):
            self.status = "diverged"
        return np.array(self._losses, np.float32).reshape(-1, self.seeds)

    def states(self) -> list[TrainState]:
        """The state of each seed; the arrays are donated to the next update."""
        return unstack_seeds(self.state, self.seeds)

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoint of each seed; the arrays are donated to the next update."""
        losses = np.array([] if self.epoch_is_over else self._losses, np.float32).reshape(-1, self.seeds)
        metrics = [None] * self.seeds if self.epoch_is_over else self.sync_metrics
        seconds = self.train_seconds / self.seeds, self.compile_seconds / self.seeds
        return [
            Checkpoint(state, losses[:, seed].tolist(), metrics[seed], *seconds)
            for seed, state in enumerate(self.states())
        ]

    def _restore(self, checkpoints: Sequence[Checkpoint]) -> TrainState:
        self.sync_metrics = [checkpoint.sync_metrics for checkpoint in checkpoints]
        self.train_seconds = sum(checkpoint.train_seconds for checkpoint in checkpoints)
        self.compile_seconds = sum(checkpoint.compile_seconds for checkpoint in checkpoints)
        columns = np.array([checkpoint.losses for checkpoint in checkpoints], np.float32)
        self._losses = list(columns[0] if self.seeds == 1 else columns.T)
        return stack_seeds([checkpoint.state for checkpoint in checkpoints])

    def _run_piece(self, order: Any, start: int, stop: int) -> np.ndarray:
        """Makes updates of the epoch; returns their losses up to the first that is not finite."""
        started = time.perf_counter()
        self.state, losses = self._run(self.state, self._data, order, np.int32(start), np.int32(stop))
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
