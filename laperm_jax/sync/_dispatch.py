"""Chooses the implementation of a sync: all give the same bits."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from laperm_jax.sync._reference import place_by_argsort, sort_by_argsort
from laperm_jax.sync._sharded import place_by_sorts, sort_by_sorts
from laperm_jax.sync._vectors import Axes
from laperm_jax.sync._xla_cpu import place_by_packed_sort, sort_by_packed_sort


def place(weights: jax.Array, sorted_init: jax.Array, after: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """Places the sorted initial values by rank, in the way that is fastest on the platform it is compiled for.

    Args:
      weights: current weights, floating-point.
      sorted_init: initial weights, every vector ascending, of the same shape and dtype.
      after: int32 scalar, 0; returned by an earlier call if this one is to run after it.
      axes: axes of one vector, canonical.

    Returns:
      The new weights, and the int32 scalar 0 for a later call.
    """
    ways = place_by_packed_sort, place_by_argsort, place_by_sorts
    return _choose(*ways, axes, weights, sorted_init, after)


def sort(weights: jax.Array, after: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """Sorts every vector ascending; arguments and results as for :func:`place`."""
    return _choose(sort_by_packed_sort, sort_by_argsort, sort_by_sorts, axes, weights, after)


def _choose(
    packed: Callable[..., Any],
    reference: Callable[..., Any],
    sharded: Callable[..., Any],
    axes: Axes,
    *arrays: jax.Array,
) -> Any:
    packed, reference, sharded = (functools.partial(way, axes=axes) for way in (packed, reference, sharded))
    mesh = jax.typeof(arrays[0]).sharding.mesh
    if not mesh.empty and mesh.are_all_axes_manual:  # in a shard_map every device has arrays of its own
        return reference(*arrays)
    if jax.device_count() > 1:  # what a program is compiled for is not known when it is traced
        return sharded(*arrays)
    if arrays[0].dtype.itemsize == 8 or not arrays[0].size:  # no integer holds 64 bits and a place
        return reference(*arrays)
    return lax.platform_dependent(*arrays, cpu=packed, default=reference)
