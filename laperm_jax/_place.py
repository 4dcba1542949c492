"""Sort, rank and place: the reference, in a few lines, and two other ways that give the same bits.

One is a fast path for CPUs, the other for weights that may be spread over devices. All comparisons are made on
integers, not on floats: XLA flushes subnormal numbers to zero on some backends, where a sort of floats would then rank
them differently.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax._vectors import Axes

# Of the fast path; chosen by `laperm bench --models conv13` on two cores.
_BLOCK = 32  # vectors in one pass of the loop, at most
_SMALL = 2**15  # weights in one pass that a single sort is enough for
_SORTS = 16  # independent sorts in one pass: up to jaxlib 0.10 a sort keeps one thread busy, and many of them all


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


def place_by_argsort(
    weights: jax.Array, sorted_init: jax.Array, after: jax.Array, axes: Axes
) -> tuple[jax.Array, jax.Array]:
    """The reference: one stable argsort and one scatter. It waits for nothing: ``after`` comes back as it is."""

    def place_vector(vector: jax.Array, values: jax.Array) -> jax.Array:
        order = jnp.argsort(order_keys(vector))  # (fan_in,), order[r] is the place of rank r
        return jnp.where(jnp.isfinite(vector).all(), _scatter(order, values), vector)

    return over_vectors(place_vector, axes, weights, sorted_init), after


def sort_by_argsort(weights: jax.Array, after: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """The reference for :func:`sort`."""
    return over_vectors(lambda vector: vector[jnp.argsort(order_keys(vector))], axes, weights), after


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


PlacesFn = Callable[[], jax.Array]


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


def place_by_packed_sort(
    weights: jax.Array, sorted_init: jax.Array, after: jax.Array, axes: Axes
) -> tuple[jax.Array, jax.Array]:
    """The fast path for CPUs: :func:`place_by_argsort` a few vectors at a time."""

    def place_rows(order: jax.Array, rows: jax.Array, values: jax.Array) -> jax.Array:
        finite = jnp.isfinite(rows).all(axis=1, keepdims=True)
        return jnp.where(finite, jax.vmap(_scatter)(order, values), rows)

    return _in_blocks(place_rows, axes, after, weights, sorted_init)


def sort_by_packed_sort(weights: jax.Array, after: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """The fast path for CPUs: :func:`sort_by_argsort` a few vectors at a time."""
    return _in_blocks(lambda order, rows: jnp.take_along_axis(rows, order, axis=1), axes, after, weights)


def _in_blocks(
    function: Callable[..., jax.Array], axes: Axes, after: jax.Array, *arrays: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Applies a function of ``(order, rows, ...)``, each ``(vectors, fan_in)``, to a few vectors at a time.

    ``order`` is the argsort of the first array's rows, by a sort of integers: the key of each weight and its place in
    one. XLA's CPU backend sorts a single operand of integers by a library routine, and anything else through a
    comparator, several times slower. Few vectors at a time keep the temporaries in the cache, and small however large
    the array.
    """
    columns = [as_columns(array, axes) for array in arrays]  # (fan_in, vectors)
    fan_in, vectors = columns[0].shape
    block = min(vectors, _BLOCK, max(4, vectors // 4))  # a quarter of the array, for the temporaries' sake
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

    # Loops that may run side by side do not share temporaries: what this one fills makes it wait for the one before.
    empty = jnp.full_like(columns[0], after.astype(columns[0].dtype))
    result, after = lax.fori_loop(0, -(-vectors // block), do_block, (empty, after))
    return _from_columns(result, arrays[0].shape, axes), after


def order_keys(weights: jax.Array) -> jax.Array:
    """Signed integers in the order of the floats; -0 and +0 have the same key.

    Floats are sign and magnitude: a negative one's bits are ``iinfo.min + magnitude``, and its key is ``-magnitude``.
    """
    dtype = jnp.dtype(f"int{8 * weights.dtype.itemsize}")
    bits = lax.bitcast_convert_type(weights, dtype)
    return jnp.where(bits < 0, jnp.iinfo(dtype).min - bits, bits)


def over_vectors(function: Callable[..., jax.Array], axes: Axes, *arrays: jax.Array) -> jax.Array:
    """Applies a function of vectors ``(fan_in,)`` to every vector of the arrays.

    Batching by ``vmap`` rather than by index arrays keeps XLA from gathering arrays whose output axes are sharded.
    """
    ndim, fan_in_ndim = arrays[0].ndim, len(axes)
    last = tuple(range(ndim - fan_in_ndim, ndim))
    rows = [jnp.moveaxis(array, axes, last) for array in arrays]  # (*outputs, *fan_in)
    outputs, fan_in = rows[0].shape[: ndim - fan_in_ndim], rows[0].shape[ndim - fan_in_ndim :]
    for _ in outputs:
        function = jax.vmap(function)
    result = function(*(row.reshape(*outputs, math.prod(fan_in)) for row in rows))
    return jnp.moveaxis(result.reshape(*outputs, *fan_in), last, axes)


def _scatter(order: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.zeros_like(values).at[order].set(values, unique_indices=True, mode="promise_in_bounds")


def _argsort_packed(rows: jax.Array) -> jax.Array:
    """Stable argsort of each row, int32, by one sort of unsigned integers: key in the high bits, place in the low."""
    bits, fan_in = 8 * rows.dtype.itemsize, rows.shape[1]
    place_bits = 16 if bits == 16 and fan_in <= 2**16 else 32
    with jax.enable_x64(True):
        packed_dtype = jnp.uint32 if place_bits == 16 else jnp.uint64
        keys = lax.bitcast_convert_type(order_keys(rows), f"uint{bits}") ^ jnp.array(1 << (bits - 1), f"uint{bits}")
        places = lax.broadcasted_iota(packed_dtype, rows.shape, 1)
        packed = (keys.astype(packed_dtype) << jnp.array(place_bits, packed_dtype)) | places
        # No two are equal, so any sort is a stable one; XLA's stable routine is the faster by a sixth.
        packed = lax.sort(packed, dimension=1, is_stable=True)
        return packed.astype(f"uint{place_bits}").astype(jnp.int32)


def as_columns(array: jax.Array, axes: Axes) -> jax.Array:
    """The vectors of an array as columns ``(fan_in, vectors)``."""
    fan_in = math.prod(array.shape[axis] for axis in axes)
    return jnp.moveaxis(array, axes, range(len(axes))).reshape(fan_in, -1)


def _from_columns(columns: jax.Array, shape: tuple[int, ...], axes: Axes) -> jax.Array:
    outputs = [size for axis, size in enumerate(shape) if axis not in axes]
    fan_in = [shape[axis] for axis in axes]
    return jnp.moveaxis(columns.reshape(*fan_in, *outputs), range(len(axes)), axes)
