"""XLA:CPU: one sort of packed integers, a few vectors at a time."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax.sync._keys import bits, order_keys, where
from laperm_jax.sync._reference import scatter
from laperm_jax.sync._sorting import pack, unpack
from laperm_jax.sync._vectors import Axes, as_columns, from_columns

# Chosen by `laperm bench --models conv13` on two cores.
_BLOCK = 32  # most vectors in one iteration of the loop
_SMALL = 2**15  # a block of fewer weights than this is sorted by one call
_SORTS = 16  # independent sorts in a larger block: up to jaxlib 0.10 XLA:CPU runs each sort on one thread


def place(weights: jax.Array, sorted_init: jax.Array, axes: Axes) -> jax.Array:
    """Places the sorted initial values by the ranks of the weights."""

    def place_rows(order: jax.Array, rows: jax.Array, values: jax.Array) -> jax.Array:
        finite = jnp.isfinite(rows).all(axis=1, keepdims=True)
        return where(finite, jax.vmap(scatter)(order, values), rows)

    return _in_blocks(place_rows, axes, weights, sorted_init)


def sort(weights: jax.Array, axes: Axes) -> jax.Array:
    """Sorts every vector ascending."""
    return _in_blocks(_take, axes, weights)


def _take(order: jax.Array, rows: jax.Array) -> jax.Array:
    return jnp.take_along_axis(bits(rows), order, axis=1).view(rows.dtype)


def _in_blocks(function: Callable[..., jax.Array], axes: Axes, *arrays: jax.Array) -> jax.Array:
    """Applies a function of ``(order, rows, ...)``, each ``(vectors, fan_in)``, to a few vectors at a time.

    ``order`` is the argsort of the first array's rows. A block of a few vectors fits the cache and keeps the
    temporaries small, however large the array.
    """
    dtype = arrays[0].dtype
    # XLA:CPU 0.10 quiets signalling NaNs where a loop moves bfloat16. Bits of the other types would be copies in vain.
    moved = bits if dtype == jnp.bfloat16 else lambda array: array
    columns = [moved(as_columns(array, axes)) for array in arrays]  # (fan_in, vectors)
    fan_in, vectors = columns[0].shape
    block = min(vectors, _BLOCK, max(4, vectors // 4))  # at most a quarter of the array, to bound the temporaries
    group = block if block * fan_in < _SMALL else -(-block // _SORTS)

    def do_block(number: jax.Array, result: jax.Array) -> jax.Array:
        start = jnp.minimum(number * block, vectors - block)  # the last block may overlap the one before it
        done = []
        for first in range(0, block, group):
            take = functools.partial(lax.dynamic_slice_in_dim, start_index=start + first, axis=1)
            rows = [take(array, slice_size=min(group, block - first)).T.view(dtype) for array in columns]
            order = _argsort_packed(rows[0])  # (vectors, fan_in)
            done.append(moved(function(order, *rows)))
        return lax.dynamic_update_slice_in_dim(result, jnp.concatenate(done).T, start, axis=1)

    result = lax.fori_loop(0, -(-vectors // block), do_block, jnp.zeros_like(columns[0]))
    return from_columns(result.view(dtype), arrays[0].shape, axes)


def _argsort_packed(rows: jax.Array) -> jax.Array:
    """Stable argsort of each row, int32, by one sort of integers: key in the high bits, position in the low ones.

    XLA:CPU sorts a single operand of integers by a library routine, and anything else through a compiled comparator,
    several times slower.
    """
    keys = order_keys(rows)
    if rows.shape[1] > 2**16:
        keys = keys.astype(jnp.int32)
    positions = lax.broadcasted_iota(f"uint{8 * keys.dtype.itemsize}", rows.shape, 1)
    with jax.enable_x64(True):
        # No two are equal, so any sort is a stable one; XLA's stable routine is the faster by a sixth.
        packed = lax.sort(pack(keys, positions), dimension=1, is_stable=True)
        return unpack(packed, positions.dtype).astype(jnp.int32)
