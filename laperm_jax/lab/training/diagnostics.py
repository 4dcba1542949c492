"""Metrics of the first sync of each epoch, relative to the sync before it."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from laperm_jax import norm_reset, sort_vectors
from laperm_jax._paths import leaves_by_path
from laperm_jax._schedules import SyncSchedule
from laperm_jax.analysis._sync_metrics import SyncMetrics, sync_metrics
from laperm_jax.lab.training.state import SyncRecord, TrainState, Tree
from laperm_jax.sync._vectors import Axes


def mark_sync(state: TrainState, axes: Mapping[str, Axes]) -> TrainState:
    """Keeps the reordered parameters, which a sync has just placed, for the next comparison."""
    leaves = leaves_by_path(state.params)
    return state._replace(last_sync={path: jnp.copy(leaves[path]) for path in axes})


def initial_gain(params: Tree, axes: Mapping[str, Axes]) -> float:
    """The factor by which kernels scale signals on their way through ReLU layers; 1 with He's initialization.

    Args:
      params: initial parameters.
      axes: path of each kernel to the axes of one weight vector.

    Returns:
      The product over all kernels of ``rms * sqrt(fan_in / 2)``; 1 if the network has normalization layers, which set
      the scale of signals themselves.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax.lab.training.diagnostics import initial_gain
      >>> kernels = {"a": {"kernel": jnp.full((8, 4), 0.05)}, "b": {"kernel": jnp.full((8, 2), 0.05)}}
      >>> round(initial_gain(kernels, {"a/kernel": (0,), "b/kernel": (0,)}), 3)  # (0.05 / 0.5)^2
      0.01
    """
    leaves = leaves_by_path(params)
    if norm_reset(params):
        return 1.0
    fan_in = {path: math.prod(leaves[path].shape[axis] for axis in of_leaf) for path, of_leaf in axes.items()}
    squares = {path: np.square(np.asarray(leaves[path], np.float64)).mean() for path in axes}  # nothing to compile
    return math.prod(float(squares[path] * fan_in[path] / 2) ** 0.5 for path in axes)


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
