"""Initial weights with known values: evenly spaced in every weight vector, or uniform in an interval."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer

from laperm_jax.initializers._checks import check_in_range, positive, real
from laperm_jax.sync._vectors import Axes, canonical_axes, from_columns

MAX_LEVELS = 2**16  # 16 bits a weight
ColumnsFn = Callable[[jax.Array, int, int, Any], jax.Array]  # (key, fan_in, vectors, dtype) -> (fan_in, vectors)


def equidistant(limit: float, axes: Axes | None = None) -> Initializer:
    """Gives each weight vector evenly spaced values from ``-limit`` to ``limit``, in random order.

    All vectors then share one profile, a straight line (Cai, Chen & Qiao, arXiv 2407.01033, use such values).

    Args:
      limit: the largest value.
      axes: axes of one weight vector; all but the last if None, as in Flax, which draws the kernels of attention as
        matrices.

    Returns:
      An initializer.

    Raises:
      TypeError: if ``limit`` is not a real number.
      ValueError: if ``limit`` is not finite and greater than 0.

    Example:
      >>> import jax
      >>> from laperm_jax.initializers import equidistant
      >>> kernel = equidistant(1.0)(jax.random.key(0), (5, 3))
      >>> jax.numpy.sort(kernel, axis=0)[:, 0].tolist()
      [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    limit = positive("limit", limit)

    def columns(key: jax.Array, fan_in: int, vectors: int, dtype: Any) -> jax.Array:
        del key
        check_in_range("limit", limit, dtype)
        return jnp.broadcast_to(jnp.linspace(-limit, limit, fan_in, dtype=dtype)[:, None], (fan_in, vectors))

    return _permuted(columns, axes)


def levels(number: float, std: float | None = None, axes: Axes | None = None) -> Initializer:
    """Gives each weight vector a few evenly spaced values, each as often as the others, in random order.

    The values are symmetric around zero; two levels are one magnitude with both signs. Where the fan-in is no
    multiple of ``number``, how often they occur in a vector differs by one. A vector shorter than ``number`` has that
    many different levels, evenly spread, and other vectors have others: the levels are balanced over the kernel.

    Args:
      number: how many values, a whole number from 2 to 65,536.
      std: standard deviation of the levels, the same for all kernels; if None that of He's initialisation, the square
        root of 2 / fan-in.
      axes: axes of one weight vector; all but the last if None, as in Flax, which draws the kernels of attention as
        matrices.

    Returns:
      An initializer.

    Raises:
      TypeError: if an argument is not a real number.
      ValueError: if ``number`` is not whole or out of range, or ``std`` is not finite and greater than 0.

    Example:
      >>> import jax
      >>> from laperm_jax.initializers import levels
      >>> kernel = levels(2)(jax.random.key(0), (8, 3))
      >>> jax.numpy.sort(kernel, axis=0)[:, 0].tolist()
      [-0.5, -0.5, -0.5, -0.5, 0.5, 0.5, 0.5, 0.5]
      >>> query = levels(2, std=0.25, axes=(0,))(jax.random.key(0), (4, 2, 3))  # (in, heads, head size)
      >>> jax.numpy.sort(query, axis=0)[:, 1, 2].tolist()
      [-0.25, -0.25, 0.25, 0.25]
    """
    count = real("the number of levels", number, finite=False)
    if not (2 <= count <= MAX_LEVELS and count == int(count)):
        raise ValueError(f"the number of levels must be a whole number from 2 to {MAX_LEVELS:,}, not {count:g}")
    if std is not None:
        std = positive("std", std)

    def columns(key: jax.Array, fan_in: int, vectors: int, dtype: Any) -> jax.Array:
        chosen = _balanced(int(count), fan_in, vectors)
        values = (2 * np.arange(int(count)) - (count - 1)) / (count - 1)  # symmetric bit for bit, unlike linspace
        # He's variance is that of each vector, where it has all levels; a standard deviation is that of the levels.
        unit = values[chosen].std() if std is None and fan_in >= count else values.std()
        values = values / unit * ((2 / max(fan_in, 1)) ** 0.5 if std is None else std)
        check_in_range("a level of", values[-1], dtype)
        weights = jnp.asarray(values[chosen], dtype)
        if fan_in < count:
            weights = jax.random.permutation(jax.random.fold_in(key, 0), weights, axis=1)
        return jnp.broadcast_to(weights, (fan_in, vectors))

    return _permuted(columns, axes)


def _balanced(number: int, fan_in: int, vectors: int) -> np.ndarray:
    """Levels of each vector, ascending, int ``(fan_in, vectors)``, or ``(fan_in, 1)`` where all vectors have the same.

    A vector takes every ``number / fan_in``-th level; short vectors begin at offsets of their own, evenly spread.
    """
    if fan_in >= number:
        return np.arange(fan_in)[:, None] * number // fan_in
    offsets = 2 * np.arange(vectors) + 1  # in units of a step / (2 * vectors)
    return (2 * vectors * np.arange(fan_in)[:, None] + offsets) * number // (2 * vectors * max(fan_in, 1))


def symmetric_uniform(limit: float) -> Initializer:
    """Draws from the uniform distribution between ``-limit`` and ``limit``.

    Args:
      limit: the largest magnitude.

    Returns:
      An initializer.

    Raises:
      TypeError: if ``limit`` is not a real number.
      ValueError: if ``limit`` is not finite and greater than 0.

    Example:
      >>> import jax
      >>> from laperm_jax.initializers import symmetric_uniform
      >>> kernel = symmetric_uniform(2.0)(jax.random.key(0), (100, 100))
      >>> round(float(kernel.min()), 2), round(float(kernel.max()), 2)
      (-2.0, 2.0)
    """
    limit = positive("limit", limit)

    def init(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        check_in_range("limit", limit, dtype)
        return jax.random.uniform(key, shape, dtype, -limit, limit, out_sharding=out_sharding)

    return init


def _permuted(columns: ColumnsFn, axes: Axes | None) -> Initializer:
    """Makes an initializer that puts the values of each weight vector, given as columns, in random order."""

    def init(key: jax.Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        if not shape:
            raise ValueError("a scalar has no weight vectors; the shape needs at least one axis")
        own = tuple(range(len(shape) - 1)) if axes is None else canonical_axes(axes, len(shape))
        fan_in = math.prod(shape[axis] for axis in own)
        vectors = math.prod(size for axis, size in enumerate(shape) if axis not in own)
        values = columns(key, fan_in, vectors, dtype)
        kernel = from_columns(jax.random.permutation(key, values, independent=True), tuple(shape), own)
        return kernel if out_sharding is None else _sharded(kernel, out_sharding)

    return init


def _sharded(kernel: jax.Array, out_sharding: Any) -> jax.Array:
    """Shards an array; a mesh with explicit axes takes ``with_sharding_constraint`` for an assertion."""
    is_named = isinstance(out_sharding, jax.sharding.NamedSharding)
    mesh = out_sharding.mesh if is_named else jax.sharding.get_abstract_mesh()
    if jax.sharding.AxisType.Explicit in mesh.axis_types:
        return jax.sharding.reshard(kernel, out_sharding)
    return jax.lax.with_sharding_constraint(kernel, out_sharding)
