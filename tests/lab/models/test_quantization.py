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
KERNELS = {
    "normal": KERNEL,
    "uniform": jax.random.uniform(jax.random.key(1), (60, 50), minval=-1.0),
    "uniform, trained": jax.random.uniform(jax.random.key(1), (60, 50), minval=-1.0) + 0.1 * KERNEL,
    "long tails": jax.random.laplace(jax.random.key(2), (60, 50)),
    "two kinds": jnp.sign(KERNEL) + 0.3 * jax.random.normal(jax.random.key(3), (60, 50)),
}


@pytest.mark.parametrize("levels", [2, 3, 4, 8, 16, 64])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_evenly_spaced_levels_have_nearly_the_least_error_of_all_spacings(kernel, levels):
    quantized = np.asarray(quantizer(f"nearest:{levels}")("kernel", kernel))
    values = np.unique(quantized)
    numbers = 2 * values / np.diff(values).min()  # of the levels, in half intervals from zero
    np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-3)
    assert set(np.round(numbers) % 2) == {(levels - 1) % 2}
    assert np.abs(numbers).max() < levels
    if levels <= 4 or (kernel is KERNEL and levels <= 16):
        assert len(values) == levels
    levels_of = lambda scale: scale * np.linspace(-1, 1, levels)
    error = lambda scale: np.square(np.asarray(kernel)[..., None] - levels_of(scale)).min(-1).mean()
    scales = np.linspace(0.02, 1, 200) * np.abs(kernel).max()
    assert np.square(quantized - kernel).mean() <= min(map(error, scales)) * (1.01 if levels <= 16 else 1.04)


def test_a_kernel_of_zeros_stays_zero():
    for text in ("nearest:3", "kmeans:2"):
        assert not quantizer(text)("kernel", jnp.zeros((4, 3))).any()


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


@pytest.mark.parametrize(
    ("path", "shape", "fan_in"),
    [
        ("conv1/kernel", (3, 3, 4, 8), 36),
        ("block1/attention/query/kernel", (32, 4, 8), 32),
        ("block1/attention/out/kernel", (4, 8, 32), 32),
    ],
)
def test_a_supermask_has_hes_variance(path, shape, fan_in):
    masked = quantizer("supermask:0.5")(path, jax.random.normal(jax.random.key(0), shape))
    assert np.abs(masked).max() == pytest.approx((2 / (fan_in * 0.5)) ** 0.5)


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
    "text",
    [
        *("nearest", "nearest:1", "kmeans:1000", "median:3", "nearest:x", "nearest:²"),
        *("supermask:1", "supermask:x", "none", "", "nearest:" + 5_000 * "9"),
    ],
)
def test_other_words_are_refused(text):
    with pytest.raises(ConfigError, match=r"--quantize is .*; it must be nearest:N or kmeans:N"):
        quantizer(text)
