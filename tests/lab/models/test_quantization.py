"""Kernels of few values by other methods: how many there are, which they are, and that gradients pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from laperm_jax.lab.config import ConfigError, make_config
from laperm_jax.lab.models.networks import Network
from laperm_jax.lab.models.quantization import quantizer

KERNEL = jax.random.normal(jax.random.key(0), (60, 50))


@pytest.mark.parametrize("levels", [2, 3, 4, 16])
def test_evenly_spaced_levels_have_the_least_error_of_all_spacings(levels):
    quantized = np.asarray(quantizer(f"nearest:{levels}")("kernel", KERNEL))
    values = np.unique(quantized)
    assert len(values) == levels
    np.testing.assert_allclose(np.diff(values), (values[-1] - values[0]) / (levels - 1), rtol=1e-5)
    np.testing.assert_allclose(values, -values[::-1], atol=1e-6)
    error = lambda scale: np.square(np.asarray(KERNEL)[..., None] - scale * values).min(-1).mean()
    assert np.square(quantized - KERNEL).mean() <= min(map(error, np.linspace(0.7, 1.3, 61))) * 1.01


def test_kmeans_is_near_that_of_scikit_learn():
    quantized = quantizer("kmeans:4")("kernel", KERNEL)
    theirs = KMeans(4, n_init=5, random_state=0).fit(np.asarray(KERNEL).reshape(-1, 1))
    assert len(np.unique(quantized)) == 4
    assert float(jnp.square(quantized - KERNEL).sum()) <= 1.02 * theirs.inertia_


def test_the_gradient_passes_straight_through():
    loss = lambda kernel: (quantizer("nearest:2")("kernel", kernel) * KERNEL).sum()
    np.testing.assert_array_equal(jax.grad(loss)(KERNEL), KERNEL)


def test_a_supermask_chooses_a_share_of_random_weights_of_one_size():
    masked = quantizer("supermask:0.3")("dense1/kernel", KERNEL)
    size = (2 / (60 * 0.3)) ** 0.5
    assert set(np.unique(masked)) == {np.float32(-size), 0, np.float32(size)}
    chosen = np.asarray(masked) != 0
    assert chosen.sum() == 900
    assert np.abs(KERNEL)[chosen].min() > np.abs(KERNEL)[~chosen].max()
    assert abs(np.mean(np.sign(masked)[chosen])) < 0.1
    assert not np.array_equal(masked, quantizer("supermask:0.3")("dense2/kernel", KERNEL))


def test_the_gradient_of_a_score_is_that_of_its_weight_times_the_weight():
    masked = lambda scores: quantizer("supermask:0.5")("kernel", scores)
    gradient = jax.grad(lambda scores: (masked(scores) * KERNEL).sum())(KERNEL)
    all_weights = quantizer("supermask:0.5")("kernel", jnp.ones_like(KERNEL))  # all scores equal: all are chosen
    np.testing.assert_allclose(gradient, np.sign(KERNEL) * all_weights * KERNEL, rtol=1e-6)


@pytest.mark.nightly
def test_a_network_computes_with_quantised_kernels_and_biases_as_they_are():
    images = jax.random.uniform(jax.random.key(1), (4, 8, 8, 1))
    plain, quantized = (
        Network(make_config(widths=(16,), quantize=text), (8, 8, 1), 10) for text in (None, "nearest:2")
    )
    variables = plain.init(jax.random.key(0))
    by_hand = jax.tree.map_with_path(
        lambda path, leaf: quantizer("nearest:2")("", leaf) if path[-1].key == "kernel" else leaf, variables.params
    )
    expected = plain.predict(variables._replace(params=by_hand), images)
    np.testing.assert_allclose(quantized.predict(variables, images), expected, rtol=1e-6)
    assert not np.allclose(expected, plain.predict(variables, images), rtol=0.1)


@pytest.mark.parametrize(
    "text", ["nearest", "nearest:1", "kmeans:1000", "median:3", "nearest:x", "supermask:1", "supermask:x", "none", ""]
)
def test_other_words_are_refused(text):
    with pytest.raises(ConfigError, match=r"--quantize is .*; it must be nearest:N or kmeans:N"):
        quantizer(text)
