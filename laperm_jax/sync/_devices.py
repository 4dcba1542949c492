"""Devices and mesh axes of an array, by its type."""

import jax
from jax.sharding import AxisType


def explicit_axes(array: jax.Array) -> set[str]:
    """Names of the explicit mesh axes that shard an array; inside ``vmap`` not those that shard the mapped axis."""
    used = set(jax.tree.leaves(tuple(jax.typeof(array).sharding.spec)))
    return {name for name, kind in _axis_types(array) if kind is AxisType.Explicit and name in used}


def has_mesh(array: jax.Array) -> bool:
    """Tells whether the type of an array names a mesh, as inside ``shard_map`` and where axes are explicit."""
    return not jax.typeof(array).sharding.mesh.empty


def is_on_one_device(array: jax.Array) -> bool:
    """Tells whether each device has an array of its own, as inside ``shard_map``, or there is but one.

    Without a mesh in the type of an array, a program may be compiled for as many devices as the process has.
    """
    mesh = jax.typeof(array).sharding.mesh
    if mesh.empty:
        return jax.device_count() == 1
    return all(kind is AxisType.Manual or mesh.shape[name] == 1 for name, kind in _axis_types(array))


def _axis_types(array: jax.Array) -> list[tuple[str, AxisType]]:
    mesh = jax.typeof(array).sharding.mesh
    return list(zip(mesh.axis_names, mesh.axis_types, strict=True))
