"""Quantised kernels: how many values there are, which they are, and that gradients pass."""

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
    quantized = np.asarray(quantizer(f"nearest:{levels}")(KERNEL))
    values = np.unique(quantized)
    assert len(values) == levels
    np.testing.assert_allclose(np.diff(values), (values[-1] - values[0]) / (levels - 1), rtol=1e-5)
    np.testing.assert_allclose(values, -values[::-1], atol=1e-6)
    error = lambda scale: np.square(np.asarray(KERNEL)[..., None] - scale * values).min(-1).mean()
    assert np.square(quantized - KERNEL).mean() <= min(map(error, np.linspace(0.7, 1.3, 61))) * 1.01


def test_kmeans_is_near_that_of_scikit_learn():
    quantized = quantizer("kmeans:4")(KERNEL)
    theirs = KMeans(4, n_init=5, random_state=0).fit(np.asarray(KERNEL).reshape(-1, 1))
    assert len(np.unique(quantized)) == 4
    assert float(jnp.square(quantized - KERNEL).sum()) <= 1.02 * theirs.inertia_


def test_the_gradient_passes_straight_through():
    loss = lambda kernel: (quantizer("nearest:2")(kernel) * KERNEL).sum()
    np.testing.assert_array_equal(jax.grad(loss)(KERNEL), KERNEL)


@pytest.mark.nightly
def test_a_network_computes_with_quantised_kernels_and_biases_as_they_are():
    images = jax.random.uniform(jax.random.key(1), (4, 8, 8, 1))
    plain, quantized = (
        Network(make_config(widths=(16,), quantize=text), (8, 8, 1), 10) for text in (None, "nearest:2")
    )
    variables = plain.init(jax.random.key(0))
    by_hand = jax.tree.map_with_path(
        lambda path, leaf: quantizer("nearest:2")(leaf) if path[-1].key == "kernel" else leaf, variables.params
    )
    expected = plain.predict(variables._replace(params=by_hand), images)
    np.testing.assert_allclose(quantized.predict(variables, images), expected, rtol=1e-6)
    assert not np.allclose(expected, plain.predict(variables, images), rtol=0.1)


@pytest.mark.parametrize("text", ["nearest", "nearest:1", "kmeans:1000", "median:3", "nearest:x"])
def test_other_words_are_refused(text):
    with pytest.raises(ConfigError, match=r"--quantize is .*; it must be nearest:N or kmeans:N"):
        quantizer(text)
