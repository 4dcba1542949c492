"""decompose: the least residual, and what LaPerm changes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laperm_jax import laperm
from laperm_jax.analysis import decompose


def draw(shape, seed, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compose_inverts_decompose(scale, given, dtype):
    vectors = draw((30, 50), 0, dtype)
    parts = decompose(vectors, draw((50,), 1, dtype) if given else None, scale=scale)
    assert all(part.dtype == dtype for part in (parts.profile, parts.scales, parts.residual))
    np.testing.assert_allclose(parts.compose(), vectors, rtol=1e-5, atol=1e-6)
    assert (np.diff(parts.profile) >= 0).all()
    assert (np.sort(parts.ranks, axis=1) == np.arange(50)).all()
    assert (np.take_along_axis(vectors, np.argsort(parts.ranks, axis=1), axis=1) == np.sort(vectors, axis=1)).all()
    if scale or not given:
        assert sum(parts.shares()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("scale", [False, True])
def test_no_permutation_has_a_smaller_residual(scale):
    """Of all permutations of four values, for any profile."""
    for seed in range(20):
        vector, profile = draw((1, 4), seed), np.sort(draw((4,), 100 + seed))
        parts = decompose(vector, profile, scale=scale)
        ours = np.sum(parts.residual**2)
        for order in itertools.permutations(range(4)):
            placed = profile[list(order)]
            factor = max(0.0, vector[0] @ placed / (placed @ placed)) if scale else 1.0
            assert ours <= np.sum((vector[0] - factor * placed) ** 2) + 1e-12


@pytest.mark.parametrize("scale", [False, True])
def test_no_profile_has_a_smaller_residual(scale):
    vectors = draw((20, 30), 0) * np.linspace(0.5, 2, 20)[:, None] + 0.1
    ours = np.sum(decompose(vectors, scale=scale).residual ** 2)
    fitted = decompose(vectors, scale=scale).profile
    for seed in range(50):
        for size in (1e-3, 0.1):
            other = np.sort(fitted + size * draw((30,), seed))
            assert ours <= np.sum(decompose(vectors, other, scale=scale).residual ** 2)


def test_scales_give_the_best_rank_one_approximation():
    vectors = draw((40, 60), 0) * np.linspace(0.5, 2, 40)[:, None]
    parts = decompose(vectors, scale=True)
    singular = np.linalg.svd(np.sort(vectors, axis=1), compute_uv=False)
    assert np.sum(parts.residual**2) == pytest.approx(np.sum(singular[1:] ** 2))
    assert np.mean(parts.scales**2) == pytest.approx(1)
    assert np.corrcoef(parts.scales, np.linspace(0.5, 2, 40))[0, 1] > 0.95


@pytest.mark.parametrize(("scale", "vectors"), [(False, np.zeros((3, 4))), (True, np.zeros((3, 4)))])
def test_decompose_of_zeros(scale, vectors):
    parts = decompose(vectors, scale=scale)
    assert not parts.residual.any()
    assert not parts.profile.any()


def test_permutations_of_one_profile_have_no_residual():
    profile = np.sort(draw((50,), 0))
    vectors = np.random.default_rng(1).permuted(np.tile(profile, (20, 1)), axis=1)
    values, permutations, left = decompose(vectors).shares()
    assert left < 1e-30
    assert values == pytest.approx(profile.mean() ** 2 / np.mean(profile**2))
    assert permutations > 0.9
    shuffled = decompose(vectors)._replace(ranks=np.random.default_rng(2).permuted(decompose(vectors).ranks, axis=1))
    np.testing.assert_allclose(np.sort(shuffled.compose(), axis=1), np.sort(vectors, axis=1))
    assert (shuffled.compose() != vectors).mean() > 0.9


def test_laperm_keeps_profile_and_shares():
    """It changes D1 alone."""
    initial = draw((50, 20), 0, np.float32)
    tx = laperm(optax.identity(), 1)
    params, _ = tx.apply_gradients(jnp.asarray(draw((50, 20), 1, np.float32)), tx.init(initial), jnp.asarray(initial))
    before, after = decompose(initial.T), decompose(np.asarray(jax.device_get(params)).T)
    assert (before.ranks != after.ranks).any()
    np.testing.assert_array_equal(before.profile, after.profile)
    np.testing.assert_allclose(before.shares(), after.shares(), rtol=1e-5)


def test_decompose_refuses():
    with pytest.raises(ValueError, match=r"finite, of shape \(vectors, fan_in\), and have shape \(4,\)"):
        decompose(np.ones(4))
    with pytest.raises(ValueError, match="must be finite"):
        decompose(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match=r"the profile has shape \(3,\); vectors \(2, 4\) need \(4,\)"):
        decompose(np.ones((2, 4)), np.ones(3))
