"""Checkpoints of a run, written and read with Orbax."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import PreservationPolicy

from laperm_jax.lab.config.scores import selection_score
from laperm_jax.lab.runs import weights
from laperm_jax.lab.runs.run_folder import Facts, Record, differences
from laperm_jax.lab.training.state import Checkpoint, TrainState


class DamagedCheckpointError(Exception):
    """A checkpoint that is not what this run has saved; the message names it."""


class Resumed(NamedTuple):
    """All that a run resumes from.

    Attributes:
      checkpoint: the checkpoint.
      records: metrics of the epochs that had ended.
      best: the epoch among them with the best validation score, and the state at its end.
    """

    checkpoint: Checkpoint
    records: list[Record]
    best: tuple[int, TrainState] | None = None


class Checkpoints:
    """The checkpoints in a folder: the last two, and the best epoch up to each of them.

    Args:
      path: the folder; made if missing.
      facts: what the run is; a checkpoint of another run is not read.
      records: the metrics so far.
    """

    def __init__(self, path: Path, facts: Facts, records: Callable[[], Sequence[Record]]):
        self.path = path
        self._facts, self._records = facts, records
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_LastTwoAndTheirBest(records), cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(path.absolute(), options=options)

    @property
    def steps(self) -> set[int]:
        """Numbers of updates that checkpoints were saved after."""
        return set(self._manager.all_steps())

    def save(self, checkpoint: Checkpoint) -> None:
        """Saves a checkpoint, in the background."""
        state, *progress = checkpoint
        content: dict[str, Any] = dict(zip(Checkpoint._fields[1:], progress, strict=True))
        content |= {"records": list(self._records()), "settings": dict(self._facts)}
        content |= {"sha256": _fingerprint(state, content)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(content))
        self._manager.save(int(state.opt_state.count), args=args)

    def read(self, step: int, template: TrainState) -> Resumed:
        """Reads what the run can resume from.

        Args:
          step: one of :attr:`steps`.
          template: shapes, dtypes and shardings of a state; it is restored to these, whatever its layout was.

        Returns:
          The checkpoint, with the best epoch before it.

        Raises:
          DamagedCheckpointError: if that checkpoint or the best one before it is damaged or missing.
        """
        checkpoint, records = self._read(step, template)
        if not (found := best_record(records)):
            return Resumed(checkpoint, records)
        best = found["step"]
        state = checkpoint.state if best == step else self._read(best, template)[0].state
        return Resumed(checkpoint, records, (found["epoch"], state))

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints of later updates."""
        for later in self.steps:
            if later > step:
                self._manager.delete(later)

    def close(self) -> None:
        """Waits for the last save."""
        self._manager.close()

    def _read(self, step: int, template: TrainState) -> tuple[Checkpoint, list[Record]]:
        restore = lambda **args: self._manager.restore(step, args=ocp.args.Composite(**args))
        try:
            content = dict(restore(progress=ocp.args.JsonRestore())["progress"])
            expected = content.pop("sha256")
            if names := differences(content["settings"], self._facts):
                raise DamagedCheckpointError(f"it is of a run of other settings ({', '.join(names)})")
            state = restore(state=ocp.args.StandardRestore(template))["state"]
            if expected != _fingerprint(state, content):
                raise DamagedCheckpointError("it is not what was saved")
        except Exception as error:  # Orbax and its dependencies raise many types
            problem = str(error).partition("\n")[0][:200]
            raise DamagedCheckpointError(f"the checkpoint {self.path / str(step)} cannot be used: {problem}") from error
        progress = (content[name] for name in Checkpoint._fields[1:])
        return Checkpoint(jax.tree.map(jnp.copy, state), *progress), content["records"]


class _LastTwoAndTheirBest(PreservationPolicy):
    """Keeps the last two checkpoints and, for each, the best epoch before it, which it is read with."""

    def __init__(self, records: Callable[[], Sequence[Record]]):
        self._records = records

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Whether to keep each checkpoint; they come in ascending order."""
        del context
        kept = {checkpoint.step for checkpoint in checkpoints[-2:]}
        for step in tuple(kept):
            if best := best_record([record for record in self._records() if record["step"] <= step]):
                kept.add(best["step"])
        return [checkpoint.step in kept for checkpoint in checkpoints]


def best_record(records: Sequence[Record]) -> Record | None:
    """The record with the best validation score, the latest on ties; None if there are none."""
    return max(records, key=lambda record: (selection_score(record), record["step"]), default=None)


def _fingerprint(state: TrainState, content: Mapping[str, Any]) -> str:
    as_bytes = np.frombuffer(json.dumps(content).encode(), np.uint8)
    return weights.fingerprint(weights.to_numpy(state) | {"content": as_bytes})
