"""Reads Keras's HDF5 weight files, as the paper's authors released them, into the networks of the lab."""

import re
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
from flax import nnx

from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.models import classifiers
from laperm_jax.lab.models.classifiers import Shape
from laperm_jax.lab.runs.weights import Weights

Layers = dict[str, dict[str, Any]]  # name of a layer to its leaves by Flax's names: arrays, or their shapes

_FLAX_NAMES = {
    "kernel": "kernel",
    "bias": "bias",
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
}
_KINDS = {4: "convolution", 2: "dense"}  # by the rank of the kernel


def load(path: Path, model: str, image_shape: Shape) -> Weights:
    """Reads the weights of a network from a Keras file: of ``save_weights``, or of ``save`` with all of a model.

    A file lists layers by their depth, where the shortcut of a ResNet block appears among the layers beside it. So the
    layers of one kind are matched by the numbers that Keras gave them, from any first number on: that is the order in
    which they were made, here as there. A bias that the network does not have must be zero.

    Args:
      path: the HDF5 file.
      model: name of the network, one of ``classifiers.NAMES``.
      image_shape: ``(height, width, channels)``.

    Returns:
      Path of each parameter and BatchNorm statistic to its float32 array, in network order.

    Raises:
      ConfigError: if there is no such file, it is not a Keras weight file, or it holds another network.
      ValueError: if the network does not fit the images.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> import h5py
      >>> import numpy as np
      >>> from laperm_jax.lab.inspection import keras_weights
      >>> path = Path(tempfile.mkdtemp()) / "f1.h5"
      >>> with h5py.File(path, "w") as file:
      ...     file.attrs["layer_names"] = ["dense_3"]
      ...     file["dense_3/dense_3/kernel:0"] = np.ones((784, 10), np.float32)
      ...     file["dense_3"].attrs["weight_names"] = ["dense_3/kernel:0"]
      >>> keras_weights.load(path, "f1", (28, 28, 1))["output/kernel"].shape
      (784, 10)
    """
    layers, expected = _read(path), _expected_layers(model, image_shape)
    names, expected_names = _by_kind(layers), _by_kind(expected)
    if (found := _numbers(names)) != (needed := _numbers(expected_names)):
        raise ConfigError(f"{path} holds {found}, and {model} has {needed}; name the network of the file with --model")
    sources = {
        target: source
        for kind in expected_names
        for target, source in zip(expected_names[kind], _by_number(names[kind]), strict=True)
    }
    weights: Weights = {}
    for target, shapes in expected.items():
        source = {leaf: array for leaf, array in layers[sources[target]].items() if leaf in shapes or array.any()}
        if (found := _shapes(source)) != (needed := _shapes(shapes)):
            size = " x ".join(map(str, image_shape))
            raise ConfigError(
                f"{sources[target]} of {path} holds {found}, and {target} of {model} on images of {size} has {needed}; "
                "name network and dataset of the file with --model and --dataset"
            )
        weights |= {f"{target}/{leaf}": array for leaf, array in source.items()}
    return weights


def _read(path: Path) -> Layers:
    """The layers of a file that have weights, in its order."""
    if not path.is_file():
        raise ConfigError(f"there is no file {path}; name a Keras weight file (HDF5)")
    try:
        with h5py.File(path) as file:
            group = file.get("model_weights", file)
            layers = {name: _read_layer(path, group, name) for name in _names(path, group, "layer_names")}
    except (OSError, RuntimeError):  # h5py's own words are an HDF5 call stack
        raise ConfigError(f"{path} cannot be read as HDF5, or is damaged; name a Keras weight file") from None
    return {name: leaves for name, leaves in layers.items() if leaves}


def _read_layer(path: Path, group: h5py.Group, name: str) -> dict[str, np.ndarray]:
    leaves: dict[str, np.ndarray] = {}
    for weight in _names(path, group.get(name), "weight_names"):
        dataset, short_name = group.get(f"{name}/{weight}"), weight.split("/")[-1].split(":")[0]
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != "f":
            raise ConfigError(f"{path} lists {weight}, which is not in it as floats: it is damaged; download it again")
        leaf = _FLAX_NAMES.get(short_name)
        if leaf is None or leaf in leaves:
            raise ConfigError(
                f"layer {name} of {path} holds {weight}; the networks of the paper have layers with one each of kernel "
                "and bias, or of gamma, beta, moving_mean and moving_variance: name a file of one of them"
            )
        leaves[leaf] = np.asarray(dataset, np.float32)
    return leaves


def _names(path: Path, group: h5py.Group | None, attribute: str) -> list[str]:
    """Reads a list of names; Keras splits long ones into ``attribute0``, ``attribute1``, ..."""
    attributes = {} if group is None else group.attrs
    numbered = [key for key in attributes if re.fullmatch(rf"{attribute}\d+", key)]
    keys = [attribute] if attribute in attributes else sorted(numbered, key=lambda key: int(key[len(attribute) :]))
    if not keys:
        raise ConfigError(
            f"{path} has no {attribute}, so it is not a weight file of Keras 2 (model.save_weights('NAME.h5')); "
            "Keras 3's .weights.h5 and .keras have another layout: save it again in the old one"
        )
    return [name.decode() if isinstance(name, bytes) else str(name) for key in keys for name in attributes[key]]


def _expected_layers(model: str, image_shape: Shape) -> Layers:
    """The layers of a network that have weights, in the order in which they are made."""
    layers: Layers = {}

    def walk(module: nnx.Pytree, prefix: str = "") -> None:
        for name, child in vars(module).items():
            if isinstance(child, nnx.Conv | nnx.Linear | nnx.BatchNorm):
                leaves = leaves_by_path(nnx.state(child, (nnx.Param, nnx.BatchStat)))
                layers[prefix + name] = {leaf: jax.ShapeDtypeStruct(x.shape, x.dtype) for leaf, x in leaves.items()}
            elif isinstance(child, nnx.Pytree):
                walk(child, f"{prefix}{name}/")

    # Walked inside: NNX sorts the attributes of a module that comes out.
    nnx.eval_shape(lambda: walk(classifiers.build(model, image_shape, rngs=nnx.Rngs(0))))
    return layers


def _by_kind(layers: Layers) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {"convolution": [], "dense": [], "BatchNorm": [], "other": []}
    for name, leaves in layers.items():
        kind = _KINDS.get(len(leaves["kernel"].shape), "other") if "kernel" in leaves else "BatchNorm"
        names[kind].append(name)
    return names


def _numbers(names: dict[str, list[str]]) -> str:
    return ", ".join(f"{len(of_kind)} x {kind}" for kind, of_kind in names.items() if of_kind) or "no weights"


def _by_number(names: list[str]) -> list[str]:
    """Sorts ``conv2d, conv2d_10, conv2d_9`` by number; names that someone chose keep the order of the file."""
    stems = {name: name.rstrip("0123456789") for name in names}
    if len({stem.rstrip("_") for stem in stems.values()}) > 1:
        return names
    return sorted(names, key=lambda name: int(name.removeprefix(stems[name]) or 0))


def _shapes(leaves: dict[str, Any]) -> str:
    return ", ".join(f"{leaf} {leaves[leaf].shape}" for leaf in sorted(leaves)) or "nothing but zeros"
