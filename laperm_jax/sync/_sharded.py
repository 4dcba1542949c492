"""Sorts only, no scatter or gather: the implementation for vectors that may be sharded over devices.

XLA's partitioner exchanges the shards of a sort (all-to-all). It gathers the whole operand of a scatter, of a gather,
and of a reshape that flattens a sharded axis behind another one.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax.sync._keys import bits, order_keys, where
from laperm_jax.sync._sorting import argsort, put
from laperm_jax.sync._vectors import Axes, over_vectors

PositionsFn = Callable[[], jax.Array]


def place(weights: jax.Array, sorted_init: jax.Array, axes: Axes) -> jax.Array:
    """Places the sorted initial values by the ranks of the weights."""
    ordered, positions = _sharded_first(weights, axes)

    def place_vector(vector: jax.Array, values: jax.Array) -> jax.Array:
        if positions is None:
            placed = put(argsort(vector), values)
        else:
            placed = put(_argsort_by(positions(), vector), put(positions(), values))
        return where(jnp.isfinite(vector).all(), placed, vector)

    return over_vectors(place_vector, ordered, weights, sorted_init)


def sort(weights: jax.Array, axes: Axes) -> jax.Array:
    """Sorts every vector ascending."""
    ordered, positions = _sharded_first(weights, axes)

    def sort_vector(vector: jax.Array) -> jax.Array:
        index = lax.iota(jnp.int32, vector.size)
        ties = index if positions is None else positions()
        ascending = lax.sort((order_keys(vector), ties, bits(vector)), num_keys=2, is_stable=False)[-1]
        if positions:
            ascending = put(put(positions(), index), ascending)
        return ascending.view(vector.dtype)

    return over_vectors(sort_vector, ordered, weights)


def _argsort_by(positions: jax.Array, vector: jax.Array) -> jax.Array:
    """Argsort of a vector, int32; equal weights by their ``positions``."""
    index = lax.iota(jnp.int32, vector.size)
    return lax.sort((order_keys(vector), positions, index), num_keys=2, is_stable=False)[-1]


def _sharded_first(weights: jax.Array, axes: Axes) -> tuple[Axes, PositionsFn | None]:
    """The axes of one vector, reordered: those that may be sharded come first.

    Automatic meshes do not tell which they are. The guess is the first axis (the heads of attention) and, of three or
    more, the last (the input channels of a convolution).

    Returns:
      The axes; and a function that makes, for a vector flattened in that order, the position of each weight in the
      vector flattened in C order, int32 ``(fan_in,)``. None if the orders are the same.
    """
    ordered = (axes[-1], *axes[:-1]) if len(axes) > 2 else axes
    sizes = [weights.shape[axis] for axis in axes]

    def positions() -> jax.Array:
        in_c_order = lax.iota(jnp.int32, math.prod(sizes)).reshape(sizes)
        return in_c_order.transpose([axes.index(axis) for axis in ordered]).ravel()

    return ordered, None if ordered == axes else positions
