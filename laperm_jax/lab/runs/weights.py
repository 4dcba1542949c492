"""Weights as flat dicts from path to NumPy array: exactness, fingerprint, and file."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as save_bytes

from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.config import ConfigError
from laperm_jax.sync._vectors import Axes, weight_vectors

Weights = dict[str, np.ndarray]

FILE = "weights.safetensors"  # in the folder of a run


def to_numpy(tree: Any) -> Weights:
    """Copies a tree of arrays to the host, as ``{path: array}``."""
    return {path: np.array(leaf) for path, leaf in leaves_by_path(tree).items()}


def count_exact_vectors(initial: Weights, final: Weights, axes: Mapping[str, Axes]) -> tuple[int, int]:
    """Counts the weight vectors that are, bit for bit, permutations of their initial values.

    It shares no code with the transform: it sorts bit patterns in NumPy.

    Args:
      initial: weights before training.
      final: weights after training.
      axes: path of each reordered parameter to the axes of one weight vector.

    Returns:
      Number of exact vectors, and number of all vectors.

    Example:
      >>> import numpy as np
      >>> from laperm_jax.lab.runs.weights import count_exact_vectors
      >>> before = {"kernel": np.array([[1.0, 2.0], [3.0, 4.0]])}
      >>> after = {"kernel": np.array([[3.0, 2.0], [1.0, 4.5]])}
      >>> count_exact_vectors(before, after, {"kernel": (0,)})
      (1, 2)
    """
    exact = total = 0
    for path, fan_in in axes.items():
        same = (_sorted_bits(initial[path], fan_in) == _sorted_bits(final[path], fan_in)).all(axis=1)
        exact += int(same.sum())
        total += len(same)
    return exact, total


def _sorted_bits(array: np.ndarray, axes: Axes) -> np.ndarray:
    return np.sort(weight_vectors(array, axes).view(f"u{array.itemsize}"), axis=1)


def fingerprint(weights: Weights) -> str:
    """SHA-256 of paths, dtypes, shapes and bytes, in the order of the paths."""
    digest = hashlib.sha256()
    for path, array in sorted(weights.items()):
        digest.update(f"{path} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def to_bytes(weights: Weights) -> bytes:
    """A safetensors file."""
    return save_bytes({name: np.ascontiguousarray(array) for name, array in weights.items()})


def save(path: Path, weights: Weights) -> None:
    """Writes a safetensors file."""
    path.write_bytes(to_bytes(weights))


def load(path: Path) -> Weights:
    """Reads a safetensors file.

    Raises:
      ConfigError: if it cannot be read.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path} cannot be read as safetensors: {error}") from error
