"""XLA:CPU: one sort of packed integers, a few vectors at a time."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax.sync._keys import order_keys
from laperm_jax.sync._reference import scatter
from laperm_jax.sync._vectors import Axes, as_columns, from_columns

# Chosen by `laperm bench --models conv13` on two cores.
_BLOCK = 32  # most vectors in one iteration of the loop
_SMALL = 2**15  # a block of fewer weights than this is sorted by one call
_SORTS = 16  # independent sorts in a larger block: up to jaxlib 0.10 XLA:CPU runs each sort on one thread


def place(weights: jax.Array, sorted_init: jax.Array, token: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """Places the sorted initial values by the ranks of the weights, after ``token`` is computed."""

    def place_rows(order: jax.Array, rows: jax.Array, values: jax.Array) -> jax.Array:
        finite = jnp.isfinite(rows).all(axis=1, keepdims=True)
        return jnp.where(finite, jax.vmap(scatter)(order, values), rows)

    return _in_blocks(place_rows, axes, token, weights, sorted_init)


def sort(weights: jax.Array, token: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """Sorts every vector ascending, after ``token`` is computed."""
    return _in_blocks(lambda order, rows: jnp.take_along_axis(rows, order, axis=1), axes, token, weights)


def _in_blocks(
    function: Callable[..., jax.Array], axes: Axes, token: jax.Array, *arrays: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Applies a function of ``(order, rows, ...)``, each ``(vectors, fan_in)``, to a few vectors at a time.

    ``order`` is the argsort of the first array's rows. A block of a few vectors fits the cache and keeps the
    temporaries small, however large the array.
    """
    columns = [as_columns(array, axes) for array in arrays]  # (fan_in, vectors)
    fan_in, vectors = columns[0].shape
    block = min(vectors, _BLOCK, max(4, vectors // 4))  # at most a quarter of the array, to bound the temporaries
    group = block if block * fan_in < _SMALL else -(-block // _SORTS)

    def do_block(number: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        result, _ = carry
        start = jnp.minimum(number * block, vectors - block)  # the last block may overlap the one before it
        done = []
        for first in range(0, block, group):
            take = functools.partial(lax.dynamic_slice_in_dim, start_index=start + first, axis=1)
            rows = [take(array, slice_size=min(group, block - first)).T for array in columns]
            order = _argsort_packed(rows[0])  # (vectors, fan_in)
            done.append(function(order, *rows))
        result = lax.dynamic_update_slice_in_dim(result, jnp.concatenate(done).T, start, axis=1)
        return result, jnp.minimum(order[0, 0], 0)

    # Loops that may run concurrently do not share temporaries, so this one starts from an array filled with the token.
    empty = jnp.full_like(columns[0], token.astype(columns[0].dtype))
    result, token = lax.fori_loop(0, -(-vectors // block), do_block, (empty, token))
    return from_columns(result, arrays[0].shape, axes), token


def _argsort_packed(rows: jax.Array) -> jax.Array:
    """Stable argsort of each row, int32, by one sort of unsigned integers: key in the high bits, position in the low.

    XLA:CPU sorts a single operand of integers by a library routine, and anything else through a compiled comparator,
    several times slower.
    """
    bits, fan_in = 8 * rows.dtype.itemsize, rows.shape[1]
    position_bits = 16 if bits == 16 and fan_in <= 2**16 else 32
    with jax.enable_x64(True):
        packed_dtype = jnp.uint32 if position_bits == 16 else jnp.uint64
        keys = lax.bitcast_convert_type(order_keys(rows), f"uint{bits}") ^ jnp.array(1 << (bits - 1), f"uint{bits}")
        positions = lax.broadcasted_iota(packed_dtype, rows.shape, 1)
        packed = (keys.astype(packed_dtype) << jnp.array(position_bits, packed_dtype)) | positions
        # No two are equal, so any sort is a stable one; XLA's stable routine is the faster by a sixth.
        packed = lax.sort(packed, dimension=1, is_stable=True)
        return packed.astype(f"uint{position_bits}").astype(jnp.int32)
