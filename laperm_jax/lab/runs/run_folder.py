"""The files of a run: settings, metrics, TensorBoard events, checkpoints, weights, pictures and summary."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import PreservationPolicy
from tensorboardX import SummaryWriter

from laperm_jax.sync._vectors import Axes
from laperm_jax.lab.runs import plots, weights
from laperm_jax.lab.config import ConfigError, OutputError, TrainConfig, from_settings, settings
from laperm_jax.lab.training.loop import Checkpoint
from laperm_jax.lab.config.scores import selection_score
from laperm_jax.lab.training.trainer import TrainState
from laperm_jax.lab.runs.weights import Weights

CONFIG, METRICS, SUMMARY, WEIGHTS = "config.json", "metrics.jsonl", "summary.json", weights.FILE
CURVES, PROFILES, EVENTS, CHECKPOINTS = "curves.png", "profiles.png", "events", "checkpoints"


Record = Mapping[str, Any]  # a line of the metrics


class DamagedCheckpointError(Exception):
    """A checkpoint that is not what this run has saved; the message names it."""


class Resumed(NamedTuple):
    """What a run goes on from.

    Attributes:
      checkpoint: where it was.
      records: metrics of the epochs that had come to their end.
      best: the epoch among them that scored best on the validation examples, and the state at its end.
    """

    checkpoint: Checkpoint
    records: list[Record]
    best: tuple[int, TrainState] | None = None


class _LastTwoAndTheirBest(PreservationPolicy):
    """Keeps the last two checkpoints, and what each is read with: that of the best epoch up to it, by the metrics."""

    def __init__(self, records: Callable[[], Sequence[Record]]):
        self._records = records

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Whether to keep each checkpoint; they come in ascending order."""
        del context
        kept = {checkpoint.step for checkpoint in checkpoints[-2:]}
        for step in tuple(kept):
            kept |= {best["step"] for best in _best([record for record in self._records() if record["step"] <= step])}
        return [checkpoint.step in kept for checkpoint in checkpoints]


class RunFolder:
    """Writes a run to a folder as it goes, and reads back where it was stopped; leave its context to close the files.

    What writes raises :class:`~laperm_jax.lab.config.OutputError` where the disk is full or the like.

    Args:
      path: the folder; made if missing.
      config: the settings of the run.
      resume: whether to go on with the run in the folder.

    Raises:
      ConfigError: if the folder holds anything but a run of these settings that is to be resumed, or cannot be written.
    """

    def __init__(self, path: Path, config: TrainConfig, resume: bool = False):
        self.path = path
        self._config = config
        self._records: list[Record] = []
        check_folder(path, config, resume)
        try:
            path.mkdir(parents=True, exist_ok=True)
            _write_json(path / CONFIG, _settings(config))
            (path / METRICS).touch()
        except OSError as error:
            raise ConfigError(f"--out {path} cannot be written: {error.strerror}") from None
        keep = _LastTwoAndTheirBest(lambda: self._records)
        self._checkpoints = ocp.CheckpointManager(
            (path / CHECKPOINTS).absolute(),
            options=ocp.CheckpointManagerOptions(preservation_policy=keep, cleanup_tmp_directories=True),
        )
        self._events: SummaryWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OutputError) if error else contextlib.nullcontext(), self._writing():
            self._checkpoints.close()  # waits for the last save
            if self._events:
                self._events.close()

    @property
    def steps(self) -> set[int]:
        """Numbers of updates after which there are checkpoints."""
        return set(self._checkpoints.all_steps())

    def read(self, step: int, template: TrainState) -> Resumed:
        """Reads what the run can go on from after so many updates.

        Args:
          step: one of :attr:`steps`.
          template: shapes, dtypes and shardings of a state; it is restored to these, however it was laid out.

        Raises:
          DamagedCheckpointError: if that checkpoint or the best one before it is damaged or missing.
        """
        checkpoint, records = self._read(step, template)
        state = lambda best: checkpoint.state if best == step else self._read(best, template)[0].state
        return Resumed(checkpoint, records, *[(record["epoch"], state(record["step"])) for record in _best(records)])

    def begin(self, resumed: Resumed | None = None) -> None:
        """Opens the files, and forgets what they hold of updates that were made later."""
        step = int(resumed.checkpoint.state.opt_state.count) if resumed else 0
        self._records = list(resumed.records) if resumed else []
        with self._writing():
            for later in self.steps:
                if later > step:
                    self._checkpoints.delete(later)
            write(self.path / METRICS, "".join(json.dumps(record) + "\n" for record in self._records).encode())
            self._events = SummaryWriter(str(self.path / EVENTS), purge_step=step + 1)

    def add_epoch(self, record: Record) -> None:
        """Adds a line to the metrics and to the events."""
        assert self._events, "begin() opens the files"
        self._records.append(record)
        with self._writing():
            with (self.path / METRICS).open("a") as metrics:
                metrics.write(json.dumps(record) + "\n")
            for name, value in _scalars(record):
                self._events.add_scalar(name, value, record["step"])
            self._events.flush()

    def save(self, checkpoint: Checkpoint) -> None:
        """Saves where the run is. The last two checkpoints are kept, and for each the best epoch before it."""
        state, *progress = checkpoint
        content: dict[str, Any] = dict(zip(Checkpoint._fields[1:], progress, strict=True))
        content |= {"records": list(self._records)}
        content |= {"settings": _settings(self._config)}
        content |= {"sha256": _fingerprint(state, content)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(content))
        with self._writing():
            self._checkpoints.save(int(state.opt_state.count), args=args)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns what goes wrong in the block, or went wrong in the save before it, into one sentence."""
        try:
            yield
        except Exception as error:  # Orbax and what it stands on have many
            reason = error.strerror if isinstance(error, OSError) and error.strerror else _first_line(error)
            left = "what was saved before is kept, and --resume goes on from there"
            raise OutputError(f"--out {self.path} cannot be written: {reason}; {left}") from error

    def _read(self, step: int, template: TrainState) -> tuple[Checkpoint, list[Record]]:
        where = self.path / CHECKPOINTS / str(step)
        restore = lambda **args: self._checkpoints.restore(step, args=ocp.args.Composite(**args))
        try:
            content = dict(restore(progress=ocp.args.JsonRestore())["progress"])
            fingerprint = content.pop("sha256")
            if names := _differing(content["settings"], self._config):
                raise DamagedCheckpointError(f"it is of a run of other settings ({', '.join(names)})")
            state = restore(state=ocp.args.StandardRestore(template))["state"]
            if fingerprint != _fingerprint(state, content):
                raise DamagedCheckpointError("it is not what was saved")
        except Exception as error:  # Orbax and what it stands on have many
            raise DamagedCheckpointError(f"the checkpoint {where} cannot be used: {_first_line(error)}") from error
        progress = (content[name] for name in Checkpoint._fields[1:])
        return Checkpoint(jax.tree.map(jnp.copy, state), *progress), content["records"]

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
        with self._writing():
            weights.save(self.path / WEIGHTS, final)
            if self._records:
                title = f"{summary['model']} on {summary['dataset']}, sync period {summary['sync_period']}"
                period = self._config.sync.sync_period if self._config.sync.sync_schedule == "constant" else None
                plots.curves(self.path / CURVES, self._records, title, summary["best_epoch"], period)
            if axes:
                plots.profiles(self.path / PROFILES, initial, final, axes)
            _write_json(self.path / SUMMARY, summary)


def check_folder(path: Path, config: TrainConfig, resume: bool = False) -> None:
    """Raises ConfigError if there is anything at ``path`` but an empty folder, or the run that is to be resumed."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {path} is a file; name a folder")
    if not path.is_dir() or {file.name for file in path.iterdir()} <= {_temporary(path / CONFIG).name}:
        return
    if not (path / CONFIG).exists():
        raise ConfigError(f"--out {path} already holds other files; name a new folder")
    if not resume:
        raise ConfigError(f"--out {path} already holds a run; name a new folder, or go on with it by --resume")
    if names := differing_settings(path, config):
        raise ConfigError(
            f"{path} holds a run of other settings ({', '.join(names)}); give it the same, or name a new folder"
        )


def read_config(path: Path) -> TrainConfig:
    """The settings of the run in a folder.

    Raises:
      ConfigError: if it holds none, or none that can be read.
    """
    if not (path / CONFIG).is_file():
        raise ConfigError(f"{path} holds no run: name a folder that `laperm train --out` has written")
    try:
        return from_settings(_read_json(path / CONFIG))
    except ConfigError as error:
        raise ConfigError(f"{path / CONFIG} is not what a run writes ({error})") from error


def read_weights(path: Path) -> Weights:
    """The final weights of the run in a folder.

    Raises:
      ConfigError: if it has not come to its end, or its file cannot be read.
    """
    if not (path / WEIGHTS).is_file():
        raise ConfigError(f"{path} holds no {WEIGHTS}: the run has not come to its end; go on with it by --resume")
    return weights.load(path / WEIGHTS)


def differing_settings(path: Path, config: TrainConfig) -> list[str]:
    """Names of the settings that the run in a folder does not share; those newer than the run had their defaults."""
    return _differing(_read_json(path / CONFIG), config)


def read_summary(path: Path) -> dict[str, Any] | None:
    """The summary of the run in a folder, if it has come to its end: it is finished, or has diverged."""
    if not (path / SUMMARY).exists():
        return None
    summary = _read_json(path / SUMMARY)
    return None if summary.get("status") == "interrupted" else summary


def _differing(stored: dict[str, Any], config: TrainConfig) -> list[str]:
    theirs = settings(from_settings(stored))
    return [name for name, value in _settings(config).items() if theirs[name] != value]


def _settings(config: TrainConfig) -> dict[str, Any]:
    return {name: value for name, value in settings(config).items() if name != "start"}


def _fingerprint(state: TrainState, content: Mapping[str, Any]) -> str:
    return weights.sha256(weights.to_numpy(state) | {"content": np.frombuffer(json.dumps(content).encode(), np.uint8)})


def _scalars(record: Record) -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if name != "first_sync":
            yield name, value
    for path, metrics in (record["first_sync"] or {}).items():
        for name, value in metrics.items():
            yield f"{name}/{path}", value


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _best(records: list[Record]) -> list[Record]:
    """The one that is chosen, of equal ones the later; none of none."""
    return sorted(records, key=lambda record: (selection_score(record), record["step"]))[-1:]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {_first_line(error)}; remove its folder to begin again") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not what a run writes; remove its folder to begin again")
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write(path, (json.dumps(content, indent=2) + "\n").encode())


def write(path: Path, content: bytes) -> None:
    """Writes a file: all of it or nothing, whenever it is killed."""
    _temporary(path).write_bytes(content)
    _temporary(path).replace(path)


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".tmp")
