"""What a sync does to the weights: how many moved, how far, and how many could not have moved."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from laperm_jax.sync._reconnect import reconnect
from laperm_jax.sync._vectors import Axes, as_columns, canonical_axes


class SyncMetrics(NamedTuple):
    """Of one sync of one parameter; float32 scalars, NaN if no vector is finite.

    Attributes:
      moved: share of the places that got another value.
      rank_distance: by how many ranks a place's value changed, on average, as a share of the length of a vector.
      free_distance: norm of the change that the sync makes to the current weights, over the norm of these.
      stuck: share of the places whose value could not have changed: since the last sync neither their weight nor any
        other of its vector moved far enough to meet one that had the next smaller or larger value.
    """

    moved: jax.Array
    rank_distance: jax.Array
    free_distance: jax.Array
    stuck: jax.Array


def sync_metrics(
    previous: jax.typing.ArrayLike, current: jax.typing.ArrayLike, sorted_init: jax.typing.ArrayLike, axes: Axes
) -> SyncMetrics:
    """Compares the weights of a parameter before and after a sync.

    The ranks of weights that are initial values are found by binary search; the one sort is that of the sync itself.
    Equal values have one rank, so that a shared value that changes places with itself has not moved. Vectors that hold
    NaN or infinity now are left out, as the sync leaves them out.

    Args:
      previous: reconnected weights after the last sync, or the initial weights; floating-point.
      current: weights now, as the inner optimiser left them; same shape and dtype.
      sorted_init: initial weights, every vector ascending, as ``LaPermState.sorted_init`` has them.
      axes: axes of one vector.

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
    """
    placed = reconnect(current, sorted_init, axes)
    if jnp.shape(previous) != placed.shape:
        raise ValueError(f"previous {jnp.shape(previous)} and current {placed.shape} must have the same shape")
    axes = canonical_axes(axes, placed.ndim)
    arrays = (previous, current, placed, sorted_init)
    before, now, after, values = (as_columns(jnp.asarray(array), axes).T for array in arrays)
    finite = jnp.isfinite(now).all(axis=1, keepdims=True)
    below, above = (jax.vmap(functools.partial(jnp.searchsorted, side=side)) for side in ("left", "right"))
    old_rank, new_rank = below(values, before), below(values, after)

    smaller = jnp.take_along_axis(values, jnp.maximum(old_rank - 1, 0), axis=1)
    larger_rank = above(values, before)
    larger = jnp.take_along_axis(values, jnp.minimum(larger_rank, values.shape[1] - 1), axis=1)
    gap = jnp.minimum(
        jnp.where(old_rank > 0, before - smaller, jnp.inf),
        jnp.where(larger_rank < values.shape[1], larger - before, jnp.inf),
    )
    change = jnp.abs(now - before)
    mean = lambda array: jnp.mean(array.astype(jnp.float32), where=jnp.broadcast_to(finite, array.shape))
    norm = lambda array: jnp.sqrt(mean(array.astype(jnp.float32) ** 2))
    return SyncMetrics(
        moved=mean(old_rank != new_rank),
        rank_distance=mean(jnp.abs(new_rank - old_rank)) / values.shape[1],
        free_distance=norm(after - now) / norm(now),
        stuck=mean(change + change.max(axis=1, keepdims=True) < gap),
    )
