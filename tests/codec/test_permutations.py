"""The entropy coder alone, against an independent decoder."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laperm_jax.codec import _permutations
from laperm_jax.sync._keys import bit_keys
from tests.codec import decoder

VALUES = [
    lambda rng, shape: rng.normal(size=shape).astype(np.float32),
    lambda rng, shape: rng.normal(size=shape).astype(np.float16),
    lambda rng, shape: rng.integers(0, 3, shape).astype(np.int8),
    lambda rng, shape: np.where(rng.random(shape) < 0.3, rng.normal(size=shape), 0.0),
    lambda rng, shape: np.where(rng.random(shape) < 0.5, -0.0, rng.integers(0, 2, shape)),
    lambda rng, shape: rng.integers(0, 60, shape).astype(np.float32),
]


@given(st.integers(0, 100), st.integers(0, 5), st.sampled_from(VALUES), st.booleans(), st.integers(0, 2**32))
def test_decode_inverts_encode(fan_in, vectors, draw, bits_back, seed):
    rng = np.random.default_rng(seed)
    keys = bit_keys(draw(rng, (fan_in, vectors)))
    ranks = np.argsort(rng.random(keys.shape), axis=0)
    ascending = np.sort(keys, axis=0)
    coded = _permutations.encode(ranks, ascending, bits_back)
    decoded = _permutations.decode(coded, ascending)
    np.testing.assert_array_equal(np.sort(decoded, axis=0), np.sort(ranks, axis=0))
    value = lambda ranks: np.take_along_axis(ascending, ranks, axis=0)
    np.testing.assert_array_equal(value(decoded), value(ranks))
    stream = decoder.Stream(coded.words.astype("<u4").tobytes())
    others = decoder.decode_permutations(stream, coded.lags, ascending.T.tolist(), bits_back)
    np.testing.assert_array_equal(np.reshape(others, (vectors, fan_in)).T, decoded)


@given(
    st.lists(st.integers(1, 2**32 - 1), max_size=50),
    st.lists(st.integers(1, 200), max_size=8),
    st.sampled_from(VALUES),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_decode_of_any_words_is_a_permutation(words, lags, draw, bits_back, seed):
    ascending = np.sort(bit_keys(draw(np.random.default_rng(seed), (90, 3))), axis=0)
    decoded = _permutations.decode(_permutations.Coded(np.array(words, np.uint32), lags, bits_back), ascending)
    np.testing.assert_array_equal(np.sort(decoded, axis=0), np.tile(np.arange(90)[:, None], 3))


def test_encode_finds_patterns_that_vectors_share():
    """Weights of an image's border that keep their values, and neighbours that are alike."""
    rng = np.random.default_rng(0)
    image = np.pad(rng.random((7, 7)) < 0.5, 4).repeat(2, axis=0).repeat(2, axis=1)
    ones = image.ravel()[:, None] ^ (rng.random((image.size, 12)) < 0.01)
    ascending = np.sort(ones, axis=0)
    ranks = np.where(ones, len(ones) - np.cumsum(ones, axis=0), np.cumsum(~ones, axis=0) - 1)
    coded = _permutations.encode(ranks, ascending, bits_back=False)
    assert 30 in coded.lags  # the width of the image
    assert 32 * len(coded.words) < 0.7 * _permutations.entropy(ascending)
    decoded = _permutations.decode(coded, ascending)
    np.testing.assert_array_equal(np.take_along_axis(ascending, decoded, axis=0), ones)


@pytest.mark.parametrize(("number", "vectors"), [(60, 30), (64, 30), (65, 1), (100, 3), (256, 30), (392, 30)])
def test_equal_values_that_are_not_frequent_cost_nothing(number, vectors):
    """Their order takes bits from the stream, which decoding gives back; but for what is encoded first."""
    rng = np.random.default_rng(0)
    column = np.arange(784) * number // 784
    ascending = np.repeat(column[:, None], vectors, axis=1)
    ranks = np.argsort(rng.random(ascending.shape), axis=0)
    coded = _permutations.encode(ranks, ascending, _permutations.saves_bits(ascending))
    of_first = vectors * math.log2(np.bincount(column).max())
    assert 32 * len(coded.words) < 1.0005 * _permutations.entropy(ascending) + of_first + 64


@pytest.mark.parametrize(("dtype", "saves"), [(np.float32, False), (np.float16, True)])
def test_bits_are_taken_back_where_many_values_are_equal(dtype, saves):
    assert (
        _permutations.saves_bits(
            np.sort(bit_keys(np.random.default_rng(0).normal(size=(784, 9)).astype(dtype)), axis=0)
        )
        is saves
    )
    assert not _permutations.saves_bits(np.zeros((784, 9)))  # frequent
