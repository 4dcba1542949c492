"""Orders as digits, for many vectors at once: the swaps of a Fisher-Yates shuffle, or places among the values left."""

from collections.abc import Iterator
from typing import NamedTuple

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


class Runs(NamedTuple):
    """Runs of equal values in ascending columns.

    Attributes:
      number: of the run that each entry belongs to, int ``(fan_in, vectors)``.
      counts: length of each run, int32 ``(runs, vectors)``; 0 where a column has fewer runs.
    """

    number: np.ndarray
    counts: np.ndarray


class Remaining:
    """How many of each value are left: the leaves of a binary tree, whose nodes hold the sums of what is below them.

    Args:
      counts: of each value, in ascending order, int ``(values, vectors)``.
    """

    def __init__(self, counts: np.ndarray):
        values, vectors = counts.shape
        self._depth = max(values - 1, 0).bit_length()
        self._leaves = 2**self._depth
        self._tree = np.zeros((2 * self._leaves, vectors), np.int32)  # node n has the children 2 n and 2 n + 1
        self._tree[self._leaves : self._leaves + values] = counts
        for first in (2**level for level in reversed(range(self._depth))):
            self._tree[first : 2 * first] = (
                self._tree[2 * first : 4 * first : 2] + self._tree[2 * first + 1 : 4 * first : 2]
            )

    def take(self, place: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Takes a value away from each of some vectors: that at a place among all that are left, in ascending order.

        Returns:
          The number of the value, its place among those equal to it, and how many these were.
        """
        node = np.ones(len(columns), np.int64)
        for _ in range(self._depth):
            self._tree[node, columns] -= 1
            node *= 2
            smaller = self._tree[node, columns]
            is_larger = place >= smaller
            place = place - smaller * is_larger
            node += is_larger
        equal = self._tree[node, columns]
        self._tree[node, columns] -= 1
        return node - self._leaves, place, equal

    def put(self, value: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Adds a value, by its number, to each of some vectors.

        Returns:
          How many smaller values there are, and how many equal ones, with itself.
        """
        node = value + self._leaves
        self._tree[node, columns] += 1
        equal, smaller = self._tree[node, columns], np.zeros(len(columns), np.int32)
        for _ in range(self._depth):
            smaller += self._tree[node - 1, columns] * (node % 2)  # the left child, of a right one
            node = node // 2
            self._tree[node, columns] += 1
        return smaller, equal
