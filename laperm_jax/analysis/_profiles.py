"""Weight profiles: the sorted weight vectors of a layer, their similarity (SoWP), and the distribution they follow."""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from laperm_jax._paths import PyTree, leaves_by_path
from laperm_jax.rules._fan_in import FanInRule, matrix_fan_in, vector_axes
from laperm_jax.sync._vectors import Axes, weight_vectors

_CHUNK = 2**20  # weights converted to float64 at once
_SIMULATED = 64  # vectors that the expected similarity is estimated from


class Profile(NamedTuple):
    """The weight vectors of one layer, sorted.

    Attributes:
      vectors: their number.
      fan_in: their length.
      mean: mean of the sorted vectors, float64 ``(fan_in,)``.
      std: standard deviation within a vector, root mean square over the vectors.
      similarity: similarity of weight profiles, see :func:`profile_similarity`.
      expected_similarity: similarity of as many i.i.d. normal vectors of the same length.
      normal_distance: 2-Wasserstein distance of a vector's values from a normal distribution with the vector's mean
        and standard deviation, in units of the latter; root mean square over the vectors that are not constant, NaN if
        all are.
      uniform_distance: the same from a uniform distribution.
    """

    vectors: int
    fan_in: int
    mean: np.ndarray
    std: float
    similarity: float
    expected_similarity: float
    normal_distance: float
    uniform_distance: float


def weight_profiles(params: PyTree, fan_in_axes: FanInRule | Mapping[str, Axes] = matrix_fan_in) -> dict[str, Profile]:
    """Computes the weight profile of every layer.

    Args:
      params: a tree of arrays.
      fan_in_axes: which axes form a weight vector, as in :func:`laperm_jax.laperm`.

    Returns:
      Path of each leaf that has weight vectors, to their profile.

    Raises:
      TypeError, ValueError: for axes that do not fit their leaf.

    Example:
      >>> import jax
      >>> from laperm_jax.analysis import weight_profiles
      >>> kernel = jax.nn.initializers.he_uniform()(jax.random.key(0), (400, 30))
      >>> profile = weight_profiles({"kernel": kernel})["kernel"]
      >>> profile.vectors, profile.fan_in, profile.uniform_distance < profile.normal_distance
      (30, 400, True)
    """
    leaves = leaves_by_path(params)
    return {
        path: weight_profile(weight_vectors(np.asarray(leaves[path]), axes))
        for path, axes in vector_axes(fan_in_axes, params).items()
    }


def weight_profile(vectors: np.ndarray) -> Profile:
    """Computes the weight profile of one layer.

    Args:
      vectors: its weight vectors, floating-point and finite, ``(vectors, fan_in)``.

    Returns:
      The profile: NumPy values, computed in float64.

    Raises:
      ValueError: if they are not two-dimensional and finite, or there are none.

    Example:
      >>> import numpy as np
      >>> from laperm_jax.analysis import weight_profile
      >>> weight_profile(np.array([[3.0, 1.0, 2.0], [20.0, 30.0, 10.0]])).mean.tolist()
      [5.5, 11.0, 16.5]
    """
    if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
        raise ValueError(f"vectors must be finite, of shape (vectors, fan_in), and have shape {vectors.shape}")
    number, fan_in = vectors.shape
    ascending = np.sort(vectors, axis=1)
    mean = ascending.mean(axis=0, dtype=np.float64)
    shapes = np.stack([mean - mean.mean(), normal_quantiles(fan_in), _uniform_quantiles(fan_in)], axis=1)
    squares, products = np.empty(number), np.empty((number, 3))
    for rows, centred in _centred(ascending):
        squares[rows], products[rows] = np.sum(centred**2, axis=1), centred @ shapes
    std = np.sqrt(squares / fan_in)
    varied = std > 0
    distances = [
        np.sqrt(np.mean(np.maximum(0, 1 + np.mean(shape**2) - 2 * product / fan_in / std[varied])))
        if varied.any()
        else math.nan
        for shape, product in zip(shapes.T[1:], products[varied].T[1:], strict=True)
    ]
    return Profile(
        number,
        fan_in,
        mean,
        float(np.sqrt(np.mean(std**2))),
        _explained(squares, products[:, 0], shapes[:, 0]),
        expected_similarity(number, fan_in),
        *map(float, distances),
    )


def profile_similarity(vectors: np.ndarray) -> float:
    """Measures the similarity of weight profiles (SoWP; Qiu & Suda, 2020, section 2) in one layer.

    Each vector is centred and sorted, and m is the mean of the results s. The similarity is the share of the variance
    that m explains, with the best scale a for each vector: ``1 - sum(norm(s - a * m)**2) / sum(norm(s)**2)``.

    It is 1 if all profiles have the same shape. Long i.i.d. vectors come close to 1, too: compare it with
    :func:`expected_similarity`.

    Args:
      vectors: the weight vectors of a layer, ``(vectors, fan_in)``.

    Returns:
      A number from 0 to 1; 1 if every vector is constant.

    Example:
      >>> import numpy as np
      >>> from laperm_jax.analysis import profile_similarity
      >>> profile_similarity(np.array([[3.0, 1.0, 2.0], [10.0, 20.0, 30.0]]))
      1.0
      >>> round(profile_similarity(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])), 2)
      0.75
    """
    ascending = np.sort(vectors, axis=1)
    mean = ascending.mean(axis=0, dtype=np.float64)
    mean -= mean.mean()
    squares, products = np.empty(len(vectors)), np.empty(len(vectors))
    for rows, centred in _centred(ascending):
        squares[rows], products[rows] = np.sum(centred**2, axis=1), centred @ mean
    return _explained(squares, products, mean)


@functools.cache
def expected_similarity(vectors: int, fan_in: int) -> float:
    """Similarity of the profiles of i.i.d. normal vectors, to compare :func:`profile_similarity` with.

    It is simulated with a fixed seed and at most 64 vectors: the share that is not explained grows with their number as
    ``1 - 1 / vectors``, since each vector is part of the mean.

    Args:
      vectors: number of vectors, 1 or more.
      fan_in: their length, 1 or more.

    Returns:
      A number from 0 to 1.

    Example:
      >>> from laperm_jax.analysis import expected_similarity
      >>> [round(expected_similarity(100, fan_in), 3) for fan_in in (9, 100, 1000)]
      [0.927, 0.987, 0.998]
    """
    simulated = min(vectors, _SIMULATED)
    if simulated == 1:
        return 1.0
    rng, times = np.random.default_rng(0), math.ceil(2**18 / (simulated * fan_in))
    left = np.mean([1 - profile_similarity(rng.normal(size=(simulated, fan_in))) for _ in range(times)])
    return float(1 - left * (1 - 1 / vectors) / (1 - 1 / simulated))


def normal_quantiles(count: int) -> np.ndarray:
    """Quantiles of a standard normal distribution that ``count`` sorted values approach, float64 ``(count,)``.

    Args:
      count: how many values, 1 or more.

    Returns:
      The quantiles at ``(i + 0.5) / count``, ascending.

    Example:
      >>> from laperm_jax.analysis import normal_quantiles
      >>> normal_quantiles(3).round(2).tolist()
      [-0.97, 0.0, 0.97]
    """
    return ndtri((np.arange(count) + 0.5) / count)


def _explained(squares: np.ndarray, products: np.ndarray, mean: np.ndarray) -> float:
    total = squares.sum()
    if total == 0 or not mean.any():
        return 1.0 if total == 0 else 0.0
    return float(np.sum(products**2) / np.sum(mean**2) / total)


def _centred(vectors: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields some vectors at a time, centred, in float64."""
    step = max(1, _CHUNK // vectors.shape[1])
    for start in range(0, len(vectors), step):
        rows = slice(start, start + step)
        chunk = vectors[rows].astype(np.float64)
        yield rows, chunk - chunk.mean(axis=1, keepdims=True)


def _uniform_quantiles(count: int) -> np.ndarray:
    return 12**0.5 * ((np.arange(count) + 0.5) / count - 0.5)
