"""Writes a run to its folder."""

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from laperm_jax.lab.config import ConfigError, OutputError
from laperm_jax.lab.runs import plots, run_folder, weights
from laperm_jax.lab.runs.checkpoints import Checkpoints, Resumed
from laperm_jax.lab.runs.journal import Journal
from laperm_jax.lab.runs.lock import locked
from laperm_jax.lab.runs.run_folder import Facts, Record, Summary, check_folder
from laperm_jax.lab.runs.weights import Weights
from laperm_jax.lab.training.state import Checkpoint, TrainState
from laperm_jax.sync._vectors import Axes


class RunWriter:
    """Writes a run to a folder while it goes, and reads back what it resumes from. A context manager.

    The folder is locked until the context ends. Methods that write raise
    :class:`~laperm_jax.lab.config.OutputError` if the disk is full or the like.

    Args:
      path: the folder; made if missing.
      facts: what the run is (:func:`~laperm_jax.lab.runs.run_folder.facts_of`).
      resume: whether the folder may hold this run already.

    Raises:
      ConfigError: if the folder holds anything else, is in use by another process, or cannot be written.
    """

    def __init__(self, path: Path, facts: Facts, resume: bool = False):
        self.path, self._facts = path, facts
        check_folder(path, facts, resume)
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(path))
            check_folder(path, facts, resume)  # another process may have written to it in between
            try:
                run_folder.write_json(path / run_folder.CONFIG, facts)
                (path / run_folder.METRICS).touch()
            except OSError as error:
                raise ConfigError(f"--out {path} cannot be written: {error.strerror}") from None
            self._journal = Journal(path)
            self._checkpoints = Checkpoints(path / run_folder.CHECKPOINTS, facts, lambda: self._journal.records)
            self._lock = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with (
            self._lock,
            contextlib.suppress(OutputError) if error else contextlib.nullcontext(),
            self._output_errors(),
        ):
            self._checkpoints.close()
            self._journal.close()

    @property
    def steps(self) -> set[int]:
        """Numbers of updates that checkpoints were saved after."""
        return self._checkpoints.steps

    def read(self, step: int, template: TrainState) -> Resumed:
        """Reads what the run can resume from; see :meth:`~laperm_jax.lab.runs.checkpoints.Checkpoints.read`."""
        return self._checkpoints.read(step, template)

    def begin(self, resumed: Resumed | None = None) -> None:
        """Opens the files, and drops what they hold of later updates than the run resumes from."""
        step = int(resumed.checkpoint.state.opt_state.count) if resumed else 0
        with self._output_errors():
            self._checkpoints.delete_after(step)
            self._journal.begin(resumed.records if resumed else [], step)

    def add_epoch(self, record: Record) -> None:
        """Adds the metrics of an epoch."""
        with self._output_errors():
            self._journal.add(record)

    def save(self, checkpoint: Checkpoint) -> None:
        """Saves a checkpoint. The last two are kept, and the best epoch before each of them."""
        with self._output_errors():
            self._checkpoints.save(checkpoint)

    def finish(self, summary: Summary, initial: Weights, final: Weights, axes: Mapping[str, Axes]) -> None:
        """Writes the weights, the pictures and the summary.

        Args:
          summary: content of ``summary.json``.
          initial: parameters before training.
          final: reconnected parameters after training, and the BatchNorm statistics they were evaluated with.
          axes: path of each reordered parameter to the axes of one weight vector.
        """
        records = self._journal.records
        with self._output_errors():
            weights.save(self.path / run_folder.WEIGHTS, final)
            if records:
                title = f"{summary['model']} on {summary['dataset']}, sync period {summary['sync_period']}"
                period = self._facts["sync_period"] if self._facts["sync_schedule"] == "constant" else None
                plots.curves(self.path / run_folder.CURVES, records, title, summary["best_epoch"], period)
            if axes:
                plots.profiles(self.path / run_folder.PROFILES, initial, final, axes)
            run_folder.write_json(self.path / run_folder.SUMMARY, summary)

    @contextlib.contextmanager
    def _output_errors(self) -> Generator[None]:
        """Turns an error of the block, or of the save before it, into one sentence."""
        try:
            yield
        except Exception as error:  # Orbax and its dependencies raise many types
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            reason = reason.partition("\n")[0][:200]
            kept = "what was saved before is kept, and --resume resumes from there"
            raise OutputError(f"--out {self.path} cannot be written: {reason}; {kept}") from error
