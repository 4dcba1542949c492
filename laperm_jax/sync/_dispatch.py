"""Chooses the implementation of a sync; all of them give the same bits."""

import functools
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from laperm_jax.sync import _reference, _sharded, _tpu, _xla_cpu, native
from laperm_jax.sync._devices import explicit_axes, has_mesh, is_on_one_device
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
    """Name of the implementation for arrays on all of JAX's default devices, outside ``shard_map``.

    Arrays on one of several devices, and those inside ``shard_map``, take what a process with one device takes.

    Args:
      dtype: of the weights.

    Returns:
      ``"native"`` or ``"xla_cpu"`` on one CPU device, ``"reference"`` on one GPU, ``"tpu"`` on one TPU; on several
      devices ``"sharded"``. ``laperm_jax.sync.native.status()`` says why the native one is not used.

    Example:
      >>> from laperm_jax import sync
      >>> sync.implementation() in ("native", "xla_cpu", "reference", "tpu", "sharded")
      True
    """
    if jax.device_count() > 1:
        return "sharded"
    choices = _on_one_device(jnp.dtype(dtype))
    return choices.get(jax.default_backend(), choices["default"]).__name__.rpartition(".")[-1].lstrip("_")


def _dispatch(operation: str, axes: Axes, *arrays: jax.Array) -> Any:
    if any(map(explicit_axes, arrays)):
        return over_shards(functools.partial(_dispatch, operation, axes), axes, *arrays)
    if any(map(has_mesh, arrays)):
        return _run(operation, axes, all(map(is_on_one_device, arrays)), *arrays)
    return _sync_p.bind(*map(lax.stop_gradient, arrays), operation=operation, axes=axes)


def _run(operation: str, axes: Axes, one_device: bool, *arrays: jax.Array) -> Any:
    """Runs an operation of the implementation for one device, or of that for several."""
    bound = lambda module: functools.partial(getattr(module, operation), axes=axes)
    if not one_device:
        return bound(_sharded)(*arrays)
    if not arrays[0].size:
        return bound(_reference)(*arrays)
    choices = _on_one_device(arrays[0].dtype)
    return lax.platform_dependent(*arrays, **{platform: bound(module) for platform, module in choices.items()})


def _on_one_device(dtype: Any) -> dict[str, ModuleType]:
    """The implementation for each platform."""
    return {"cpu": _on_cpu(dtype), "tpu": _tpu, "default": _reference}


def _on_cpu(dtype: Any) -> ModuleType:
    if dtype.name in native.DTYPES and native.status() is None:
        return native
    return _reference if dtype.itemsize == 8 else _xla_cpu  # no integer has room for 64 bits and a position


# How many devices a program has is known when it is lowered, and not while its functions are traced.
_sync_p = Primitive("laperm_sync")


def _impl(*arrays: jax.Array, operation: str, axes: Axes) -> Any:
    return _run(operation, axes, all(len(array.devices()) == 1 for array in arrays), *arrays)


def _abstract_eval(weights: Any, *_: Any, operation: str, axes: Axes) -> Any:
    return weights


def _lower(ctx: mlir.LoweringRuleContext, *operands: Any, operation: str, axes: Axes) -> Any:
    one_device = getattr(ctx.module_context.axis_context, "num_devices", None) == 1
    function = functools.partial(_run, operation, axes, one_device)
    return mlir.lower_fun(function, multiple_results=False)(ctx, *operands)


def _batch(arrays: Any, dims: Any, *, operation: str, axes: Axes) -> tuple[jax.Array, int]:
    """The mapped axis becomes the first of the output axes."""
    size = next(array.shape[dim] for array, dim in zip(arrays, dims, strict=True) if dim is not None)
    moved = [
        jnp.broadcast_to(array, (size, *array.shape)) if dim is None else jnp.moveaxis(array, dim, 0)
        for array, dim in zip(arrays, dims, strict=True)
    ]
    return _sync_p.bind(*moved, operation=operation, axes=tuple(axis + 1 for axis in axes)), 0


_sync_p.def_impl(_impl)
_sync_p.def_abstract_eval(_abstract_eval)
mlir.register_lowering(_sync_p, _lower)
batching.primitive_batchers[_sync_p] = _batch
