"""The files of a run: settings, metrics, TensorBoard events, checkpoints, weights, pictures and summary."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN
from tensorboardX import SummaryWriter

from laperm_jax._vectors import Axes
from laperm_jax.lab import plots, weights
from laperm_jax.lab.config import ConfigError, TrainConfig, as_json
from laperm_jax.lab.training import TrainState
from laperm_jax.lab.weights import Weights

CONFIG, METRICS, SUMMARY, WEIGHTS = "config.json", "metrics.jsonl", "summary.json", "weights.safetensors"
CURVES, PROFILES, EVENTS, CHECKPOINTS = "curves.png", "profiles.png", "events", "checkpoints"


class RunFolder:
    """Writes a run to a folder as it goes; leave its context to close the files.

    Args:
      path: the folder; made if missing.
      config: the settings of the run.

    Raises:
      ConfigError: if the folder holds anything already, or cannot be written.
    """

    def __init__(self, path: Path, config: TrainConfig):
        self.path = path
        self._records: list[Mapping[str, Any]] = []
        check_new(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            _write_json(path / CONFIG, as_json(config))
            self._metrics = (path / METRICS).open("w")
        except OSError as error:
            raise ConfigError(f"--out {path} cannot be written: {error.strerror}") from None
        self._events = SummaryWriter(str(path / EVENTS))
        keep = AnyPreservationPolicy([LatestN(1), BestN(get_metric_fn=lambda metrics: metrics["val_accuracy"], n=1)])
        self._checkpoints = ocp.CheckpointManager(
            (path / CHECKPOINTS).absolute(), options=ocp.CheckpointManagerOptions(preservation_policy=keep)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._checkpoints.close()  # waits for the last save
        self._events.close()
        self._metrics.close()

    def add_epoch(self, record: Mapping[str, Any], state: TrainState) -> None:
        """Adds a line to the metrics and to the events, and a checkpoint: the last is kept, and the best."""
        self._records.append(record)
        self._metrics.write(json.dumps(record) + "\n")
        self._metrics.flush()
        for name, value in record.items():
            self._events.add_scalar(name, value, record["step"])
        self._events.flush()
        metrics = {"val_accuracy": record["val_accuracy"]}
        self._checkpoints.save(record["step"], args=ocp.args.StandardSave(state), metrics=metrics)

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


def check_new(path: Path) -> None:
    """Raises ConfigError if there is anything at ``path`` but an empty folder."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {path} is a file; name a folder")
    if path.is_dir() and any(path.iterdir()):
        raise ConfigError(f"--out {path} already holds a run or other files; name a new folder")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
