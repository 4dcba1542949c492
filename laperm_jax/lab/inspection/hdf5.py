"""Reads the layers of HDF5 files: those of Keras 2 and Keras 3, ``.keras`` archives, and of any other library."""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import h5py
import jax.numpy as jnp
import numpy as np

from laperm_jax.lab.inspection.layouts import no_layer

MAX_BYTES = 2**30  # of arrays that a file only declares, or compresses: a short file can name a long array
_ARCHIVED = "model.weights.h5"  # in a .keras archive
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies", "vars")  # of Keras 3, say nothing about a layer
_RECURRENT, _DENSE = ("kernel", "recurrent_kernel", "bias"), ("kernel", "bias")
_VARIABLES = {  # Keras 3 numbers the variables of a layer; these are their names, by the kind of layer
    r".*separable_conv\dd.*": ("depthwise_kernel", "pointwise_kernel", "bias"),
    r".*depthwise_conv\dd.*": ("depthwise_kernel", "bias"),
    r".*(lstm|gru|rnn|cell).*": _RECURRENT,
    r".*embedding.*": ("embeddings",),
    r".*normalization.*": ("gamma", "beta", "moving_mean", "moving_variance"),
    r".*(conv|dense|linear).*": _DENSE,
}


class Variable(NamedTuple):
    """An array of a file.

    Attributes:
      path: its layers' names and its own.
      array: of any dtype; None if it is not stored in the file.
      layer: kind of its layer in snake case, as ``conv2d_transpose``, where the file tells.
    """

    path: str
    array: np.ndarray | None
    layer: str | None = None


def read(path: Path) -> list[Variable]:
    """Reads all arrays of an HDF5 file or of a ``.keras`` archive.

    Nothing is unpickled, no code of the file is run, and no other file is opened that it may point to.

    Raises:
      ValueError: for what is neither, holds no HDF5 file of weights, or declares much more than it stores.
      OSError, RuntimeError, KeyError: as h5py does, for a damaged file.
    """
    if path.suffix == ".keras" and not h5py.is_hdf5(path):
        source: Path | IO[bytes] = _unzipped(path)
    else:
        source = path
    with h5py.File(source, "r") as file:
        return list(_variables(file, max(MAX_BYTES, path.stat().st_size)))


def _unzipped(path: Path) -> IO[bytes]:
    """The weights of a ``.keras`` archive, which are an HDF5 file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if _ARCHIVED not in names:
                pickled = "pickled weights, which may run code; " if "model.weights.npz" in names else ""
                raise ValueError(
                    f"it holds {pickled}no {_ARCHIVED}: save the model with Keras's default weights_format"
                )
            if (size := archive.getinfo(_ARCHIVED).file_size) > max(MAX_BYTES, path.stat().st_size):
                raise ValueError(f"its {_ARCHIVED} of {size:,} bytes is compressed; unzip it, and name that file")
            return io.BytesIO(archive.read(_ARCHIVED))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"not a Keras archive, or damaged ({error})") from error


def _variables(file: h5py.File, limit: int) -> Iterator[Variable]:
    root = file.get("model_weights", file)  # beside it, a model that Keras 2 has saved whole has optimizer_weights
    kinds = _layer_kinds(file.attrs.get("model_config"))
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = node

    root.visititems(visit)  # follows neither soft nor external links
    declared = sum(dataset.nbytes for dataset in found.values())
    if declared > limit:
        raise ValueError(f"its arrays take {declared:,} bytes, and it stores less; the most that is read is {limit:,}")
    names = {name: _keras_name(name, dataset) for name, dataset in found.items()}
    shortened = [short for short, _ in names.values()]
    for name, dataset in found.items():
        short, kind = names[name]
        here = not (dataset.is_virtual or dataset.external)
        yield Variable(
            short if shortened.count(short) == 1 else name,
            _as_array(dataset) if here else None,
            kind or next((kinds[part] for part in name.split("/") if part in kinds), None),
        )


def _keras_name(name: str, dataset: h5py.Dataset) -> tuple[str, str | None]:
    """The name of an array, and the kind of its layer, where Keras 3 has numbered it: ``dense/kernel``, ``dense``."""
    *parts, number = name.replace("\\", "/").removesuffix(":0").split("/")
    if not (parts and parts[-1] == "vars" and number.isdigit()) or no_layer(name):
        return "/".join((*parts, number)), None
    layers = [part for part in parts if part not in _CONTAINERS] or ["model"]
    given = dataset.parent.attrs.get("name", "")  # what the user called it, or its kind and a number
    for kind in (layers[-1], given.decode() if isinstance(given, bytes) else str(given)):
        for pattern, variables in _VARIABLES.items():
            if re.fullmatch(pattern, kind) and int(number) < len(variables):
                return "/".join((*layers, variables[int(number)])), kind
    is_dense = int(number) < 2 and dataset.ndim == 2 - int(number)  # (in, out), or (out,) after it
    return "/".join((*layers, _DENSE[int(number)] if is_dense else number)), None


def _layer_kinds(config: Any) -> dict[str, str]:
    """Name of each layer to its kind, from the architecture that Keras 2 stores beside the weights of a whole model."""
    kinds: dict[str, str] = {}

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            name = node["config"].get("name") if isinstance(node.get("config"), dict) else None
            if isinstance(name, str) and isinstance(node.get("class_name"), str):
                kinds[name] = _snake_case(node["class_name"])
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(child)

    try:
        walk(json.loads(config) if config else None)
    except (ValueError, TypeError, RecursionError):  # the names of layers will do
        return {}
    return kinds


def _snake_case(name: str) -> str:
    """Like Keras: ``Conv2DTranspose`` is ``conv2d_transpose``."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def _as_array(dataset: h5py.Dataset) -> np.ndarray:
    """The values; Keras stores a bfloat16, which HDF5 has not, as two bytes and its name."""
    array = np.asarray(dataset)
    named = dataset.attrs.get("dtype", "")
    named = named.decode() if isinstance(named, bytes) else str(named)
    if array.dtype.kind == "V" and named and (dtype := getattr(jnp, named, None)) is not None:
        return array.view(jnp.dtype(dtype))
    return array
