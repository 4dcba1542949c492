"""The entropy coder alone, against an independent decoder."""

import numpy as np
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


@given(st.integers(0, 100), st.integers(0, 5), st.sampled_from(VALUES), st.integers(0, 2**32))
def test_decode_inverts_encode(fan_in, vectors, draw, seed):
    rng = np.random.default_rng(seed)
    keys = bit_keys(draw(rng, (fan_in, vectors)))
    ranks = np.argsort(rng.random(keys.shape), axis=0)
    ascending = np.sort(keys, axis=0)
    words, lags = _permutations.encode(ranks, ascending)
    decoded = _permutations.decode(words, lags, ascending)
    np.testing.assert_array_equal(np.sort(decoded, axis=0), np.sort(ranks, axis=0))
    value = lambda ranks: np.take_along_axis(ascending, ranks, axis=0)
    np.testing.assert_array_equal(value(decoded), value(ranks))
    others = decoder.decode_permutations(decoder.Stream(words.astype("<u4").tobytes()), lags, ascending.T.tolist())
    np.testing.assert_array_equal(np.reshape(others, (vectors, fan_in)).T, decoded)


@given(
    st.lists(st.integers(1, 2**32 - 1), max_size=50),
    st.lists(st.integers(1, 200), max_size=8),
    st.sampled_from(VALUES),
    st.integers(0, 2**32),
)
def test_decode_of_any_words_is_a_permutation(words, lags, draw, seed):
    ascending = np.sort(bit_keys(draw(np.random.default_rng(seed), (90, 3))), axis=0)
    decoded = _permutations.decode(np.array(words, np.uint32), lags, ascending)
    np.testing.assert_array_equal(np.sort(decoded, axis=0), np.tile(np.arange(90)[:, None], 3))


def test_encode_finds_patterns_that_vectors_share():
    """Weights of an image's border that keep their values, and neighbours that are alike."""
    rng = np.random.default_rng(0)
    image = np.pad(rng.random((7, 7)) < 0.5, 4).repeat(2, axis=0).repeat(2, axis=1)
    ones = image.ravel()[:, None] ^ (rng.random((image.size, 12)) < 0.01)
    ascending = np.sort(ones, axis=0)
    ranks = np.where(ones, len(ones) - np.cumsum(ones, axis=0), np.cumsum(~ones, axis=0) - 1)
    words, lags = _permutations.encode(ranks, ascending)
    assert 30 in lags  # the width of the image
    assert 32 * len(words) < 0.7 * _permutations.entropy(ascending)
    decoded = _permutations.decode(words, lags, ascending)
    np.testing.assert_array_equal(np.take_along_axis(ascending, decoded, axis=0), ones)
