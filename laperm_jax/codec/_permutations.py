"""Where the values of weight vectors are placed, as a stream of bits near the entropy; docs/format.md describes it."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

HEAVY = 64  # a value is heavy if it has at least one in so many places of its vector, and two
LONGEST = 2**24 - 1  # entries of a vector: the coder's probabilities have 24 bits
MOST_LAGS = 8
_FARTHEST = 256  # lag that is looked for: rows of images are shorter


class _Heavy(NamedTuple):
    """One heavy value of each vector: ranks ``first`` to ``first + times - 1``; ``times`` is 0 where there is none."""

    first: np.ndarray
    times: np.ndarray


def encode(ranks: np.ndarray, ascending: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Codes the places of values.

    Args:
      ranks: which of its values each place of a vector has, int ``(fan_in, vectors)``: columns are permutations. Of
        equal values any may stand for another.
      ascending: the values of each vector, ascending, of any dtype, ``(fan_in, vectors)``; ``fan_in <= LONGEST``.

    Returns:
      uint32 words, and the lags that they are to be decoded with.
    """
    fan_in, vectors = ranks.shape
    rest, left = ranks, np.full(vectors, fan_in)
    rounds, heavy_values = [], _heavy_values(ascending)
    for heavy in heavy_values:
        taken = (rest >= heavy.first) & (rest < heavy.first + heavy.times)
        taken &= _within(left, fan_in)
        rounds.append((taken, left, heavy.times))
        rest, left = _without(rest, taken, left), left - heavy.times
    if heavy_values:
        light = _light_ranks(heavy_values, fan_in, vectors)
        to_light = np.empty_like(light)
        np.put_along_axis(to_light, light, np.arange(fan_in, dtype=light.dtype)[:, None], axis=0)
        rest = np.take_along_axis(to_light, rest, axis=0)
    digits, sizes = _swaps(rest, left), _digit_sizes(left, fan_in)
    coder, uniform, bernoulli = _coder()
    used = sizes >= 2
    coder.encode_reverse(digits[used], uniform, sizes[used])
    coded = {lags: [_bits(*of_round, lags) for of_round in rounds] for lags in _candidates(rounds)}
    lags = min(coded, key=lambda lags: sum(_length(*bits) for bits in coded[lags]))
    for bits, probabilities in reversed(coded[lags]):
        coder.encode_reverse(bits, bernoulli, probabilities)
    return np.asarray(coder.get_compressed(), np.uint32), lags


def decode(words: np.ndarray, lags: Sequence[int], ascending: np.ndarray) -> np.ndarray:
    """The inverse of :func:`encode`: ranks int32 ``(fan_in, vectors)``, of equal values in any order.

    Words that no encoder wrote give some ranks, too; they still are a permutation of each vector.

    Raises:
      ValueError: if the last word is zero, which no stream ends with.
    """
    fan_in, vectors = ascending.shape
    coder, uniform, bernoulli = _coder(words)
    ranks = np.empty((fan_in, vectors), np.int32)
    places, left = _identities(fan_in, vectors), np.full(vectors, fan_in)
    heavy_values = _heavy_values(ascending)
    for heavy in heavy_values:
        taken = np.zeros(ranks.shape, bool)
        model = _BitModel(taken, left, heavy.times, lags)
        for place in range(fan_in):
            _, probabilities = model.next(place)
            # What a damaged stream says beyond what is possible is put right, so that it gives some permutation.
            bits = (coder.decode(bernoulli, probabilities) == 1) & (probabilities > 0) | (probabilities == 1)
            model.tell(bits)
        at, vector = np.nonzero(taken)
        ranks[places[at, vector], vector] = (heavy.first + np.cumsum(taken, axis=0) - 1)[at, vector]
        places, left = _without(places, taken, left), left - heavy.times
    sizes = _digit_sizes(left, fan_in)
    digits, used = np.zeros(ranks.shape, np.int32), sizes >= 2
    digits[used] = coder.decode(uniform, sizes[used])
    if not heavy_values:
        return _swapped(digits, left)
    light = np.take_along_axis(_light_ranks(heavy_values, fan_in, vectors), _swapped(digits, left), axis=0)
    at, vector = np.nonzero(_within(left, fan_in))
    ranks[places[at, vector], vector] = light[at, vector]
    return ranks


def entropy(ascending: np.ndarray) -> float:
    """Bits that tell one arrangement from all others: the sum of log2(n! / (m_1! m_2! ...)), m_i of n values equal."""
    fan_in, vectors = ascending.shape
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log2(np.arange(1, fan_in + 1)))])
    _, lengths = _runs(ascending)
    return float(vectors * log_factorial[-1] - np.sum(log_factorial[lengths]))


def steps(ascending: np.ndarray) -> int:
    """Turns that the loops of a decoder make, each about all vectors: what its time goes by."""
    return len(ascending) * (1 + len(_heavy_values(ascending)))


class _BitModel:
    """How likely each free place of a vector has the heavy value of a round, given all places before it.

    Where nothing but chance is at work, it is the number of values left over that of places left. Training leaves
    patterns, which vectors share: weights of pixels that are never lit stay where they were, and those of neighbours
    are alike. So the odds are multiplied by how much higher they have been, in all vectors, after the same bits at some
    lags.

    Args:
      taken: bool ``(fan_in, vectors)``: whether the i-th free place has the value. It is filled in as they are told.
      left: number of free places of each vector.
      times: number of them that have the value; where it is 0, nothing is asked.
      lags: how many places back to look.
    """

    def __init__(self, taken: np.ndarray, left: np.ndarray, times: np.ndarray, lags: Sequence[int]):
        self._taken, self._left, self._ones, self._lags = taken, left, times.copy(), lags
        self._asked = times > 0
        self._counts, self._totals = np.zeros((2, 2 ** len(lags))), np.ones(2)

    def next(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the vectors that have so many free places, and the probability of each."""
        self._place = place
        (self._vectors,) = np.nonzero(self._asked & (place < self._left))
        self._context = np.zeros(len(self._vectors), np.int64)
        for lag in self._lags:
            self._context = 2 * self._context + (self._taken[place - lag, self._vectors] if lag <= place else 0)
        ones = self._ones[self._vectors]
        zeros = self._left[self._vectors] - place - ones
        usual = 2 * self._totals / (self._totals[0] + self._totals[1])  # as if each context had been seen twice
        for_one = ones * (self._counts[1, self._context] + usual[1]) * self._totals[0]
        for_zero = zeros * (self._counts[0, self._context] + usual[0]) * self._totals[1]
        return self._vectors, for_one / (for_one + for_zero)

    def tell(self, bits: np.ndarray) -> None:
        """Says which of these vectors have the value there."""
        self._taken[self._place, self._vectors] = bits
        self._ones[self._vectors] -= bits
        for bit in (0, 1):
            chosen = self._context[bits == bit]
            self._counts[bit] += np.bincount(chosen, minlength=self._counts.shape[1])
            self._totals[bit] += len(chosen)


def _bits(taken: np.ndarray, left: np.ndarray, times: np.ndarray, lags: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The bits of a round, and their probabilities."""
    model = _BitModel(np.zeros_like(taken), left, times, lags)
    bits, probabilities = [], []
    for place, row in enumerate(taken):
        vectors, likely = model.next(place)
        model.tell(row[vectors])
        bits.append(row[vectors])
        probabilities.append(likely)
    return np.concatenate(bits).astype(np.int32), np.concatenate(probabilities)


def _length(bits: np.ndarray, probabilities: np.ndarray) -> float:
    return -float(np.sum(np.log2(np.where(bits == 1, probabilities, 1 - probabilities))))


def _candidates(rounds: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> list[tuple[int, ...]]:
    """Lags to try: none; the places just before; and those around the lag at which the first round is most alike."""
    if not rounds:
        return [()]
    taken = rounds[0][0] - rounds[0][0].mean(axis=0)
    far = range(4, min(len(taken), _FARTHEST))
    alike = [np.vdot(taken[lag:], taken[:-lag]) for lag in far]
    row = [far[int(np.argmax(alike))]] if alike else []
    return [(), (1, 2), *((1, 2, lag - 1, lag, lag + 1) for lag in row)]


def _runs(ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of equal values: where they begin in the vectors laid end to end, and how long they are."""
    rows = np.ascontiguousarray(ascending.T)
    begins = np.ones(rows.shape, bool)
    begins[:, 1:] = rows[:, 1:] != rows[:, :-1]
    starts = np.flatnonzero(begins)
    return starts, np.diff(starts, append=rows.size)


def _heavy_values(ascending: np.ndarray) -> list[_Heavy]:
    """The heavy values: the largest of each vector, the second of each, and so on."""
    fan_in, vectors = ascending.shape
    starts, lengths = _runs(ascending)
    is_heavy = (lengths >= 2) & (lengths * HEAVY >= fan_in)
    (vector, first), count = divmod(starts[is_heavy], fan_in), lengths[is_heavy]
    number = np.searchsorted(vector, vector, side="right") - 1 - np.arange(len(vector))
    heavy_values = []
    for current in range(number.max(initial=-1) + 1):
        heavy = _Heavy(np.zeros(vectors, np.int64), np.zeros(vectors, np.int64))
        chosen = number == current
        heavy.first[vector[chosen]], heavy.times[vector[chosen]] = first[chosen], count[chosen]
        heavy_values.append(heavy)
    return heavy_values


def _light_ranks(heavy_values: list[_Heavy], fan_in: int, vectors: int) -> np.ndarray:
    """The ranks of each vector's values that are not heavy, ascending, ahead of those that are."""
    ranks, left = _identities(fan_in, vectors), np.full(vectors, fan_in)
    for heavy in reversed(heavy_values):
        taken = (ranks >= heavy.first) & (ranks < heavy.first + heavy.times)
        ranks, left = _without(ranks, taken, left), left - heavy.times
    return ranks


def _within(left: np.ndarray, fan_in: int) -> np.ndarray:
    """True in the first ``left`` rows of each column."""
    return np.arange(fan_in)[:, None] < left


def _without(array: np.ndarray, taken: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Each column's entries that are not taken, moved to its beginning in their order."""
    order = np.argsort(taken | ~_within(left, len(array)), axis=0, kind="stable")
    return np.take_along_axis(array, order, axis=0)


def _digit_sizes(left: np.ndarray, fan_in: int) -> np.ndarray:
    """How many values each digit of a permutation can have; below 2 there is none."""
    return (left - np.arange(fan_in)[:, None]).astype(np.int32)


def _swaps(ranks: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Digits of permutations: exchanging entry i with entry i + digit[i], in turn, makes them from 0, 1, 2, ..."""
    entries, places, digits = _identities(*ranks.shape), _identities(*ranks.shape), np.zeros(ranks.shape, np.int32)
    for row, columns in _unfinished(lengths):
        found = places[ranks[row, columns], columns]
        digits[row, columns] = found - row
        displaced = entries[row, columns]
        entries[found, columns], places[displaced, columns] = displaced, found
    return digits


def _swapped(digits: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_swaps`."""
    entries = _identities(*digits.shape)
    for row, columns in _unfinished(lengths):
        chosen = row + digits[row, columns]
        displaced = entries[row, columns]
        entries[row, columns] = entries[chosen, columns]
        entries[chosen, columns] = displaced
    return entries


def _identities(fan_in: int, vectors: int) -> np.ndarray:
    return np.repeat(np.arange(fan_in, dtype=np.int32)[:, None], vectors, axis=1)


def _unfinished(lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each row but a column's last, with the columns that have it."""
    descending = np.argsort(-lengths, kind="stable")
    ends = np.searchsorted(-lengths[descending], -np.arange(1, lengths.max(initial=1)))
    for row, end in enumerate(ends):
        yield row, descending[:end]


def _coder(words: np.ndarray | None = None) -> tuple[Any, Any, Any]:
    """A coder by asymmetric numeral systems, and its models of digits and of bits."""
    try:
        import constriction
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("coding needs constriction: install laperm-jax[lab]", name=error.name) from None
    coder = constriction.stream.stack.AnsCoder(*() if words is None else (np.array(words, np.uint32),))
    return coder, constriction.stream.model.Uniform(), constriction.stream.model.Bernoulli(perfect=False)
