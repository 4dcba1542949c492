"""Decomposition of a layer: shared values (D0), their permutations (D1), and a residual (D2); rebuttal, answer 3."""

from typing import NamedTuple

import numpy as np

_MAX_ROUNDS = 100  # alternating least squares for the scales converges in a few


class Decomposition(NamedTuple):
    """Weight vectors as ``scales[j] * profile[ranks[j]] + residual[j]``.

    To measure what a part contributes, replace it with ``_replace`` and compute the vectors with :meth:`compose`:
    without the residual, with shuffled permutations, with another profile.

    Attributes:
      profile: the values that all vectors share (D0), ascending, ``(fan_in,)``.
      ranks: the permutation of each vector (D1), int32 ``(vectors, fan_in)``: position ``i`` of
        vector ``j`` has ``profile[ranks[j, i]]``.
      scales: a factor of each vector, ``(vectors,)``; ones if none were fitted.
      residual: what the other parts do not explain (D2), ``(vectors, fan_in)``.
    """

    profile: np.ndarray
    ranks: np.ndarray
    scales: np.ndarray
    residual: np.ndarray

    def compose(self) -> np.ndarray:
        """Computes the weight vectors from the parts, ``(vectors, fan_in)``."""
        return self.scales[:, None] * self.profile[self.ranks] + self.residual

    def shares(self) -> tuple[float, float, float]:
        """Shares of D0, D1 and D2 in the sum of squares of all weights.

        D0 is what the shared values alone predict: their mean, at every position. D1 is what the permutations add, and
        D2 is the residual. The shares sum to 1, except where a profile was given and no scales were fitted to it.
        """
        total = np.sum(self.compose().astype(np.float64) ** 2)
        profile = self.profile.astype(np.float64)
        scales = np.sum(self.scales.astype(np.float64) ** 2)
        values = profile.size * profile.mean() ** 2 * scales
        places = np.sum((profile - profile.mean()) ** 2) * scales
        left = np.sum(self.residual.astype(np.float64) ** 2)
        return float(values / total), float(places / total), float(left / total)


def decompose(vectors: np.ndarray, profile: np.ndarray | None = None, *, scale: bool = False) -> Decomposition:
    """Finds the decomposition with the least residual, by the sum of its squares.

    For any ascending profile the best permutation is given by the ranks of the weights (rearrangement inequality). The
    best profile is then the mean of the sorted vectors. With scales it is their mean weighted by the scales; it
    alternates with the best scale of each sorted vector s, ``max(0, s @ profile / (profile @ profile))``, until neither
    changes.

    Args:
      vectors: weight vectors of a layer, floating-point and finite, ``(vectors, fan_in)``.
      profile: values to hold fixed, such as the initial ones, ``(fan_in,)``; fitted if None.
      scale: whether each vector has a scale; with a fitted profile their mean square is 1.

    Returns:
      The parts, in the dtype of the vectors. Equal weights rank by position.

    Raises:
      ValueError: if the vectors are not two-dimensional and finite, or the profile has another length.

    Example:
      >>> import numpy as np
      >>> from laperm_jax.analysis import decompose
      >>> parts = decompose(np.array([[3.0, -1.0, 1.0], [0.0, 2.0, 4.0]]))
      >>> parts.profile.tolist(), parts.ranks.tolist(), parts.residual.tolist()
      ([-0.5, 1.5, 3.5], [[2, 0, 1], [0, 1, 2]], [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]])
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"vectors must be finite, of shape (vectors, fan_in), and have shape {vectors.shape}")
    if profile is not None and profile.shape != vectors.shape[1:]:
        raise ValueError(f"the profile has shape {profile.shape}; vectors {vectors.shape} need {vectors.shape[1:]}")
    order = np.argsort(vectors, axis=1, kind="stable")
    ranks = np.empty(vectors.shape, np.int32)
    np.put_along_axis(ranks, order, np.arange(vectors.shape[1], dtype=np.int32)[None], axis=1)
    ascending = np.take_along_axis(vectors, order, axis=1)
    scales = np.ones(len(vectors))
    if profile is not None:
        theta = np.sort(profile.astype(np.float64))
        scales = _best_scales(ascending, theta) if scale else scales
    else:
        theta = ascending.mean(axis=0, dtype=np.float64)
        for _ in range(_MAX_ROUNDS if scale else 0):
            before, scales = scales, _best_scales(ascending, theta)
            scales /= np.sqrt(np.mean(scales**2)) or 1.0
            theta = scales @ ascending / len(vectors)
            if np.allclose(scales, before, rtol=1e-12, atol=0):
                break
    theta, scales = theta.astype(vectors.dtype), scales.astype(vectors.dtype)
    return Decomposition(theta, ranks, scales, vectors - scales[:, None] * theta[ranks])


def _best_scales(ascending: np.ndarray, profile: np.ndarray) -> np.ndarray:
    squares = profile @ profile
    return np.maximum(0.0, ascending @ profile / squares) if squares else np.ones(len(ascending))
