"""One sync in other libraries, for comparison. Each peer converts its inputs once and returns the function to time."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from laperm_jax.sync._vectors import Axes, weight_vectors

Problem = Sequence[tuple[np.ndarray, np.ndarray, Axes]]  # weights, sorted initial weights, axes of one vector
Peer = Callable[[int], Any]


def _as_rows(problem: Problem) -> list[tuple[np.ndarray, np.ndarray]]:
    """The weight vectors as contiguous rows: what each of the libraries sorts fastest."""
    rows = lambda array, axes: np.ascontiguousarray(weight_vectors(array, axes))
    return [(rows(weights, axes), rows(values, axes)) for weights, values, axes in problem]


def numpy(problem: Problem) -> Peer:
    """``argsort`` and ``put_along_axis``, on one thread."""
    arrays = _as_rows(problem)

    def sync(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        result = np.empty_like(values)
        np.put_along_axis(result, np.argsort(weights, axis=1), values, axis=1)
        return result

    return lambda turn: [sync(*pair) for pair in arrays]


def torch(problem: Problem) -> Peer:
    """``sort`` and ``scatter``, on the GPU if there is one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    arrays = [tuple(torch.from_numpy(array).to(device) for array in pair) for pair in _as_rows(problem)]

    def sync(turn: int) -> list[Any]:
        del turn
        result = [
            torch.empty_like(values).scatter_(1, torch.sort(weights, dim=1).indices, values)
            for weights, values in arrays
        ]
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    return sync


def tensorflow(problem: Problem) -> Peer:
    """The paper's formulation, two argsorts and a gather, as a compiled function."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    arrays = [tuple(tf.constant(array) for array in pair) for pair in _as_rows(problem)]

    def sync() -> Any:
        rank = lambda weights: tf.argsort(tf.argsort(weights, axis=1), axis=1)
        return [tf.gather(values, rank(weights), batch_dims=1) for weights, values in arrays]

    compiled = tf.function(sync)
    return lambda turn: [result.numpy() for result in compiled()]


def naive_jax(problem: Problem) -> Peer:
    """``argsort(argsort)`` and a gather."""
    arrays = [tuple(jnp.asarray(array) for array in pair) for pair in _as_rows(problem)]

    @jax.jit
    def sync(arrays: Any) -> Any:
        rank = lambda weights: jnp.argsort(jnp.argsort(weights, axis=1), axis=1)
        return [jnp.take_along_axis(values, rank(weights), axis=1) for weights, values in arrays]

    return lambda turn: sync(arrays)


PEERS: dict[str, Callable[[Problem], Peer]] = {
    "numpy": numpy,
    "torch": torch,
    "tensorflow": tensorflow,
    "naive_jax": naive_jax,
}
