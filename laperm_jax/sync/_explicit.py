"""Meshes with explicit axes: ``shard_map`` over them, with whole vectors on each device."""

import math
from collections.abc import Callable

import jax
from jax.sharding import NamedSharding, PartitionSpec

from laperm_jax.sync._devices import explicit_axes
from laperm_jax.sync._vectors import Axes, output_axes

Spec = list[tuple[str, ...]]  # the mesh axes that shard each axis of an array


def over_shards(function: Callable[..., jax.Array], axes: Axes, *arrays: jax.Array) -> jax.Array:
    """Applies a function of arrays of one shape, whose result has that shape, to the vectors of each device.

    Arrays whose fan-in is sharded are resharded along output axes (all-to-all), and the result back. Mesh axes that
    divide no output axis are left out: each of their devices gets the vectors whole (all-gather).
    """
    first = next(array for array in arrays if explicit_axes(array))
    sharding, names = jax.typeof(first).sharding, explicit_axes(first)
    whole = PartitionSpec(*_whole_vectors(sharding, first.shape, axes))
    local = jax.shard_map(function, mesh=sharding.mesh, in_specs=whole, out_specs=whole, axis_names=names)
    moved = (jax.sharding.reshard(array, NamedSharding(sharding.mesh, whole)) for array in arrays)
    return jax.sharding.reshard(local(*moved), sharding)


def _whole_vectors(sharding: NamedSharding, shape: tuple[int, ...], axes: Axes) -> Spec:
    """Moves the mesh axes that shard the fan-in to output axes that they divide."""
    spec = [() if entry is None else entry if isinstance(entry, tuple) else (entry,) for entry in sharding.spec]
    moving = [name for axis in axes for name in spec[axis]]
    for axis in axes:
        spec[axis] = ()
    for name in moving:
        for axis in output_axes(axes, len(shape)):
            shards = math.prod(sharding.mesh.shape[other] for other in (*spec[axis], name))
            if shape[axis] % shards == 0:
                spec[axis] = (*spec[axis], name)
                break
    return spec
