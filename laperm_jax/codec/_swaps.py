"""Permutations as independent digits: the swaps of a Fisher-Yates shuffle, for many vectors at once."""

from collections.abc import Iterator

import numpy as np


def to_digits(permutations: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Digits that make permutations: exchanging entry i of 0, 1, 2, ... with entry i + digit[i], for i = 0, 1, ...

    Args:
      permutations: int ``(fan_in, vectors)``; the first ``lengths[j]`` rows of column j are a permutation of as many
        numbers.
      lengths: int ``(vectors,)``.

    Returns:
      Digits, int32 ``(fan_in, vectors)``; digit i of column j is less than ``lengths[j] - i``.
    """
    entries, positions = identities(*permutations.shape), identities(*permutations.shape)
    digits = np.zeros(permutations.shape, np.int32)
    for row, columns in _unfinished(lengths):
        found = positions[permutations[row, columns], columns]
        digits[row, columns] = found - row
        displaced = entries[row, columns]
        entries[found, columns], positions[displaced, columns] = displaced, found
    return digits


def from_digits(digits: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_digits`: int32 ``(fan_in, vectors)``."""
    entries = identities(*digits.shape)
    for row, columns in _unfinished(lengths):
        chosen = row + digits[row, columns]
        displaced = entries[row, columns]
        entries[row, columns] = entries[chosen, columns]
        entries[chosen, columns] = displaced
    return entries


def digit_sizes(lengths: np.ndarray, fan_in: int) -> np.ndarray:
    """How many values each digit can have, int32 ``(fan_in, vectors)``; there is no digit where it is below 2."""
    return (lengths - np.arange(fan_in)[:, None]).astype(np.int32)


def identities(fan_in: int, vectors: int) -> np.ndarray:
    """The numbers 0, 1, 2, ... in each column, int32 ``(fan_in, vectors)``."""
    return np.repeat(np.arange(fan_in, dtype=np.int32)[:, None], vectors, axis=1)


def _unfinished(lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each row but the last of a column, with the columns that have it."""
    descending = np.argsort(-lengths, kind="stable")
    ends = np.searchsorted(-lengths[descending], -np.arange(1, lengths.max(initial=1)))
    for row, end in enumerate(ends):
        yield row, descending[:end]
