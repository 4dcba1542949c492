"""The loop of a run: epochs in pieces short enough to show progress and to hear Ctrl-C."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from laperm_jax.lab.training import SideBySide, Trainer

Status = Literal["running", "finished", "interrupted", "diverged"]

_PIECE_SECONDS = 0.5


class Loop:
    """Runs a trainer from its first update to its last.

    Attributes:
      state: the current state.
      step: updates made, all of a finite loss.
      seeds: number of seeds side by side.
      status: ``running`` until the last update is made, an interrupt is heard, or a loss is not finite.
      train_seconds: time spent on updates; compilation and evaluation are not counted.
      compile_seconds: time spent to compile them.

    Args:
      trainer: what to run.
      interrupted: tells whether to stop early.
      on_progress: called with the number of updates made, every half second or so.
    """

    def __init__(
        self, trainer: Trainer | SideBySide, interrupted: Callable[[], bool], on_progress: Callable[[int], None]
    ):
        self._trainer = trainer
        self._interrupted = interrupted
        self._on_progress = on_progress
        self._piece = 1
        self.state = trainer.init_state()
        self.step = 0
        self.seeds = len(trainer.members(self.state))
        self.status: Status = "running"
        self.train_seconds = 0.0
        started, zero = time.perf_counter(), np.int32(0)
        self._run = trainer.run.lower(self.state, trainer.train, trainer.shuffle(zero), zero, zero).compile()
        self.compile_seconds = time.perf_counter() - started

    @property
    def diverged(self) -> bool:
        """Whether a loss was not finite."""
        return self.status == "diverged"

    def run_epoch(self) -> np.ndarray:
        """Makes the updates of the next epoch, or what is left of it.

        Returns:
          Their losses, float32 ``(updates made,)``, of seeds side by side ``(updates made, seeds)``. If the status is
          ``diverged`` afterwards, a loss of update number ``step + 1`` was not finite, and the state is of no use.
        """
        epoch, start = divmod(self.step, self._trainer.steps_per_epoch)
        stop = min(self._trainer.steps_per_epoch, self._trainer.total_steps - epoch * self._trainer.steps_per_epoch)
        order = self._trainer.shuffle(np.int32(epoch))
        losses: list[float] = []
        while start < stop and self.status == "running":
            made = self._run_piece(order, start, min(start + self._piece, stop))
            losses.extend(made)
            start += len(made)
            self.step += len(made)
            self._on_progress(self.step)
            if self.status == "running" and self._interrupted():
                self.status = "interrupted"
        if self.status == "running" and self.step == self._trainer.total_steps:
            self.status = "finished"
        return np.array(losses, np.float32)

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


@contextlib.contextmanager
def heard_interrupt() -> Iterator[Callable[[], bool]]:
    """Lets the first Ctrl-C of the block be noted instead of raised; the second one is raised.

    An exception in the middle of a dispatch would lose the state, whose old arrays have been donated.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are heard by the main thread only
        yield noted.is_set
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(*_: Any) -> None:
        noted.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, previous)
