"""The native kernel as JAX functions, with the signatures of the other implementations."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from laperm_jax.sync import _reference
from laperm_jax.sync._vectors import Axes


def place(weights: jax.Array, sorted_init: jax.Array, axes: Axes) -> jax.Array:
    """Places the sorted initial values by the ranks of the weights, in place where their buffer is free."""
    return _place(axes, weights, sorted_init)


def sort(weights: jax.Array, axes: Axes) -> jax.Array:
    """Sorts every vector ascending."""
    return _sort(axes, weights)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _place(axes: Axes, weights: jax.Array, sorted_init: jax.Array) -> jax.Array:
    return _call("laperm_place", axes, weights, sorted_init, input_output_aliases={0: 0})


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _sort(axes: Axes, weights: jax.Array) -> jax.Array:
    return _call("laperm_sort", axes, weights)


@_place.defjvp
def _place_jvp(axes: Axes, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    reference = functools.partial(_reference.place, axes=axes)
    return _place(axes, *primals), jax.jvp(reference, primals, tangents)[1]


@_sort.defjvp
def _sort_jvp(axes: Axes, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    reference = functools.partial(_reference.sort, axes=axes)
    return _sort(axes, *primals), jax.jvp(reference, primals, tangents)[1]


def _call(target: str, axes: Axes, *arrays: jax.Array, **options: Any) -> jax.Array:
    """Calls a target on arrays ``(..., *fan_in, *inner)``; XLA transposes others around the call."""
    first, last = (axes[0], axes[-1]) if axes else (0, -1)
    if last - first + 1 != len(axes):  # not adjacent
        moved = [jnp.moveaxis(array, axes, range(len(axes))) for array in arrays]
        return jnp.moveaxis(_call(target, tuple(range(len(axes))), *moved, **options), range(len(axes)), axes)
    shape = arrays[0].shape
    sizes = {"fan_in": math.prod(shape[first : last + 1]), "inner": math.prod(shape[last + 1 :])}
    # Not shape and dtype alone: inside shard_map the type says over which mesh axes any of the arrays varies.
    result_type = jax.eval_shape(lambda *arrays: sum(arrays), *arrays)
    call = jax.ffi.ffi_call(target, result_type, vmap_method="broadcast_all", **options)
    return call(*arrays, **{name: np.int64(size) for name, size in sizes.items()})
