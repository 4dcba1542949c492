"""A table of what a rule treats."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from laperm_jax._paths import PyTree, is_array, leaves_by_path, optional_types
from laperm_jax.rules._fan_in import FanInRule, matrix_fan_in, vector_axes
from laperm_jax.rules._reset import ResetRule
from laperm_jax.rules._reset import reset_values as resolve_reset_values
from laperm_jax.sync._vectors import Axes


def tabulate(
    params: PyTree,
    fan_in_axes: FanInRule | Mapping[str, Axes] | None = None,
    reset_values: ResetRule | Mapping[str, float] | None = None,
) -> str:
    """Shows what a sync does to each parameter, as plain text.

    Args:
      params: parameter tree, or the shapes of one (``jax.ShapeDtypeStruct``); an ``nnx.Module`` means its
        ``nnx.Param`` leaves, and what is not an array in an Equinox module is skipped.
      fan_in_axes: as for :func:`laperm_jax.laperm`.
      reset_values: as for :func:`laperm_jax.laperm`.

    Returns:
      A table with a line for each leaf: its path, its shape, the axes of one weight vector, the number of vectors and
      their length, and whether a sync has it reordered, reset or left to the inner optimizer.

    Raises:
      TypeError: as ``init`` of :func:`laperm_jax.laperm`.
      ValueError: as ``init`` of :func:`laperm_jax.laperm`.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax import flax_fan_in, norm_reset, tabulate
      >>> dense = {"kernel": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}
      >>> params = {"dense": dense, "norm": {"scale": jnp.ones(10)}}
      >>> print(tabulate(params, flax_fan_in, norm_reset(params)))
      path          shape     axes  vectors x length  at a sync
      dense/bias    (10,)                             left to inner
      dense/kernel  (64, 10)  (0,)  10 x 64           reordered
      norm/scale    (10,)                             reset to 1.0
      total: 660 values, 640 reordered in 10 vectors, 10 reset, 10 left to inner
    """
    params = _arrays(params)
    leaves = leaves_by_path(params)
    resets = resolve_reset_values(reset_values, params)
    axes = vector_axes(matrix_fan_in if fan_in_axes is None else fan_in_axes, params)
    axes = {path: axes[path] for path in axes if path not in resets}
    vectors = {path: _vectors_and_length(jnp.shape(leaves[path]), axes[path]) for path in axes}

    def row(path: str) -> tuple[str, ...]:
        shape = str(jnp.shape(leaves[path]))
        if path in axes:
            return path, shape, str(axes[path]), "{:,} x {:,}".format(*vectors[path]), "reordered"
        return path, shape, "", "", f"reset to {resets[path]}" if path in resets else "left to inner"

    def values(paths: Collection[str]) -> int:
        return sum(math.prod(jnp.shape(leaves[path])) for path in paths)

    number = sum(number for number, _ in vectors.values())
    others = leaves.keys() - axes.keys() - resets.keys()
    total = f"total: {values(leaves):,} values, {values(axes):,} reordered in {number:,} vectors, "
    total += f"{values(resets):,} reset, {values(others):,} left to inner"
    rows = [("path", "shape", "axes", "vectors x length", "at a sync"), *map(row, leaves)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) for cells in rows]
    return "\n".join([*(line.rstrip() for line in lines), total])


def _arrays(params: Any) -> Any:
    """Replaces a module by its parameters."""
    if isinstance(params, optional_types("flax.nnx", "Module")):
        from flax import nnx

        return nnx.state(params, nnx.Param)
    if isinstance(params, optional_types("equinox", "Module")):
        return jax.tree.map(lambda leaf: leaf if is_array(leaf) else None, params)
    return params


def _vectors_and_length(shape: tuple[int, ...], axes: Axes) -> tuple[int, int]:
    length = math.prod(shape[axis] for axis in axes)
    return math.prod(size for axis, size in enumerate(shape) if axis not in axes), length
