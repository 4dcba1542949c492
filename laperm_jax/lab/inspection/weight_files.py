"""Weights from anywhere, for `laperm profile`: a run's folder, packed networks, safetensors, HDF5 and Keras files."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors import SafetensorError

from laperm_jax import codec, flax_fan_in, matrix_fan_in
from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.inspection import hdf5, layouts, packing
from laperm_jax.lab.inspection.hdf5 import Variable
from laperm_jax.lab.runs import run_folder
from laperm_jax.lab.runs.weights import Weights
from laperm_jax.sync._vectors import Axes

Outputs = Literal["auto", "first", "last"]

_SAFETENSORS_DTYPES = {
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "BF16": "bfloat16",
    "C64": "complex64",
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}


class Layers(NamedTuple):
    """The kernels of a network.

    Attributes:
      weights: path to float array.
      axes: path to the axes of one vector.
      initial: the weights before training; None if unknown, and without the kernels of ``--free``.
      left_out: path of each array of rank 2 and more that has no profile, to the reason.
    """

    weights: Weights
    axes: dict[str, Axes]
    initial: Weights | None = None
    left_out: dict[str, str] = {}  # noqa: RUF012  # never changed


def read(path: Path, outputs: Outputs = "auto") -> Layers:
    """Reads the kernels of a run's folder, of a packed network, or of a safetensors, HDF5 or Keras file.

    Numbers of fewer bits than float32 become that, exactly.

    Args:
      path: the folder or file.
      outputs: which axis of a kernel numbers the output units: ``last`` as in Flax and Keras, ``first`` as in PyTorch;
        ``auto`` goes by names (:func:`laperm_jax.lab.inspection.layouts.fan_in`).

    Returns:
      All kernels, and what else has rank 2 or more.

    Raises:
      ConfigError: if there is no such file, it cannot be read, or holds no kernel.
    """
    if path.is_dir():
        return _read_run(path)
    if not path.is_file():
        raise ConfigError(f"there is no file {path}; name a run's folder, or a file of weights")
    readers: dict[str, Callable[[Path], Iterable[Variable]]] = {
        ".laperm": _read_packed,
        ".safetensors": _read_safetensors,
        **dict.fromkeys((".h5", ".hdf5", ".keras"), hdf5.read),
    }
    if path.suffix not in readers:
        raise ConfigError(f"{path} is not one of {', '.join(f'*{suffix}' for suffix in readers)}")
    try:
        variables = readers[path.suffix](path)
        layers = _kernels(variables, outputs)
    except MemoryError:
        raise ConfigError(f"{path} cannot be read: its arrays do not fit in memory") from None
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    if not layers.weights:
        others = dict.fromkeys(layers.left_out.values())
        why = f"; it holds {', '.join(others)}" if others else ": no array of floats has two axes or more"
        raise ConfigError(f"{path} holds no kernel{why}")
    return layers


def _read_run(path: Path) -> Layers:
    config, weights = run_folder.read_config(path), run_folder.read_weights(path)
    axes = {name: rule for name, array in weights.items() if (rule := flax_fan_in(name, array)) is not None}
    recipes = packing.recipes(config)
    drawn = [name for name in axes if name in recipes]  # all but those of --free
    initial = {name: recipes[name].draw(weights[name].shape, weights[name].dtype) for name in drawn}
    return Layers({name: weights[name] for name in axes}, axes, initial)


def _kernels(variables: Iterable[Variable], outputs: Outputs) -> Layers:
    weights: Weights = {}
    axes: dict[str, Axes] = {}
    left_out = {}
    for path, array, layer in variables:
        if array is None:
            left_out[path] = "arrays of other files"
        elif array.ndim < 2 or not array.size:
            continue
        elif reason := layouts.no_layer(path) or _no_floats(array):
            left_out[path] = reason
        elif (fan_in := _axes(path, array, layer, outputs)) is not None:
            weights[path], axes[path] = _at_least_float32(array), fan_in
    return Layers(weights, axes, left_out=left_out)


def _axes(path: str, array: np.ndarray, layer: str | None, outputs: Outputs) -> Axes | None:
    match outputs:
        case "first":
            return layouts.outputs_first(path, array)
        case "last":
            return matrix_fan_in(path, array)
        case "auto":
            return layouts.fan_in(path, array, layer)


def _no_floats(array: np.ndarray) -> str | None:
    """Why an array has no profile: complex numbers have no order, and integers encode other numbers."""
    if jnp.issubdtype(array.dtype, np.floating):
        return None
    return "complex numbers" if array.dtype.kind == "c" else f"numbers of type {array.dtype}"


def _at_least_float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.promote_types(array.dtype.newbyteorder("="), np.float32), copy=False)


def _read_packed(path: Path) -> Iterable[Variable]:
    return [Variable(name, array) for name, array in codec.unpack(path.read_bytes()).items()]


def _read_safetensors(path: Path) -> Iterable[Variable]:
    """Through bytes: safetensors' own readers for NumPy and JAX know neither bfloat16 nor float8."""
    for name, tensor in sorted(safetensors.deserialize(path.read_bytes()), key=lambda item: item[0]):  # it has no order
        dtype = _SAFETENSORS_DTYPES.get(tensor["dtype"])
        if dtype is None:
            raise ValueError(f"{name} holds numbers of type {tensor['dtype']}, which NumPy has not")
        yield Variable(name, np.frombuffer(tensor["data"], jnp.dtype(dtype)).reshape(tensor["shape"]))
