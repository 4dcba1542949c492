"""Metrics of the first sync of each epoch, relative to the sync before it."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from laperm_jax import sort_vectors
from laperm_jax._paths import leaves_by_path
from laperm_jax._schedules import SyncSchedule
from laperm_jax.analysis._sync_metrics import SyncMetrics, sync_metrics
from laperm_jax.lab.training.state import SyncRecord, TrainState
from laperm_jax.sync._vectors import Axes


def mark_sync(state: TrainState, axes: Mapping[str, Axes]) -> TrainState:
    """Keeps the reordered parameters, which a sync has just placed, for the next comparison."""
    leaves = leaves_by_path(state.params)
    return state._replace(last_sync={path: jnp.copy(leaves[path]) for path in axes})


class Diagnostics:
    """Measures syncs of a run.

    Args:
      axes: path of each reordered parameter to the axes of one weight vector.
      sync_schedule: whether an update, counted from 1, is a sync.
    """

    def __init__(self, axes: Mapping[str, Axes], sync_schedule: SyncSchedule):
        self.axes = axes
        self._is_sync = jax.jit(jax.vmap(sync_schedule))
        self._compare = jax.jit(self._compare_with_last_sync)

    def measure(self, state: TrainState) -> SyncRecord:
        """Metrics of a sync of these parameters."""
        metrics = jax.device_get(self._compare(state))
        return {path: {name: float(x) for name, x in of_leaf._asdict().items()} for path, of_leaf in metrics.items()}

    def steps_to_watch(self, first: int, last: int) -> tuple[int | None, int | None]:
        """Finds where to measure among the updates ``first + 1`` to ``last``.

        Returns:
          The update before the first sync, and the last sync. Both are None without a sync. The former is None as well
          if it is a sync itself or the start of the run: then there is nothing between two syncs to measure.
        """
        if not self.axes or last == first:
            return None, None
        steps = np.arange(first, last + 1, dtype=np.int32)  # with the update before, which may be a sync as well
        is_sync = np.asarray(self._is_sync(steps)) | (steps == 0)
        syncs = steps[1:][is_sync[1:]].tolist()
        if not syncs:
            return None, None
        return None if is_sync[syncs[0] - first - 1] else syncs[0] - 1, syncs[-1]

    def _compare_with_last_sync(self, state: TrainState) -> dict[str, SyncMetrics]:
        params, kept = leaves_by_path(state.params), leaves_by_path(state.opt_state.sorted_init)
        # With redraw no sorted values are kept; the last sync has the same values in another order.
        values = {
            path: kept[path] if path in kept else sort_vectors(state.last_sync[path], axes)
            for path, axes in self.axes.items()
        }
        residual = leaves_by_path(state.opt_state.residual)
        return {
            path: sync_metrics(state.last_sync[path], params[path], values[path], axes, residual=residual.get(path))
            for path, axes in self.axes.items()
        }
