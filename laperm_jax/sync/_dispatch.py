"""Chooses the implementation of a sync; all of them give the same bits."""

import functools
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax.sync import _reference, _sharded, _xla_cpu, native
from laperm_jax.sync._vectors import Axes


def place(weights: jax.Array, sorted_init: jax.Array, token: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """Places the sorted initial values by the ranks of the weights: one sync of one parameter.

    Args:
      weights: current weights, floating-point.
      sorted_init: initial weights, every vector ascending, of the same shape and dtype.
      token: int32 scalar, 0. Given the token that an earlier call returned, this one runs after it, and both can use
        the same temporary memory.
      axes: axes of one vector, canonical.

    Returns:
      The new weights, and a token for a later call.
    """
    return _dispatch("place", axes, weights, sorted_init, token)


def sort(weights: jax.Array, token: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """Sorts every vector ascending; arguments and results as for :func:`place`."""
    return _dispatch("sort", axes, weights, token)


def implementation(dtype: jax.typing.DTypeLike = jnp.float32) -> str:
    """Name of the implementation that JAX's default devices use outside shard_map.

    Args:
      dtype: of the weights.

    Returns:
      ``"native"`` or ``"xla_cpu"`` on one CPU device, ``"reference"`` on one device of another kind, ``"sharded"`` on
      several. Why it is not the native one, ``laperm_jax.sync.native.status()`` says.

    Example:
      >>> from laperm_jax import sync
      >>> sync.implementation() in ("native", "xla_cpu", "reference", "sharded")
      True
    """
    if jax.device_count() > 1:
        return "sharded"
    module = _for_cpu(jnp.dtype(dtype), is_manual=False) if jax.default_backend() == "cpu" else _reference
    return module.__name__.rpartition(".")[-1].lstrip("_")


def _dispatch(operation: str, axes: Axes, *arrays: jax.Array) -> Any:
    bound = lambda module: _bound(module, operation, axes)
    mesh = jax.typeof(arrays[0]).sharding.mesh
    is_manual = not mesh.empty and mesh.are_all_axes_manual  # inside shard_map, where each device has its own arrays
    if not is_manual and jax.device_count() > 1:  # the devices a program is compiled for are unknown while it is traced
        return bound(_sharded)(*arrays)
    on_cpu = _for_cpu(arrays[0].dtype, is_manual) if arrays[0].size else _reference
    if on_cpu is _reference:
        return bound(_reference)(*arrays)
    return lax.platform_dependent(*arrays, cpu=bound(on_cpu), default=bound(_reference))


def _for_cpu(dtype: Any, is_manual: bool) -> ModuleType:
    if dtype.name in native.DTYPES and native.status() is None:
        return native
    if is_manual or dtype.itemsize == 8:  # no integer has room for 64 bits and a position
        return _reference
    return _xla_cpu


def _bound(implementation: ModuleType, operation: str, axes: Axes) -> functools.partial[Any]:
    return functools.partial(getattr(implementation, operation), axes=axes)
