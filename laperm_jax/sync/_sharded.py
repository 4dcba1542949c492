"""Sorts only, no scatter or gather: the implementation for vectors that may be sharded over devices."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax.sync._keys import order_keys
from laperm_jax.sync._vectors import Axes, over_vectors

PositionsFn = Callable[[], jax.Array]


def place(weights: jax.Array, sorted_init: jax.Array, token: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """Places the sorted initial values by the ranks of the weights; ``token`` is returned as it is.

    XLA's partitioner exchanges the shards of a sort (all-to-all). It gathers the whole operand of a scatter, of a
    gather, and of a reshape that flattens a sharded axis behind another one.
    """
    ordered, positions = _sharded_first(weights, axes)

    def place_vector(vector: jax.Array, values: jax.Array) -> jax.Array:
        order = _by_rank(vector, positions, lax.iota(jnp.int32, vector.size))
        ascending = _by_rank(values, positions, values) if positions else values
        _, placed = lax.sort((order, ascending), num_keys=1)
        return jnp.where(jnp.isfinite(vector).all(), placed, vector)

    return _auto_sharded(functools.partial(over_vectors, place_vector, ordered), weights, sorted_init), token


def sort(weights: jax.Array, token: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """Sorts every vector ascending; ``token`` is returned as it is."""
    ordered, positions = _sharded_first(weights, axes)

    def sort_vector(vector: jax.Array) -> jax.Array:
        ascending = _by_rank(vector, positions, vector)
        if positions is None:
            return ascending
        _, order = lax.sort((positions(), lax.iota(jnp.int32, vector.size)), num_keys=1)
        _, placed = lax.sort((order, ascending), num_keys=1)
        return placed

    return _auto_sharded(functools.partial(over_vectors, sort_vector, ordered), weights), token


def _sharded_first(weights: jax.Array, axes: Axes) -> tuple[Axes, PositionsFn | None]:
    """The axes of one vector, reordered: those that may be sharded come first.

    A mesh with explicit axes tells which they are. Elsewhere the guess is the first axis (the heads of attention)
    and, of three or more, the last (the input channels of a convolution).

    Returns:
      The axes; and a function that makes, for a vector flattened in that order, the position of each weight in the
      vector flattened in C order, int32 ``(fan_in,)``. None if the orders are the same.
    """
    spec = jax.typeof(weights).sharding.spec
    sharded = [axis for axis in axes if spec[axis] is not None] or ([axes[-1]] if len(axes) > 2 else [])
    ordered = (*sharded, *(axis for axis in axes if axis not in sharded))
    sizes = [weights.shape[axis] for axis in axes]

    def positions() -> jax.Array:
        in_c_order = lax.iota(jnp.int32, math.prod(sizes)).reshape(sizes)
        return in_c_order.transpose([axes.index(axis) for axis in ordered]).ravel()

    return ordered, None if ordered == axes else positions


def _by_rank(vector: jax.Array, positions: PositionsFn | None, payload: jax.Array) -> jax.Array:
    """The payload in the order of the vector's weights; equal weights by position."""
    keys = (order_keys(vector), positions()) if positions else (order_keys(vector),)
    return lax.sort((*keys, payload), num_keys=len(keys))[-1]


def _auto_sharded(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """Applies a function whose result has the shape of its arguments; meshes with explicit axes refuse some sorts."""
    sharding = jax.typeof(arrays[0]).sharding
    if sharding.mesh.empty or not sharding.mesh.explicit_axes:
        return function(*arrays)
    return jax.sharding.auto_axes(function, axes=sharding.mesh.explicit_axes, out_sharding=sharding)(*arrays)
