"""Where the values of weight vectors are placed, as a stream of bits near the entropy; docs/format.md describes it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

HEAVY = 64  # a value is heavy if it has at least one in so many places of its vector, and two
LONGEST = 2**24 - 1  # entries of a vector: the coder's probabilities have 24 bits


class _Heavy(NamedTuple):
    """One heavy value of each vector: ranks ``first`` to ``first + times - 1``; ``times`` is 0 where there is none."""

    first: np.ndarray
    times: np.ndarray


def encode(ranks: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Codes the places of values.

    Args:
      ranks: which of its values each place of a vector has, int ``(fan_in, vectors)``: columns are permutations. Of
        equal values any may stand for another.
      ascending: the values of each vector, ascending, of any dtype, ``(fan_in, vectors)``; ``fan_in <= LONGEST``.

    Returns:
      uint32 words.
    """
    fan_in, vectors = ranks.shape
    rest, left = ranks, np.full(vectors, fan_in)
    masks = []
    heavy_values = _heavy_values(ascending)
    for heavy in heavy_values:
        taken = (rest >= heavy.first) & (rest < heavy.first + heavy.times) & _within(left, fan_in)
        coded = _within(np.where(heavy.times > 0, left, 0), fan_in)
        before = np.cumsum(taken, axis=0) - taken
        places_left = left - np.arange(fan_in)[:, None]
        masks.append((taken[coded].astype(np.int32), ((heavy.times - before)[coded] / places_left[coded])))
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
    for bits, probabilities in reversed(masks):
        coder.encode_reverse(bits, bernoulli, probabilities)
    return np.asarray(coder.get_compressed(), np.uint32)


def decode(words: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """The inverse of :func:`encode`: ranks int32 ``(fan_in, vectors)``, of equal values in any order.

    Words that no encoder wrote give some ranks, too; they still are a permutation of each vector.

    Raises:
      ValueError: if the last word is zero, which no stream ends with.
    """
    fan_in, vectors = ascending.shape
    coder, uniform, bernoulli = _coder(words)
    ranks = np.empty((fan_in, vectors), np.int32)
    places = np.broadcast_to(np.arange(fan_in, dtype=np.int32)[:, None], ranks.shape)
    left = np.full(vectors, fan_in)
    heavy_values = _heavy_values(ascending)
    for heavy in heavy_values:
        taken = np.zeros(ranks.shape, bool)
        count, length = heavy.times.copy(), np.where(heavy.times > 0, left, 0)
        for place in range(length.max()):
            (coded,) = np.nonzero(place < length)
            bits = coder.decode(bernoulli, count[coded] / (length[coded] - place))
            # What a damaged stream says beyond what is possible is put right, so that it gives some permutation.
            taken[place, coded] = (bits & (count[coded] > 0)) | (count[coded] == length[coded] - place)
            count[coded] -= taken[place, coded]
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


def _runs(ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of equal values: where they begin in the vectors laid end to end, and how long they are."""
    rows = np.ascontiguousarray(ascending.T)
    begins = np.ones(rows.shape, bool)
    begins[:, 1:] = rows[:, 1:] != rows[:, :-1]
    starts = np.flatnonzero(begins)
    return starts, np.diff(starts, append=rows.size)


def _heavy_values(ascending: np.ndarray) -> list[_Heavy]:
    """The heavy values: the smallest of each vector, the second of each, and so on."""
    fan_in, vectors = ascending.shape
    starts, lengths = _runs(ascending)
    is_heavy = (lengths >= 2) & (lengths * HEAVY >= fan_in)
    (vector, first), count = divmod(starts[is_heavy], fan_in), lengths[is_heavy]
    number = np.arange(len(vector)) - np.searchsorted(vector, vector)
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
    coder = constriction.stream.stack.AnsCoder(*() if words is None else (np.ascontiguousarray(words, np.uint32),))
    return coder, constriction.stream.model.Uniform(), constriction.stream.model.Bernoulli(perfect=False)
