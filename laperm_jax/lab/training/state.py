"""Training state: the arrays that an update changes, and all that a run resumes from."""

from typing import Any, NamedTuple

import jax

from laperm_jax import LaPermState

Tree = dict[str, Any]
SyncRecord = dict[str, dict[str, float]]  # path of a parameter to the metrics of its sync


class TrainState(NamedTuple):
    """The arrays that an update changes; ``opt_state.count`` is the number of updates made.

    Attributes:
      params: current parameters: the inner optimiser's weights between syncs ("free" weights).
      batch_stats: running means and variances of BatchNorm; empty without it.
      opt_state: state of LaPerm.
      update_key: PRNG key data of dropout and augmentation, uint32 ``(2,)``; the same at every update.
      last_sync: path of each reordered parameter to its value after the sync that diagnostics compare with.
    """

    params: Tree
    batch_stats: Tree
    opt_state: LaPermState
    update_key: jax.Array
    last_sync: dict[str, jax.Array]


class Checkpoint(NamedTuple):
    """Everything that one seed of a run resumes from.

    Attributes:
      state: the state after ``state.opt_state.count`` updates.
      losses: losses since the end of the last epoch; empty at the end of one.
      sync_metrics: what the first sync of the epoch in progress does; None at the end of an epoch.
      train_seconds: seconds spent on updates so far.
      compile_seconds: seconds spent on compilation so far.
    """

    state: TrainState
    losses: list[float]
    sync_metrics: SyncRecord | None
    train_seconds: float
    compile_seconds: float
