"""Weights from anywhere, for `laperm profile`: a run's folder, packed networks, safetensors and Keras files."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import h5py
import numpy as np
import safetensors.flax
from safetensors import SafetensorError

from laperm_jax import codec, flax_fan_in, matrix_fan_in
from laperm_jax.lab.config.settings import ConfigError
from laperm_jax.lab.inspection import packing
from laperm_jax.lab.runs import run_folder
from laperm_jax.lab.runs.weights import Weights
from laperm_jax.sync._vectors import Axes

Outputs = Literal["auto", "first", "last"]


class Layers(NamedTuple):
    """Kernels to be looked at.

    Attributes:
      weights: path to float array.
      axes: path to the axes of one vector.
      initial: the weights before training, where they are known.
    """

    weights: Weights
    axes: dict[str, Axes]
    initial: Weights | None = None


def read(path: Path, outputs: Outputs = "auto") -> Layers:
    """Reads the kernels of a run's folder, of a packed network, or of a safetensors or HDF5 file.

    Args:
      path: the folder or file.
      outputs: which axis of a kernel numbers the output units: ``last`` as in Flax and Keras, ``first`` as in PyTorch;
        ``auto`` goes by names, those called ``weight`` have it first.

    Returns:
      All arrays of floats of rank 2 and more.

    Raises:
      ConfigError: if there is no such file, it cannot be read, or holds no kernel.
    """
    if path.is_dir():
        config = run_folder.read_config(path)
        layers = _kernels(run_folder.read_weights(path), flax_fan_in)
        recipes = packing.recipes(config)
        initial = {name: recipes[name].draw(array.shape, array.dtype) for name, array in layers.weights.items()}
        return layers._replace(initial=initial)
    if not path.is_file():
        raise ConfigError(f"there is no file {path}; name a run's folder, or a file of weights")
    readers: dict[str, Callable[[Path], Weights]] = {
        ".laperm": _read_packed,
        ".safetensors": _read_safetensors,
        **dict.fromkeys((".h5", ".hdf5", ".keras"), _read_hdf5),
    }
    if path.suffix not in readers:
        raise ConfigError(f"{path} is none of {', '.join(f'*{suffix}' for suffix in readers)}")
    try:
        weights = readers[path.suffix](path)
    except (OSError, RuntimeError, SafetensorError, codec.CodecError, KeyError) as error:
        raise ConfigError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    layers = _kernels(weights, {"auto": _by_name, "first": _outputs_first, "last": matrix_fan_in}[outputs])
    if not layers.weights:
        raise ConfigError(f"{path} holds no kernel: no array of floats has two axes or more")
    return layers


def _kernels(weights: Weights, rule: Callable[[str, np.ndarray], Axes | None]) -> Layers:
    axes = {
        path: fan_in
        for path, array in weights.items()
        if array.dtype.kind == "f" and array.ndim >= 2 and array.size and (fan_in := rule(path, array)) is not None
    }
    return Layers({path: weights[path] for path in axes}, axes)


def _by_name(path: str, array: np.ndarray) -> Axes | None:
    name = path.replace(".", "/").split("/")[-1].split(":")[0]
    if name == "weight":
        return _outputs_first(path, array)
    return flax_fan_in(path.replace(".", "/"), array) or matrix_fan_in(path, array)


def _outputs_first(path: str, array: np.ndarray) -> Axes | None:
    del path
    return tuple(range(1, array.ndim))


def _read_packed(path: Path) -> Weights:
    return codec.unpack(path.read_bytes())


def _read_safetensors(path: Path) -> Weights:
    """Through JAX, which has bfloat16; what has fewer bits than float32 is made that."""
    arrays = {name: np.asarray(array) for name, array in safetensors.flax.load_file(path).items()}
    return {name: array if array.dtype.kind in "iub" else array.astype(np.float32) for name, array in arrays.items()}


def _read_hdf5(path: Path) -> Weights:
    weights: Weights = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset) and node.dtype.kind == "f":
            weights[name.removesuffix(":0")] = np.asarray(node)

    with h5py.File(path) as file:
        file.get("model_weights", file).visititems(visit)
    return weights
