"""Weight profiles: the number for SoWP, its expectation, and distances from distributions."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from laperm_jax import flax_fan_in
from laperm_jax.analysis import _profiles, expected_similarity, profile_similarity, weight_profile, weight_profiles


def similarity_by_definition(vectors):
    """One vector at a time, with the best scale of each by least squares."""
    curves = [np.sort(vector) - vector.mean() for vector in vectors.astype(np.float64)]
    mean = np.mean(curves, axis=0)[:, None]
    left = sum(np.linalg.lstsq(mean, curve, rcond=None)[1].sum() for curve in curves)
    return 1 - left / sum(curve @ curve for curve in curves)


@pytest.mark.nightly
@given(st.integers(2, 30), st.integers(3, 40), st.integers(0, 2**32), st.sampled_from([np.float32, np.float64]))
def test_profile_similarity_equals_its_definition(number, fan_in, seed, dtype):
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(number, fan_in)) ** 3 * rng.random((number, 1)) + 5).astype(dtype)
    assert profile_similarity(vectors) == pytest.approx(similarity_by_definition(vectors), abs=1e-6)
    assert weight_profile(vectors).similarity == pytest.approx(profile_similarity(vectors), abs=1e-9)


@pytest.mark.nightly
@pytest.mark.parametrize(("number", "fan_in"), [(2, 9), (5, 9), (64, 9), (500, 9), (500, 100)])
def test_expected_similarity_of_normal_vectors(number, fan_in):
    rng = np.random.default_rng(1)
    times = max(3, 200_000 // (number * fan_in))
    measured = np.mean([1 - profile_similarity(rng.normal(size=(number, fan_in))) for _ in range(times)])
    assert 1 - expected_similarity(number, fan_in) == pytest.approx(measured, rel=0.05)


def test_expected_similarity_of_one_vector():
    assert expected_similarity(1, 50) == 1


@pytest.mark.parametrize("chunk", [1, 50, 10**6])
def test_weight_profile_distances_to_standardised_quantiles(chunk, monkeypatch):
    monkeypatch.setattr(_profiles, "_CHUNK", chunk)
    vectors = np.random.default_rng(0).gamma(2.0, size=(20, 30))
    standardised = (np.sort(vectors, axis=1) - vectors.mean(axis=1, keepdims=True)) / vectors.std(axis=1, keepdims=True)
    places = (np.arange(30) + 0.5) / 30
    distance = lambda quantiles: np.sqrt(np.mean((standardised - quantiles) ** 2))
    profile = weight_profile(vectors)
    assert profile.normal_distance == pytest.approx(distance(stats.norm.ppf(places)), rel=1e-4)
    assert profile.uniform_distance == pytest.approx(distance(12**0.5 * (places - 0.5)), rel=1e-6)
    assert profile.std == pytest.approx(np.sqrt(np.mean(vectors.var(axis=1))))
    np.testing.assert_allclose(profile.mean, np.sort(vectors, axis=1).mean(axis=0))


@pytest.mark.nightly
def test_weight_profile_of_constant_vectors():
    profile = weight_profile(np.ones((3, 4)))
    assert (profile.similarity, profile.std) == (1, 0)
    assert np.isnan([profile.normal_distance, profile.uniform_distance]).all()
    one_varies = weight_profile(np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0]]))
    assert one_varies.uniform_distance == pytest.approx(weight_profile(np.array([[0.0, 1.0, 2.0]])).uniform_distance)


def test_weight_profiles_of_a_tree():
    init = jax.nn.initializers.he_normal()
    tree = {
        "conv": {"kernel": init(jax.random.key(0), (3, 3, 4, 6)), "bias": np.zeros(6)},
        "query": {"kernel": init(jax.random.key(1), (16, 2, 8))},
    }
    found = weight_profiles(tree, flax_fan_in)
    assert {path: (profile.vectors, profile.fan_in) for path, profile in found.items()} == {
        "conv/kernel": (6, 36),
        "query/kernel": (16, 16),
    }
    assert set(weight_profiles(tree)) == {"conv/kernel", "query/kernel"}


@pytest.mark.parametrize("vectors", [np.ones(3), np.ones((0, 3)), np.array([[1.0, np.nan]])])
def test_weight_profile_refuses(vectors):
    with pytest.raises(ValueError, match="vectors must be finite, of shape"):
        weight_profile(vectors)
