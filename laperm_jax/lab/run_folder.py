"""The files of a run: settings, metrics, TensorBoard events, checkpoints, weights, pictures and summary."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN
from tensorboardX import SummaryWriter

from laperm_jax._vectors import Axes
from laperm_jax.lab import plots, weights
from laperm_jax.lab.config import ConfigError, TrainConfig, as_json
from laperm_jax.lab.loop import Checkpoint
from laperm_jax.lab.training import TrainState
from laperm_jax.lab.weights import Weights

CONFIG, METRICS, SUMMARY, WEIGHTS = "config.json", "metrics.jsonl", "summary.json", "weights.safetensors"
CURVES, PROFILES, EVENTS, CHECKPOINTS = "curves.png", "profiles.png", "events", "checkpoints"


Record = Mapping[str, Any]  # a line of the metrics

_MAY_DIFFER = ("out", "data_dir", "resume")  # settings that do not change what a run computes


class RunFolder:
    """Writes a run to a folder as it goes, and reads back where it was stopped; leave its context to close the files.

    Args:
      path: the folder; made if missing.
      config: the settings of the run.

    Raises:
      ConfigError: if the folder holds anything but a run of these settings that is to be resumed, or cannot be written.
    """

    def __init__(self, path: Path, config: TrainConfig):
        self.path = path
        self._records: list[Record] = []
        check_folder(path, config)
        try:
            path.mkdir(parents=True, exist_ok=True)
            _write_json(path / CONFIG, as_json(config))
            (path / METRICS).touch()
        except OSError as error:
            raise ConfigError(f"--out {path} cannot be written: {error.strerror}") from None
        accuracy = BestN(
            get_metric_fn=lambda metrics: metrics["val_accuracy"], n=1, keep_checkpoints_without_metrics=False
        )
        keep = AnyPreservationPolicy([LatestN(2), accuracy])
        self._checkpoints = ocp.CheckpointManager(
            (path / CHECKPOINTS).absolute(),
            options=ocp.CheckpointManagerOptions(preservation_policy=keep, cleanup_tmp_directories=True),
        )
        self._events: SummaryWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._checkpoints.close()  # waits for the last save
        if self._events:
            self._events.close()

    def resumable_steps(self) -> set[int]:
        """Numbers of updates after which the run can go on: that checkpoint is there, and the best one before it."""
        steps = set(self._checkpoints.all_steps())
        return {
            step for step in steps if {record["step"] for record in _best(self._progress(step)["records"])} <= steps
        }

    def begin(self, step: int | None, template: TrainState) -> tuple[Checkpoint, tuple[int, TrainState] | None] | None:
        """Opens the files, forgets what they hold of later updates, and reads what the run goes on from.

        Args:
          step: one of :meth:`resumable_steps`, or None to begin at the beginning.
          template: shapes and dtypes of a state.

        Returns:
          The checkpoint, and the best epoch before it (as counted from 1) with its state, if one came to its end; None
          at the beginning.
        """
        for later in self._checkpoints.all_steps():
            if step is None or later > step:
                self._checkpoints.delete(later)
        progress = self._progress(step) if step is not None else {"records": []}
        self._records = progress.pop("records")
        _write(self.path / METRICS, "".join(json.dumps(record) + "\n" for record in self._records))
        self._events = SummaryWriter(str(self.path / EVENTS), purge_step=(step or 0) + 1)
        if step is None:
            return None
        bests = [(record["epoch"], self._state(record["step"], template)) for record in _best(self._records)]
        return Checkpoint(self._state(step, template), **progress), bests[0] if bests else None

    def add_epoch(self, record: Record) -> None:
        """Adds a line to the metrics and to the events."""
        assert self._events, "begin() opens the files"
        self._records.append(record)
        with (self.path / METRICS).open("a") as metrics:
            metrics.write(json.dumps(record) + "\n")
        for name, value in record.items():
            self._events.add_scalar(name, value, record["step"])
        self._events.flush()

    def save(self, checkpoint: Checkpoint, val_accuracy: float | None = None) -> None:
        """Saves where the run is. The last two checkpoints are kept, and of those with an accuracy the best."""
        state, *progress = checkpoint
        content = dict(zip(Checkpoint._fields[1:], progress, strict=True)) | {"records": self._records}
        self._checkpoints.save(
            int(state.opt_state.count),
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(content)),
            metrics=None if val_accuracy is None else {"val_accuracy": val_accuracy},
        )

    def _progress(self, step: int) -> dict[str, Any]:
        restored = self._checkpoints.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore()))
        return dict(restored["progress"])

    def _state(self, step: int, template: TrainState) -> TrainState:
        args = ocp.args.Composite(state=ocp.args.StandardRestore(template))
        return jax.tree.map(jax.numpy.copy, self._checkpoints.restore(step, args=args)["state"])

    def finish(
        self,
        summary: Mapping[str, Any],
        initial: Weights,
        free: Weights,
        final: Weights,
        axes: Mapping[str, Axes],
    ) -> None:
        """Writes the weights, the pictures and the summary.

        Args:
          summary: what ``summary.json`` holds.
          initial: parameters before training.
          free: parameters after training, as the inner optimiser left them.
          final: reconnected parameters after training, and the BatchNorm statistics they were evaluated with.
          axes: path of each parameter that is reordered, to the axes of one vector.
        """
        weights.save(self.path / WEIGHTS, final)
        if self._records:
            title = f"{summary['model']} on {summary['dataset']}, sync period {summary['sync_period']}"
            plots.curves(self.path / CURVES, self._records, title)
        if axes:
            plots.profiles(self.path / PROFILES, initial, free, final, axes)
        _write_json(self.path / SUMMARY, summary)


def check_folder(path: Path, config: TrainConfig) -> None:
    """Raises ConfigError if there is anything at ``path`` but an empty folder, or the run that is to be resumed."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {path} is a file; name a folder")
    if not path.is_dir() or {file.name for file in path.iterdir()} <= {_temporary(path / CONFIG).name}:
        return
    if not (path / CONFIG).exists():
        raise ConfigError(f"--out {path} already holds other files; name a new folder")
    if not config.resume:
        raise ConfigError(f"--out {path} already holds a run; name a new folder, or go on with it by --resume")
    if names := differing_settings(path, config):
        raise ConfigError(
            f"{path} holds a run of other settings ({', '.join(names)}); give it the same, or name a new folder"
        )


def differing_settings(path: Path, config: TrainConfig) -> list[str]:
    """Names of the settings that the run in a folder does not share; those newer than the run had their defaults."""
    stored = as_json(TrainConfig()) | json.loads((path / CONFIG).read_text())
    return [name for name, value in as_json(config).items() if name not in _MAY_DIFFER and stored[name] != value]


def read_summary(path: Path) -> dict[str, Any] | None:
    """The summary of the run in a folder, if it has come to its end: it is finished, or has diverged."""
    if not (path / SUMMARY).exists():
        return None
    summary = json.loads((path / SUMMARY).read_text())
    return None if summary["status"] == "interrupted" else summary


def _best(records: list[Record]) -> list[Record]:
    """The one that is chosen, of equal ones the later; none of none."""
    return sorted(records, key=lambda record: (record["val_accuracy"], record["step"]))[-1:]


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    _write(path, json.dumps(content, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    """All or nothing, whenever it is killed."""
    _temporary(path).write_text(text)
    _temporary(path).replace(path)


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".tmp")
