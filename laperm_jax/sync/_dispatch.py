"""Chooses the implementation of a sync; all of them give the same bits."""

import functools
from types import ModuleType
from typing import Any

import jax
from jax import lax

from laperm_jax.sync import _reference, _sharded, _xla_cpu
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


def _dispatch(operation: str, axes: Axes, *arrays: jax.Array) -> Any:
    bound = lambda module: _bound(module, operation, axes)
    mesh = jax.typeof(arrays[0]).sharding.mesh
    if not mesh.empty and mesh.are_all_axes_manual:  # inside shard_map, where each device has arrays of its own
        return bound(_reference)(*arrays)
    if jax.device_count() > 1:  # the devices that a program is compiled for are unknown while it is traced
        return bound(_sharded)(*arrays)
    if arrays[0].dtype.itemsize == 8 or not arrays[0].size:  # no integer has room for 64 bits and a position
        return bound(_reference)(*arrays)
    return lax.platform_dependent(*arrays, cpu=bound(_xla_cpu), default=bound(_reference))


def _bound(implementation: ModuleType, operation: str, axes: Axes) -> functools.partial[Any]:
    return functools.partial(getattr(implementation, operation), axes=axes)
