"""Vector views: the weight vectors of an array as rows, as columns, or one by one under ``vmap``.

The functions that return views take JAX and NumPy arrays alike.
"""

import math
import operator
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Axes = tuple[int, ...]
Array = TypeVar("Array", jax.Array, np.ndarray)


def canonical_axes(axes: Axes, ndim: int) -> Axes:
    """Sorts ``axes`` and makes them non-negative.

    Raises:
      TypeError: if they are not a tuple of ints.
      ValueError: if they are out of range or repeated.
    """
    try:
        axes = tuple(map(operator.index, axes))
    except TypeError:
        raise TypeError(f"axes must be a tuple of ints such as (0,), not {axes!r}") from None
    if any(not -ndim <= axis < ndim for axis in axes):
        raise ValueError(f"axes {axes} are out of range for an array of rank {ndim}")
    canonical = tuple(sorted(axis % ndim for axis in axes))
    if len(set(canonical)) < len(canonical):
        raise ValueError(f"axes {axes} name an axis of an array of rank {ndim} twice")
    return canonical


def output_axes(axes: Axes, ndim: int) -> Axes:
    """The other axes, which number the vectors."""
    return tuple(axis for axis in range(ndim) if axis not in axes)


def weight_vectors(array: Array, axes: Axes) -> Array:
    """The weight vectors of an array as rows ``(vectors, fan_in)``.

    Args:
      array: a JAX or NumPy array.
      axes: canonical axes of one vector, which is flattened in C order.
    """
    outputs = output_axes(axes, array.ndim)
    return array.transpose(*outputs, *axes).reshape(_size(array.shape, outputs), _size(array.shape, axes))


def from_vectors(vectors: Array, shape: tuple[int, ...], axes: Axes) -> Array:
    """The inverse of :func:`weight_vectors`: an array of that shape."""
    order = (*output_axes(axes, len(shape)), *axes)
    return vectors.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def as_columns(array: Array, axes: Axes) -> Array:
    """The weight vectors of an array as columns ``(fan_in, vectors)``."""
    outputs = output_axes(axes, array.ndim)
    return array.transpose(*axes, *outputs).reshape(_size(array.shape, axes), _size(array.shape, outputs))


def from_columns(columns: Array, shape: tuple[int, ...], axes: Axes) -> Array:
    """The inverse of :func:`as_columns`: an array of that shape."""
    order = (*axes, *output_axes(axes, len(shape)))
    return columns.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def over_vectors(function: Callable[..., jax.Array], axes: Axes, *arrays: jax.Array) -> jax.Array:
    """Applies a function of vectors ``(fan_in,)`` to every vector of the arrays.

    It batches by ``vmap``, not by index arrays, and leaves the output axes apart: XLA then gathers nothing where they
    are sharded.
    """
    ndim, fan_in_ndim = arrays[0].ndim, len(axes)
    last = tuple(range(ndim - fan_in_ndim, ndim))
    rows = [jnp.moveaxis(array, axes, last) for array in arrays]  # (*outputs, *fan_in)
    outputs, fan_in = rows[0].shape[: ndim - fan_in_ndim], rows[0].shape[ndim - fan_in_ndim :]
    for _ in outputs:
        function = jax.vmap(function)
    result = function(*(row.reshape(*outputs, math.prod(fan_in)) for row in rows))
    return jnp.moveaxis(result.reshape(*outputs, *fan_in), last, axes)


def _size(shape: tuple[int, ...], axes: Axes) -> int:
    return math.prod(shape[axis] for axis in axes)
