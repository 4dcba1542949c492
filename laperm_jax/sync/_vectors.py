"""Vector views: the weight vectors of an array as columns, as rows, or one by one under ``vmap``."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

Axes = tuple[int, ...]


def canonical_axes(axes: Axes, ndim: int) -> Axes:
    """Sorts ``axes`` and makes them non-negative; raises ValueError where they are out of range or repeated."""
    if any(not -ndim <= axis < ndim for axis in axes):
        raise ValueError(f"axes {tuple(axes)} are out of range for an array of rank {ndim}")
    canonical = tuple(sorted(axis % ndim for axis in axes))
    if len(set(canonical)) < len(canonical):
        raise ValueError(f"axes {tuple(axes)} name an axis of an array of rank {ndim} twice")
    return canonical


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


def as_columns(array: jax.Array, axes: Axes) -> jax.Array:
    """The vectors of an array as columns ``(fan_in, vectors)``."""
    fan_in = math.prod(array.shape[axis] for axis in axes)
    return jnp.moveaxis(array, axes, range(len(axes))).reshape(fan_in, -1)


def from_columns(columns: jax.Array, shape: tuple[int, ...], axes: Axes) -> jax.Array:
    outputs = [size for axis, size in enumerate(shape) if axis not in axes]
    fan_in = [shape[axis] for axis in axes]
    return jnp.moveaxis(columns.reshape(*fan_in, *outputs), range(len(axes)), axes)


def weight_vectors(array: np.ndarray, axes: Axes) -> np.ndarray:
    """The weight vectors of an array as rows ``(vectors, fan_in)``."""
    outputs = [axis for axis in range(array.ndim) if axis not in axes]
    fan_in = math.prod(array.shape[axis] for axis in axes)
    return np.ascontiguousarray(array.transpose(*outputs, *axes)).reshape(-1, fan_in)


def from_vectors(vectors: np.ndarray, shape: tuple[int, ...], axes: Axes) -> np.ndarray:
    """The inverse of :func:`weight_vectors`: an array of that shape."""
    outputs = [axis for axis in range(len(shape)) if axis not in axes]
    order = [*outputs, *axes]
    return np.ascontiguousarray(vectors.reshape([shape[axis] for axis in order]).transpose(np.argsort(order)))
