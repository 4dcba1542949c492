"""LaPerm in NumPy, written to be read: the algorithm of the paper, one vector at a time, with no trick in it."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import ml_dtypes
import numpy as np

Axes = tuple[int, ...]


def vectors(array: np.ndarray, axes: Axes) -> Iterator[tuple[tuple, np.ndarray]]:
    """Yields the index of each weight vector in ``array`` and its values as one flat vector."""
    outputs = [(slice(None),) if axis in axes else range(size) for axis, size in enumerate(array.shape)]
    for position in np.ndindex(*(len(places) for places in outputs)):
        index = tuple(places[i] for places, i in zip(outputs, position, strict=True))
        yield index, array[index].ravel()


def ranks(vector: np.ndarray) -> np.ndarray:
    """Rank of every weight: how many are smaller, or equal (-0 is +0) and stand before it."""
    values = vector.astype(np.float64)  # every dtype tested converts exactly
    return np.array([np.sum(values < w) + np.sum(values[:i] == w) for i, w in enumerate(values)], dtype=int)


def in_order_of_rank(vector: np.ndarray) -> np.ndarray:
    """The values of the vector, smallest first."""
    result = np.empty_like(vector)
    result[ranks(vector)] = vector
    return result


def sort_vectors(weights: np.ndarray, axes: Axes) -> np.ndarray:
    result = np.array(weights)
    for index, vector in vectors(weights, axes):
        result[index] = in_order_of_rank(vector).reshape(result[index].shape)
    return result


def reconnect(weights: np.ndarray, initial: np.ndarray, axes: Axes) -> np.ndarray:
    """Replaces the weight of rank r in each finite vector of ``weights`` by the r-th smallest of ``initial``'s."""
    result = np.array(weights)
    for (index, vector), (_, initial_vector) in zip(vectors(weights, axes), vectors(initial, axes), strict=True):
        if np.isfinite(vector).all():
            result[index] = in_order_of_rank(initial_vector)[ranks(vector)].reshape(result[index].shape)
    return result


class Step(NamedTuple):
    """Weights after an update, the residual that is left, and the exact permutation."""

    weights: np.ndarray
    residual: np.ndarray
    reconnected: np.ndarray


def train(
    initial: np.ndarray, updates: list[np.ndarray], axes: Axes, sync_period: int, error_feedback: bool = False
) -> Iterator[Step]:
    """Yields what is there after each update, in exact assignment: no ``p + (t - p)``."""
    weights, residual = np.array(initial), np.zeros_like(initial)
    for number, update in enumerate(updates, start=1):
        weights = np.asarray(weights + update, initial.dtype)
        placed, left = sync(weights, residual, initial, axes)
        if number % sync_period == 0:
            weights, residual = placed, left if error_feedback else residual
        yield Step(weights, residual, placed)


def sync(weights: np.ndarray, residual: np.ndarray, initial: np.ndarray, axes: Axes) -> tuple[np.ndarray, np.ndarray]:
    """Places each vector by the ranks of weights plus residual, and keeps what that rounds off as the new residual.

    Sums beyond the range of the dtype become its largest number. A vector that is not finite keeps its weights and its
    residual; a residual that is not finite stays, and is not added.
    """
    weights, residual = np.array(weights), np.array(residual)
    largest = ml_dtypes.finfo(weights.dtype).max
    for index, vector in vectors(weights, axes):
        left = residual[index].ravel()
        if not np.isfinite(vector).all():
            continue
        total = np.clip(vector + left, -largest, largest) if np.isfinite(left).all() else vector
        placed = in_order_of_rank(initial[index].ravel())[ranks(total)]
        weights[index] = placed.reshape(weights[index].shape)
        if np.isfinite(left).all():
            residual[index] = np.clip(total - placed, -largest, largest).reshape(weights[index].shape)
    return weights, residual


def bits(array: np.ndarray) -> np.ndarray:
    """The bit patterns, so that -0 differs from +0 and NaN equals itself."""
    array = np.array(array)
    return array.view(f"u{array.dtype.itemsize}")


def is_permutation(array: np.ndarray, initial: np.ndarray, axes: Axes) -> bool:
    """Tells whether every vector holds, bit for bit, the values of the initial vector."""
    return all(
        np.array_equal(np.sort(bits(vector)), np.sort(bits(initial_vector)))
        for (_, vector), (_, initial_vector) in zip(vectors(array, axes), vectors(initial, axes), strict=True)
    )


def rounding_bound(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """One unit in the last place of the larger of |old| and |new|; nothing where the new value is zero."""
    larger = np.maximum(np.abs(old), np.abs(new))
    ulp = np.spacing(larger).astype(np.float64)
    return np.where(new == 0, 0.0, ulp)


def count_vectors(shape: tuple[int, ...], axes: Axes) -> int:
    return math.prod(size for axis, size in enumerate(shape) if axis not in axes)
