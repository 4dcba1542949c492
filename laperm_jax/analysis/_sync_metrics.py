"""Metrics of a sync: how many weights moved, how far, and how many could not have moved."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from laperm_jax.sync._reconnect import add_residual, reconnect
from laperm_jax.sync._vectors import Axes, as_columns, canonical_axes


class SyncMetrics(NamedTuple):
    """Metrics of one sync of one parameter: float32 scalars, NaN if no vector is finite.

    Attributes:
      moved: share of the positions that got another value.
      rank_distance: mean number of ranks by which the value of a position changed, as a share of the fan-in.
      free_distance: norm of the change that the sync makes to the current weights, over the norm of these.
      stuck: share of the positions whose value could not have changed: neither their weight nor any other of its vector
        is far enough from where the last sync put it to meet one that had the next smaller or larger value.
    """

    moved: jax.Array
    rank_distance: jax.Array
    free_distance: jax.Array
    stuck: jax.Array


def sync_metrics(
    previous: jax.typing.ArrayLike,
    current: jax.typing.ArrayLike,
    sorted_init: jax.typing.ArrayLike,
    axes: Axes,
    residual: jax.typing.ArrayLike | None = None,
) -> SyncMetrics:
    """Compares the weights of a parameter before and after a sync.

    The ranks of weights that are initial values are found by binary search; the only sort is that of the sync itself.
    Equal values have one rank, so that a shared value that changes positions with itself has not moved. Vectors that
    hold NaN or infinity are left out, as the sync leaves them out.

    With error feedback a sync ranks ``u = w + e``, the weights and the residual of the syncs before. What counts
    for ``moved``, ``rank_distance`` and ``stuck`` is then u: a weight that one period moves too little is not
    stuck once its residual has grown large enough.

    Args:
      previous: reconnected weights after the last sync, or the initial weights; floating-point.
      current: current weights, as the inner optimiser left them; same shape and dtype.
      sorted_init: initial weights, every vector ascending, see ``LaPermState.sorted_init``.
      axes: axes of one vector.
      residual: the parameter's residual before the sync, if it is trained with error feedback; same shape and dtype.

    Returns:
      The four numbers.

    Raises:
      ValueError: if the shapes differ, or for axes the arrays do not have.
      TypeError: if the dtypes differ or are not floating-point.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax.analysis import sync_metrics
      >>> before = jnp.array([[1.0], [2.0], [4.0], [8.0]])
      >>> now = jnp.array([[2.5], [2.0], [4.1], [8.0]])  # the first has passed the second
      >>> moved, rank_distance, _, stuck = sync_metrics(before, now, before, axes=(0,))
      >>> float(moved), float(rank_distance), float(stuck)
      (0.5, 0.125, 0.5)
      >>> residual = jnp.array([[0.0], [0.0], [0.0], [-3.0]])  # from 8, almost to 4: no longer stuck
      >>> float(sync_metrics(before, now, before, axes=(0,), residual=residual).stuck)
      0.0
    """
    current = jnp.asarray(current)
    ranked = current if residual is None else _with_residual(current, jnp.asarray(residual), axes)
    placed = reconnect(ranked, sorted_init, axes)
    if jnp.shape(previous) != placed.shape:
        raise ValueError(f"previous {jnp.shape(previous)} and current {placed.shape} must have the same shape")
    axes = canonical_axes(axes, placed.ndim)
    arrays = (previous, current, ranked, placed, sorted_init)
    before, now, ranked, after, values = (as_columns(jnp.asarray(array), axes).T for array in arrays)
    finite = jnp.isfinite(ranked).all(axis=1, keepdims=True)
    below = jax.vmap(jnp.searchsorted)
    old_rank, new_rank = below(values, before), below(values, after)
    change = jnp.abs(ranked - before)
    is_stuck = change + change.max(axis=1, keepdims=True) < _gaps(values, before, old_rank)
    mean = lambda array: jnp.mean(array.astype(jnp.float32), where=jnp.broadcast_to(finite, array.shape))
    norm = lambda array: jnp.sqrt(mean(array.astype(jnp.float32) ** 2))
    return SyncMetrics(
        moved=mean(old_rank != new_rank),
        rank_distance=mean(jnp.abs(new_rank - old_rank)) / values.shape[1],
        free_distance=norm(after - now) / norm(now),
        stuck=mean(is_stuck),
    )


def _with_residual(weights: jax.Array, residual: jax.Array, axes: Axes) -> jax.Array:
    if weights.shape != residual.shape:
        raise ValueError(f"current {weights.shape} and residual {residual.shape} must have the same shape")
    if weights.dtype != residual.dtype:
        raise TypeError(f"current ({weights.dtype}) and residual ({residual.dtype}) must have the same dtype")
    return add_residual(weights, residual, canonical_axes(axes, weights.ndim))


def _gaps(values: jax.Array, weights: jax.Array, rank: jax.Array) -> jax.Array:
    """Distance of each weight, an initial value, to the next smaller or larger one, ``(vectors, fan_in)``.

    Args:
      values: initial values, ascending, ``(vectors, fan_in)``.
      weights: some of them, ``(vectors, fan_in)``.
      rank: number of values that are smaller than each weight.
    """
    fan_in = values.shape[1]
    smaller = jnp.take_along_axis(values, jnp.maximum(rank - 1, 0), axis=1)
    larger_rank = jax.vmap(functools.partial(jnp.searchsorted, side="right"))(values, weights)
    larger = jnp.take_along_axis(values, jnp.minimum(larger_rank, fan_in - 1), axis=1)
    return jnp.minimum(
        jnp.where(rank > 0, weights - smaller, jnp.inf), jnp.where(larger_rank < fan_in, larger - weights, jnp.inf)
    )
