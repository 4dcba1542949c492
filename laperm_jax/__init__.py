"""Train neural networks by reordering their random initial weights: LaPerm as an Optax gradient transformation."""

import importlib as _importlib
import typing as _typing
from importlib.metadata import version as _version

if _typing.TYPE_CHECKING:
    from laperm_jax import initializers as initializers
    from laperm_jax._schedules import at_steps as at_steps
    from laperm_jax._schedules import every as every
    from laperm_jax._schedules import growing as growing
    from laperm_jax._schedules import shrinking as shrinking
    from laperm_jax._schedules import with_learning_rate as with_learning_rate
    from laperm_jax._state import LaPermState as LaPermState
    from laperm_jax._transform import LaPerm as LaPerm
    from laperm_jax._transform import laperm as laperm
    from laperm_jax.rules._equinox import equinox_fan_in as equinox_fan_in
    from laperm_jax.rules._fan_in import all_fan_in as all_fan_in
    from laperm_jax.rules._fan_in import flax_fan_in as flax_fan_in
    from laperm_jax.rules._fan_in import matrix_fan_in as matrix_fan_in
    from laperm_jax.rules._fan_in import path_fan_in as path_fan_in
    from laperm_jax.rules._nnx import nnx_fan_in as nnx_fan_in
    from laperm_jax.rules._reset import norm_reset as norm_reset
    from laperm_jax.rules._tabulate import tabulate as tabulate
    from laperm_jax.sync._reconnect import reconnect as reconnect
    from laperm_jax.sync._reconnect import sort_vectors as sort_vectors

__version__ = _version("laperm-jax")

# Imported when first used: `laperm --help` answers before JAX is there.
_NAMES = {
    "rules._equinox": ("equinox_fan_in",),
    "rules._nnx": ("nnx_fan_in",),
    "rules._reset": ("norm_reset",),
    "rules._fan_in": ("all_fan_in", "flax_fan_in", "matrix_fan_in", "path_fan_in"),
    "_schedules": ("at_steps", "every", "growing", "shrinking", "with_learning_rate"),
    "_state": ("LaPermState",),
    "rules._tabulate": ("tabulate",),
    "_transform": ("LaPerm", "laperm"),
    "sync._reconnect": ("reconnect", "sort_vectors"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
_ROOMS = ("analysis", "codec", "initializers", "sync")


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return _importlib.import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(_importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, "initializers"})
