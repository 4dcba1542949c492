"""Adaptive probabilities for the positions of one frequent value: what chance predicts, times what was seen so far."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MAX_LAGS = 8
_MAX_LAG = 256  # of those that are searched: rows of images are shorter


class Round(NamedTuple):
    """The positions of one frequent value of each vector.

    Attributes:
      chosen: bool ``(fan_in, vectors)``; whether the i-th free position of a vector has the value.
      free: number of free positions of each vector, int ``(vectors,)``.
      ones: number of them that have the value, int ``(vectors,)``; vectors with 0 are skipped.
    """

    chosen: np.ndarray
    free: np.ndarray
    ones: np.ndarray


class BitModel:
    """Probability that a free position of a vector has the value of a round, given all positions before it.

    By chance alone it is the number of values left over the number of positions left. Training leaves patterns that
    the vectors share: weights of pixels that are never lit keep their values, and those of neighbouring pixels are
    alike. So the odds are multiplied by how much higher they have been, in all vectors, after the same bits at some
    lags.

    Args:
      current: the round; ``chosen`` is filled in by :meth:`update`.
      lags: distances of the earlier positions that make up a context.
    """

    def __init__(self, current: Round, lags: Sequence[int]):
        self._chosen, self._free, self._ones, self._lags = current.chosen, current.free, current.ones.copy(), lags
        self._coded = current.ones > 0
        self._counts, self._totals = np.zeros((2, 2 ** len(lags))), np.ones(2)

    def predict(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the vectors that have this free position, and the probability of each, float64."""
        self._position = position
        (self._vectors,) = np.nonzero(self._coded & (position < self._free))
        self._context = np.zeros(len(self._vectors), np.int64)
        for lag in self._lags:
            bit = self._chosen[position - lag, self._vectors] if lag <= position else 0
            self._context = 2 * self._context + bit
        ones = self._ones[self._vectors]
        zeros = self._free[self._vectors] - position - ones
        prior = 2 * self._totals / (self._totals[0] + self._totals[1])  # as if each context had been seen twice
        for_one = ones * (self._counts[1, self._context] + prior[1]) * self._totals[0]
        for_zero = zeros * (self._counts[0, self._context] + prior[0]) * self._totals[1]
        return self._vectors, for_one / (for_one + for_zero)

    def update(self, bits: np.ndarray) -> None:
        """Records which of the vectors of the last prediction have the value there."""
        self._chosen[self._position, self._vectors] = bits
        self._ones[self._vectors] -= bits
        for bit in (0, 1):
            seen = self._context[bits == bit]
            self._counts[bit] += np.bincount(seen, minlength=self._counts.shape[1])
            self._totals[bit] += len(seen)


def predictions(current: Round, lags: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """All bits of a round in coding order, int32, and their probabilities, float64, as :class:`BitModel` has them.

    What the model has seen at a position is known here without a loop: sums over all positions before it.
    """
    coded = current.ones > 0
    bits, free, all_ones = current.chosen[:, coded], current.free[coded], current.ones[coded]
    positions, contexts = np.arange(len(bits))[:, None], 2 ** len(lags)
    is_free = positions < free
    context = np.zeros(bits.shape, np.int64)
    for lag in lags:
        context *= 2
        context[lag:] += bits[: max(len(bits) - lag, 0)]
    seen = np.bincount(((positions * contexts + context) * 2 + bits)[is_free], minlength=len(bits) * contexts * 2)
    counts = _before(seen.reshape(len(bits), contexts, 2))
    totals = counts.sum(axis=1)[:, :, None] + 1.0  # of zeros and of ones, (fan_in, 2, 1)
    prior = 2 * totals / totals.sum(axis=1, keepdims=True)
    ones = all_ones - _before(bits)
    zeros = free - positions - ones
    for_one = ones * (counts[positions, context, 1] + prior[:, 1]) * totals[:, 0]
    for_zero = zeros * (counts[positions, context, 0] + prior[:, 0]) * totals[:, 1]
    return bits[is_free].astype(np.int32), (for_one[is_free] / (for_one + for_zero)[is_free])


def _before(array: np.ndarray) -> np.ndarray:
    """Sums over the rows before each row."""
    return np.cumsum(array, axis=0, dtype=np.int64) - array


def code_length(bits: np.ndarray, probabilities: np.ndarray) -> float:
    """How many bits an ideal coder spends."""
    return -float(np.sum(np.log2(np.where(bits == 1, probabilities, 1 - probabilities))))


def candidate_lags(rounds: Sequence[Round]) -> list[tuple[int, ...]]:
    """Lags to try: none; the last two positions; and those around the lag with the largest autocorrelation."""
    if not rounds:
        return [()]
    centred = rounds[0].chosen - rounds[0].chosen.mean(axis=0)
    searched = range(4, min(len(centred), _MAX_LAG))
    correlations = [np.vdot(centred[lag:], centred[:-lag]) for lag in searched]
    best = [searched[int(np.argmax(correlations))]] if correlations else []
    return [(), (1, 2), *((1, 2, lag - 1, lag, lag + 1) for lag in best)]
