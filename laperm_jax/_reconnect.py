"""Sort, rank and place: the sync of Algorithm 1 on one array.

All comparisons are made on integers, not on floats: XLA flushes subnormal numbers to zero on some backends, where a
sort of floats would then rank them differently.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax._vectors import Axes, canonical_axes


def sort_vectors(weights: jax.typing.ArrayLike, axes: Axes) -> jax.Array:
    """Sorts every weight vector ascending; ties keep their order.

    Args:
      weights: floating-point array of any shape.
      axes: axes that make up one vector, which is flattened in C order.

    Returns:
      A new array of the shape and dtype of ``weights``; bit for bit the same values in each vector.

    Raises:
      TypeError: if ``weights`` is not floating-point.
      ValueError: if ``axes`` are out of range or repeated.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax import sort_vectors
      >>> sort_vectors(jnp.array([[3.0, -1.0], [1.0, -2.0], [2.0, 0.0]]), axes=(0,)).tolist()
      [[1.0, -2.0], [2.0, -1.0], [3.0, 0.0]]
    """
    weights = _floating(weights)
    return _sort_vectors(weights, canonical_axes(axes, weights.ndim))


def reconnect(weights: jax.typing.ArrayLike, sorted_init: jax.typing.ArrayLike, axes: Axes) -> jax.Array:
    r"""Places the sorted initial values by the ranks of the current weights: one sync of one parameter (Algorithm 1).

    In each vector :math:`w`, with :math:`s` its initial values in ascending order,

    .. math:: w_i \leftarrow s_{\mathrm{rank}(w_i)}

    Equal weights rank by position in the flattened vector, and -0 equals +0. A vector that holds NaN or inf comes back
    as it is: nothing non-finite is laundered.

    Args:
      weights: current weights, floating-point, of any shape.
      sorted_init: the initial weights as :func:`sort_vectors` returns them, same shape and dtype.
      axes: axes that make up one vector, which is flattened in C order.

    Returns:
      An array of the same shape and dtype.

    Raises:
      TypeError: if the dtypes are not floating-point or differ.
      ValueError: if the shapes differ, or ``axes`` are out of range or repeated.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax import reconnect, sort_vectors
      >>> init = jnp.array([0.5, -0.25, 0.125])
      >>> trained = jnp.array([-0.7, 2.0, 0.4])  # the smallest, the largest, the middle one
      >>> reconnect(trained, sort_vectors(init, axes=(0,)), axes=(0,)).tolist()
      [-0.25, 0.5, 0.125]
    """
    weights, sorted_init = _floating(weights), _floating(sorted_init)
    if weights.shape != sorted_init.shape:
        raise ValueError(f"weights {weights.shape} and sorted_init {sorted_init.shape} must have one shape")
    if weights.dtype != sorted_init.dtype:
        raise TypeError(f"weights ({weights.dtype}) and sorted_init ({sorted_init.dtype}) must have one dtype")
    return _reconnect(weights, sorted_init, canonical_axes(axes, weights.ndim))


@functools.partial(jax.jit, static_argnames="axes")
def _sort_vectors(weights: jax.Array, axes: Axes) -> jax.Array:
    return _over_vectors(lambda vector: vector[jnp.argsort(_order_keys(vector))], axes, weights)


@functools.partial(jax.jit, static_argnames="axes")
def _reconnect(weights: jax.Array, sorted_init: jax.Array, axes: Axes) -> jax.Array:
    finite = jnp.isfinite(weights).all(axis=axes, keepdims=True)
    return jnp.where(finite, _over_vectors(_place, axes, weights, sorted_init), weights)


def _place(vector: jax.Array, sorted_init: jax.Array) -> jax.Array:
    order = jnp.argsort(_order_keys(vector))  # (fan_in,), order[r] is the place of rank r
    return jnp.zeros_like(sorted_init).at[order].set(sorted_init, unique_indices=True, mode="promise_in_bounds")


def _order_keys(weights: jax.Array) -> jax.Array:
    """Signed integers in the order of the floats; -0 and +0 have the same key.

    Floats are sign and magnitude: a negative one's bits are ``iinfo.min + magnitude``, and its key is ``-magnitude``.
    """
    dtype = jnp.dtype(f"int{8 * weights.dtype.itemsize}")
    bits = lax.bitcast_convert_type(weights, dtype)
    return jnp.where(bits < 0, jnp.iinfo(dtype).min - bits, bits)


def _over_vectors(function: Callable[..., jax.Array], axes: Axes, *arrays: jax.Array) -> jax.Array:
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


def _floating(array: jax.typing.ArrayLike) -> jax.Array:
    array = jnp.asarray(array, jnp.result_type(array))  # the explicit dtype drops a weak type
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"weights must be floating-point, not {array.dtype}")
    return array
