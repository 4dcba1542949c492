"""The entropy coder: permutations of weight vectors as a stream of bits near their entropy; see docs/format.md."""

from typing import Any, NamedTuple

import numpy as np

from laperm_jax.codec._bit_model import BitModel, Round, candidate_lags, code_length, predictions
from laperm_jax.codec._digits import Remaining, Runs, digit_sizes, from_digits, identities, to_digits

FREQUENT = 64  # a value is frequent if 1 / FREQUENT or more of its vector, and two or more, are equal to it
MAX_FAN_IN = 2**24 - 1  # the coder's probabilities have 24 bits
_MAX_BITS_BACK = 2**18  # fan-in up to which bits are taken back: half a minute
_BITS_BACK_STEPS = 5  # as many iterations of a round take the time of one with bits back
_LEAST_SAVED = 1e-3  # as a share of all bits


class _Frequent(NamedTuple):
    """A frequent value of each vector: ranks ``first`` to ``first + length - 1``; ``length`` is 0 if it has none."""

    first: np.ndarray
    length: np.ndarray

    def has(self, ranks: np.ndarray) -> np.ndarray:
        return (ranks >= self.first) & (ranks < self.first + self.length)


class Coded(NamedTuple):
    """A stream of bits, and what it is decoded with.

    Attributes:
      words: the stream, uint32.
      lags: of the contexts of frequent values.
      bits_back: whether the order of equal values that are not frequent was taken from the stream.
    """

    words: np.ndarray
    lags: tuple[int, ...]
    bits_back: bool


def encode(ranks: np.ndarray, ascending: np.ndarray, bits_back: bool) -> Coded:
    """Encodes the order of values.

    Args:
      ranks: number of the value at each position of a vector, int ``(fan_in, vectors)``; columns are permutations, and
        equal values are interchangeable.
      ascending: the values of each vector, ascending, of any dtype, ``(fan_in, vectors)``; ``fan_in <= MAX_FAN_IN``.
      bits_back: whether to take the order of equal values that are not frequent from the stream; see
        :func:`saves_bits`.

    Returns:
      The stream, and what it is decoded with.

    Raises:
      ModuleNotFoundError: if constriction is not installed.
    """
    fan_in, vectors = ranks.shape
    rest, free = ranks, np.full(vectors, fan_in)
    rounds, frequent_values = [], _frequent_values(ascending)
    for frequent in frequent_values:
        chosen = frequent.has(rest) & _within(free, fan_in)
        rounds.append(Round(chosen, free, frequent.length))
        rest, free = _without(rest, chosen, free), free - frequent.length
    others = _other_ranks(frequent_values, fan_in, vectors)
    number = np.empty_like(others)
    np.put_along_axis(number, others, np.arange(fan_in, dtype=others.dtype)[:, None], axis=0)
    rest = np.take_along_axis(number, rest, axis=0)
    coder, uniform, bernoulli = _coder()  # a stack: what is decoded last is encoded first
    if bits_back:
        _encode_values(coder, uniform, rest, _runs_of(np.take_along_axis(ascending, others, axis=0), free), free)
    else:
        _write(coder, uniform, to_digits(rest, free), digit_sizes(free, fan_in))
    predicted = {lags: [predictions(current, lags) for current in rounds] for lags in candidate_lags(rounds)}
    lags = min(predicted, key=lambda lags: sum(code_length(*of_round) for of_round in predicted[lags]))
    for bits, probabilities in reversed(predicted[lags]):
        coder.encode_reverse(bits, bernoulli, probabilities)
    return Coded(np.asarray(coder.get_compressed(), np.uint32), lags, bits_back)


def decode(coded: Coded, ascending: np.ndarray) -> np.ndarray:
    """The inverse of :func:`encode`.

    Words that no encoder wrote decode to some permutation of each vector, too.

    Returns:
      Ranks, int32 ``(fan_in, vectors)``; those of equal values in any order.

    Raises:
      ModuleNotFoundError: if constriction is not installed.
      ValueError: if the last word is zero, which no stream ends with.
    """
    fan_in, vectors = ascending.shape
    coder, uniform, bernoulli = _coder(coded.words)
    ranks = np.empty((fan_in, vectors), np.int32)
    positions, free = identities(fan_in, vectors), np.full(vectors, fan_in)
    frequent_values = _frequent_values(ascending)
    for frequent in frequent_values:
        chosen = np.zeros(ranks.shape, bool)
        model = BitModel(Round(chosen, free, frequent.length), coded.lags)
        for position in range(fan_in):
            probabilities = model.predict(position)
            # Bits that cannot be, in a damaged stream, are corrected, so that the result is a permutation.
            bits = (coder.decode(bernoulli, probabilities) == 1) & (probabilities > 0) | (probabilities == 1)
            model.update(bits)
        row, vector = np.nonzero(chosen)
        ranks[positions[row, vector], vector] = (frequent.first + np.cumsum(chosen, axis=0) - 1)[row, vector]
        positions, free = _without(positions, chosen, free), free - frequent.length
    others = _other_ranks(frequent_values, fan_in, vectors)
    if coded.bits_back:
        numbers = _decode_values(coder, uniform, _runs_of(np.take_along_axis(ascending, others, axis=0), free), free)
    else:
        numbers = from_digits(_read(coder, uniform, digit_sizes(free, fan_in)), free)
    others = np.take_along_axis(others, numbers, axis=0)
    row, vector = np.nonzero(_within(free, fan_in))
    ranks[positions[row, vector], vector] = others[row, vector]
    return ranks


def entropy(ascending: np.ndarray) -> float:
    """Bits that tell one order of the values from all others: the sum of log2(n! / (m_1! m_2! ...)).

    Args:
      ascending: the values of each vector, ascending, ``(fan_in, vectors)``; m_1, m_2, ... of n values are equal.
    """
    fan_in, vectors = ascending.shape
    log_factorial = _log2_factorials(fan_in)
    _, lengths = _runs(ascending)
    return float(vectors * log_factorial[-1] - np.sum(log_factorial[lengths]))


def saves_bits(ascending: np.ndarray) -> bool:
    """Whether it is worth the time to take back the bits that tell equal values apart: a thousandth of all or more."""
    fan_in, vectors = ascending.shape
    starts, lengths = _runs(ascending)
    others = ~_is_frequent(lengths, fan_in)
    starts, lengths = starts[others], lengths[others]
    free = np.bincount(starts // fan_in, lengths, vectors).astype(int)
    log_factorial = _log2_factorials(fan_in)
    return fan_in <= _MAX_BITS_BACK and bool(log_factorial[lengths].sum() > _LEAST_SAVED * log_factorial[free].sum())


def steps(ascending: np.ndarray, bits_back: bool) -> int:
    """Iterations of the decoder's loops, each over all vectors: what its time is proportional to."""
    return len(ascending) * ((_BITS_BACK_STEPS if bits_back else 1) + len(_frequent_values(ascending)))


def _log2_factorials(largest: int) -> np.ndarray:
    """The logarithms of 0!, 1!, ..., float64."""
    return np.concatenate([[0.0], np.cumsum(np.log2(np.arange(1, largest + 1)))])


def _runs(ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of equal values: where they begin in the vectors laid end to end, and how long they are."""
    rows = np.ascontiguousarray(ascending.T)
    begins = np.ones(rows.shape, bool)
    begins[:, 1:] = rows[:, 1:] != rows[:, :-1]
    starts = np.flatnonzero(begins)
    return starts, np.diff(starts, append=rows.size)


def _is_frequent(lengths: np.ndarray, fan_in: int) -> np.ndarray:
    return (lengths >= 2) & (lengths * FREQUENT >= fan_in)


def _frequent_values(ascending: np.ndarray) -> list[_Frequent]:
    """The frequent values: the largest of each vector, the second largest of each, and so on."""
    fan_in, vectors = ascending.shape
    starts, lengths = _runs(ascending)
    is_frequent = _is_frequent(lengths, fan_in)
    (vector, first), length = divmod(starts[is_frequent], fan_in), lengths[is_frequent]
    number = np.searchsorted(vector, vector, side="right") - 1 - np.arange(len(vector))
    frequent_values = []
    for current in range(number.max(initial=-1) + 1):
        frequent = _Frequent(np.zeros(vectors, np.int64), np.zeros(vectors, np.int64))
        chosen = number == current
        frequent.first[vector[chosen]], frequent.length[vector[chosen]] = first[chosen], length[chosen]
        frequent_values.append(frequent)
    return frequent_values


def _other_ranks(frequent_values: list[_Frequent], fan_in: int, vectors: int) -> np.ndarray:
    """The ranks of each vector's values that are not frequent, ascending, before those that are."""
    ranks, free = identities(fan_in, vectors), np.full(vectors, fan_in)
    for frequent in reversed(frequent_values):
        ranks, free = _without(ranks, frequent.has(ranks), free), free - frequent.length
    return ranks


def _runs_of(values: np.ndarray, free: np.ndarray) -> Runs:
    """The runs of equal values among the first ``free[j]`` rows, ascending, of each column j."""
    begins = np.ones(values.shape, bool)
    begins[1:] = values[1:] != values[:-1]
    number = np.cumsum(begins, axis=0) - 1
    row, vector = np.nonzero(_within(free, len(values)))
    counts = np.zeros((number.max(initial=-1) + 1, len(free)), np.int32)
    np.add.at(counts, (number[row, vector], vector), 1)
    return Runs(number, counts)


def _encode_values(coder: Any, uniform: Any, rest: np.ndarray, runs: Runs, free: np.ndarray) -> None:
    """Writes which value is at each free position: a digit that the stream chooses among those of equal values."""
    left, numbers = Remaining(np.zeros_like(runs.counts)), np.take_along_axis(runs.number, rest, axis=0)
    for position in reversed(range(free.max(initial=0))):
        (columns,) = np.nonzero(free > position)
        smaller, equal = left.put(numbers[position, columns], columns)
        chosen = smaller + _read(coder, uniform, equal)
        _write(coder, uniform, chosen, (free[columns] - position).astype(np.int32))


def _decode_values(coder: Any, uniform: Any, runs: Runs, free: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_encode_values`: ranks int32 ``(fan_in, vectors)``."""
    left, ranks = Remaining(runs.counts), identities(*runs.number.shape)
    ends = np.cumsum(runs.counts, axis=0, dtype=np.int32)
    for position in range(free.max(initial=0)):
        (columns,) = np.nonzero(free > position)
        digits = _read(coder, uniform, (free[columns] - position).astype(np.int32))
        number, among_equal, equal = left.take(digits, columns)
        _write(coder, uniform, among_equal, equal)
        ranks[position, columns] = ends[number, columns] - equal
    return ranks


def _within(free: np.ndarray, fan_in: int) -> np.ndarray:
    """True in the first ``free[j]`` rows of each column j."""
    return np.arange(fan_in)[:, None] < free


def _without(array: np.ndarray, chosen: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Moves the entries of each column that are not chosen to its beginning, in their order."""
    order = np.argsort(chosen | ~_within(free, len(array)), axis=0, kind="stable")
    return np.take_along_axis(array, order, axis=0)


def _read(coder: Any, uniform: Any, sizes: np.ndarray) -> np.ndarray:
    """Decodes a digit below each of the sizes that is 2 or more."""
    digits, used = np.zeros(sizes.shape, np.int32), sizes >= 2
    digits[used] = coder.decode(uniform, sizes[used])
    return digits


def _write(coder: Any, uniform: Any, digits: np.ndarray, sizes: np.ndarray) -> None:
    """The inverse of :func:`_read`."""
    used = sizes >= 2
    coder.encode_reverse(digits[used], uniform, sizes[used])


def _coder(words: np.ndarray | None = None) -> tuple[Any, Any, Any]:
    """A coder with asymmetric numeral systems, and its models of digits and of bits."""
    try:
        import constriction
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("coding needs constriction: install laperm-jax[lab]", name=error.name) from None
    coder = constriction.stream.stack.AnsCoder(*() if words is None else (np.array(words, np.uint32),))
    return coder, constriction.stream.model.Uniform(), constriction.stream.model.Bernoulli(perfect=False)
