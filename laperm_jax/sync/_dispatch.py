"""Chooses the implementation of a sync; all of them give the same bits."""

import functools
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax.sync import _reference, _sharded, _xla_cpu, native
from laperm_jax.sync._devices import explicit_axes, is_on_one_device
from laperm_jax.sync._explicit import over_shards
from laperm_jax.sync._vectors import Axes


def place(weights: jax.Array, sorted_init: jax.Array, axes: Axes) -> jax.Array:
    """Places the sorted initial values by the ranks of the weights: one sync of one parameter.

    Args:
      weights: current weights, floating-point.
      sorted_init: initial weights, every vector ascending, of the same shape and dtype.
      axes: axes of one vector, canonical.
    """
    return _dispatch("place", axes, weights, sorted_init)


def sort(weights: jax.Array, axes: Axes) -> jax.Array:
    """Sorts every vector ascending; arguments as for :func:`place`."""
    return _dispatch("sort", axes, weights)


def implementation(dtype: jax.typing.DTypeLike = jnp.float32) -> str:
    """Name of the implementation for arrays on JAX's default devices, outside ``shard_map``.

    Args:
      dtype: of the weights.

    Returns:
      ``"native"`` or ``"xla_cpu"`` on one CPU device, ``"reference"`` on one GPU, ``"sharded"`` on a TPU and on several
      devices. ``laperm_jax.sync.native.status()`` says why the native one is not used.

    Example:
      >>> from laperm_jax import sync
      >>> sync.implementation() in ("native", "xla_cpu", "reference", "sharded")
      True
    """
    if jax.device_count() > 1:
        return "sharded"
    choices = _on_one_device(jnp.dtype(dtype))
    return choices.get(jax.default_backend(), choices["default"]).__name__.rpartition(".")[-1].lstrip("_")


def _dispatch(operation: str, axes: Axes, *arrays: jax.Array) -> Any:
    if any(map(explicit_axes, arrays)):
        return over_shards(functools.partial(_dispatch, operation, axes), axes, *arrays)
    bound = lambda module: functools.partial(getattr(module, operation), axes=axes)
    if not all(map(is_on_one_device, arrays)):
        return bound(_sharded)(*arrays)
    if not arrays[0].size:
        return bound(_reference)(*arrays)
    choices = _on_one_device(arrays[0].dtype)
    return lax.platform_dependent(*arrays, **{platform: bound(module) for platform, module in choices.items()})


def _on_one_device(dtype: Any) -> dict[str, ModuleType]:
    """The implementation for each platform."""
    return {"cpu": _on_cpu(dtype), "tpu": _sharded, "default": _reference}


def _on_cpu(dtype: Any) -> ModuleType:
    if dtype.name in native.DTYPES and native.status() is None:
        return native
    return _reference if dtype.itemsize == 8 else _xla_cpu  # no integer has room for 64 bits and a position
