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

    def predict(self, position: int) -> np.ndarray:
        """The probability of each vector that has this free position, float64."""
        self._position = position
        (self._vectors,) = np.nonzero(self._coded & (position < self._free))
        self._context = np.zeros(len(self._vectors), np.int64)
        for lag in self._lags:
            bit = self._chosen[position - lag, self._vectors] if lag <= position else 0
            self._context = 2 * self._context + bit
        ones = self._ones[self._vectors]
        zeros = self._free[self._vectors] - position - ones
        return _probability(ones, zeros, self._counts[:, self._context], self._totals)

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
    bits, free, contexts = current.chosen[:, coded], current.free[coded], 2 ** len(lags)
    context = np.zeros(bits.shape, np.int64)
    for lag in lags:
        context *= 2
        context[lag:] += bits[: max(len(bits) - lag, 0)]
    position, vector = np.nonzero(np.arange(len(bits))[:, None] < free)
    context, coded_bits = context[position, vector], bits[position, vector].astype(np.int32)
    seen = np.zeros((2, len(bits), contexts), np.int64)
    np.add.at(seen, (coded_bits, position, context), 1)
    counts = _before(seen, axis=1)
    ones = (current.ones[coded] - _before(bits, axis=0))[position, vector]
    zeros = free[vector] - position - ones
    totals = counts.sum(axis=2)[:, position] + 1
    return coded_bits, _probability(ones, zeros, counts[:, position, context], totals)


def _probability(ones: np.ndarray, zeros: np.ndarray, counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """The probability of a one, in this order of operations; docs/format.md has it.

    Args:
      ones: how many of them are left.
      zeros: how many of them are left.
      counts: zeros and ones seen in this context.
      totals: zeros and ones seen in all, and one more of each.
    """
    prior = 2 * totals / (totals[0] + totals[1])  # as if each context had been seen twice
    for_one = ones * (counts[1] + prior[1]) * totals[0]
    for_zero = zeros * (counts[0] + prior[0]) * totals[1]
    return for_one / (for_one + for_zero)


def _before(array: np.ndarray, axis: int) -> np.ndarray:
    """Sums over what stands before each entry."""
    return np.cumsum(array, axis=axis, dtype=np.int64) - array


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
