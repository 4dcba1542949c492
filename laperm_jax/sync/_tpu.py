"""One TPU: one sort for each parameter, in a loop of two turns, as XLA:TPU makes a megabyte of code of every sort.

It sorts columns, as the kernels of Flax lie in memory.
"""

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax.sync._keys import bits, order_keys, where
from laperm_jax.sync._sorting import share_an_integer, sort_by_key
from laperm_jax.sync._vectors import Axes, as_columns, from_columns


def place(weights: jax.Array, sorted_init: jax.Array, axes: Axes) -> jax.Array:
    """Places the sorted initial values by the ranks of the weights."""
    columns = as_columns(weights, axes)  # (fan_in, vectors)
    narrow = share_an_integer(columns.dtype, len(columns))
    dtype = bits(columns).dtype if narrow or columns.dtype.itemsize > 2 else jnp.int32
    keys, values = (array.astype(dtype) for array in (order_keys(columns), bits(as_columns(sorted_init, axes))))
    order = lax.broadcasted_iota(jnp.int32, columns.shape, 0).astype(dtype)
    sign = jnp.array(-(2**15) if narrow else 0, dtype)  # positions are unsigned, keys are signed

    def turn(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Sorts the positions by the weights; the second time, the values by the positions."""
        return jax.vmap(sort_by_key, -1, -1)(*carry) ^ sign, values

    nothing = keys & values & 0  # inside shard_map it varies over the mesh axes of both, as a loop wants of its carry
    keys, values, order = (array | nothing for array in (keys, values, order))
    placed = lax.fori_loop(0, 2, turn, (keys, order))[0] ^ sign
    placed = placed.astype(bits(columns).dtype).view(columns.dtype)
    return from_columns(where(jnp.isfinite(columns).all(0), placed, columns), weights.shape, axes)


def sort(weights: jax.Array, axes: Axes) -> jax.Array:
    """Sorts every vector ascending."""
    columns = as_columns(weights, axes)
    index = lax.broadcasted_iota(jnp.int32, columns.shape, 0)
    operands = order_keys(columns), index, bits(columns)
    ascending = lax.sort(operands, dimension=0, num_keys=2, is_stable=False)[-1]
    return from_columns(ascending.view(columns.dtype), weights.shape, axes)
