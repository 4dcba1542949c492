"""One sync of one parameter (Algorithm 1): sort the initial weights, reconnect the current ones, keep a residual."""

import functools

import jax
import jax.numpy as jnp

from laperm_jax.sync._dispatch import place, sort
from laperm_jax.sync._keys import where
from laperm_jax.sync._vectors import Axes, canonical_axes


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
    return _sort(weights, axes=canonical_axes(axes, weights.ndim))


def reconnect(weights: jax.typing.ArrayLike, sorted_init: jax.typing.ArrayLike, axes: Axes) -> jax.Array:
    """Places the sorted initial values by the ranks of the current weights: one sync of one parameter (Algorithm 1).

    In each vector w, with s its initial values in ascending order, ``w[i]`` becomes ``s[rank(w[i])]``.

    Equal weights rank by position in the flattened vector, and -0 equals +0. A vector that holds NaN or inf comes back
    unchanged, bit for bit.

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
        raise ValueError(f"weights {weights.shape} and sorted_init {sorted_init.shape} must have the same shape")
    if weights.dtype != sorted_init.dtype:
        raise TypeError(f"weights ({weights.dtype}) and sorted_init ({sorted_init.dtype}) must have the same dtype")
    return _place(weights, sorted_init, axes=canonical_axes(axes, weights.ndim))


@functools.partial(jax.jit, static_argnames="axes", inline=True)
def add_residual(weights: jax.Array, residual: jax.Array, axes: Axes) -> jax.Array:
    """What a sync with error feedback ranks, u = w + e, finite wherever w is.

    A sum beyond the range of the dtype is its largest number. Where e is zero, u is w itself: backends that flush
    subnormal numbers do so in a sum. A vector whose residual holds NaN or inf is ranked without it.

    Args:
      weights: current weights w, floating-point, of any shape.
      residual: residual e, of the same shape and dtype.
      axes: axes that make up one vector.
    """
    counts = (residual != 0) & jnp.isfinite(residual).all(axes, keepdims=True) & jnp.isfinite(weights)
    return where(counts, saturated_sum(weights, residual), weights)


def reconnect_with_residual(
    weights: jax.Array, residual: jax.Array, sorted_init: jax.Array, axes: Axes
) -> tuple[jax.Array, jax.Array]:
    """Places the initial values by the ranks of u = w + e; returns them and the next residual, u minus them.

    A vector of weights that holds NaN or inf keeps its weights and its residual, and a residual that does so stays.
    """
    total = add_residual(weights, residual, axes)
    placed = reconnect(total, sorted_init, axes)
    finite, finite_residual = (jnp.isfinite(array).all(axes, keepdims=True) for array in (weights, residual))
    left = where(finite & finite_residual, saturated_sum(total, -placed), residual)
    return where(finite, placed, weights), left


@functools.partial(jax.jit, inline=True)
def saturated_sum(x: jax.Array, y: jax.Array) -> jax.Array:
    """The sum of finite numbers of one dtype; beyond its range its largest number, also where it has no infinity."""
    total, limits = x + y, jnp.finfo(x.dtype)
    largest = jnp.where(x < 0, limits.min, limits.max).astype(x.dtype)
    return where(jnp.isfinite(total), total, largest)


_place = jax.jit(place, static_argnames="axes")
_sort = jax.jit(sort, static_argnames="axes")


def _floating(array: jax.typing.ArrayLike) -> jax.Array:
    array = jnp.asarray(array, jnp.result_type(array))  # the explicit dtype drops a weak type
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"weights must be floating-point, not {array.dtype}")
    return array
