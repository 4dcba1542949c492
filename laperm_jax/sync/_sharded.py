"""Sorts only: the implementation for vectors that may be sharded over devices."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax.sync._keys import order_keys
from laperm_jax.sync._vectors import Axes, over_vectors

PlacesFn = Callable[[], jax.Array]


def place_by_sorts(
    weights: jax.Array, sorted_init: jax.Array, after: jax.Array, axes: Axes
) -> tuple[jax.Array, jax.Array]:
    """:func:`place_by_argsort` by nothing but sorts, for vectors that are spread over devices.

    XLA's partitioner sends the shards of a sort from device to device (all-to-all), but gathers the whole of what is
    scattered, gathered, or flattened with an axis inside that is spread.
    """
    spread, places = _spread_first(weights, axes)

    def place_vector(vector: jax.Array, values: jax.Array) -> jax.Array:
        order = _by_rank(vector, places, lax.iota(jnp.int32, vector.size))
        ascending = _by_rank(values, places, values) if places else values
        _, placed = lax.sort((order, ascending), num_keys=1)
        return jnp.where(jnp.isfinite(vector).all(), placed, vector)

    return _auto_sharded(functools.partial(over_vectors, place_vector, spread), weights, sorted_init), after


def sort_by_sorts(weights: jax.Array, after: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """:func:`sort_by_argsort` for vectors that are spread over devices."""
    spread, places = _spread_first(weights, axes)

    def sort_vector(vector: jax.Array) -> jax.Array:
        ascending = _by_rank(vector, places, vector)
        if places is None:
            return ascending
        _, order = lax.sort((places(), lax.iota(jnp.int32, vector.size)), num_keys=1)
        _, placed = lax.sort((order, ascending), num_keys=1)
        return placed

    return _auto_sharded(functools.partial(over_vectors, sort_vector, spread), weights), after


def _spread_first(weights: jax.Array, axes: Axes) -> tuple[Axes, PlacesFn | None]:
    """The axes of one vector in another order, those which may be spread over devices first.

    They are known where the mesh has explicit axes. Elsewhere it is taken to be the first axis, as the heads of
    attention, and of three or more the last, the input channels of a convolution.

    Returns:
      The axes; and a function that makes, for a vector flattened in that order, the place of each weight in the vector
      flattened in C order, int32 ``(fan_in,)``; None if that is the order.
    """
    spec = jax.typeof(weights).sharding.spec
    spread = [axis for axis in axes if spec[axis] is not None] or ([axes[-1]] if len(axes) > 2 else [])
    ordered = (*spread, *(axis for axis in axes if axis not in spread))
    sizes = [weights.shape[axis] for axis in axes]

    def places() -> jax.Array:
        in_c_order = lax.iota(jnp.int32, math.prod(sizes)).reshape(sizes)
        return in_c_order.transpose([axes.index(axis) for axis in ordered]).ravel()

    return ordered, None if ordered == axes else places


def _by_rank(vector: jax.Array, places: PlacesFn | None, payload: jax.Array) -> jax.Array:
    """The payload in the order of the vector's weights, and of equal ones by place."""
    keys = (order_keys(vector), places()) if places else (order_keys(vector),)
    return lax.sort((*keys, payload), num_keys=len(keys))[-1]


def _auto_sharded(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """Applies a function whose result is of the shape of its arguments; meshes with explicit axes refuse some sorts."""
    sharding = jax.typeof(arrays[0]).sharding
    if sharding.mesh.empty or not sharding.mesh.explicit_axes:
        return function(*arrays)
    return jax.sharding.auto_axes(function, out_sharding=sharding)(*arrays)
