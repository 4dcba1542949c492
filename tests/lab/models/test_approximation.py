"""Functions and the network that approximates them."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from laperm_jax.initializers import equidistant
from laperm_jax.lab.config import DEFAULTS, with_settings
from laperm_jax.lab.data import datasets
from laperm_jax.lab.models.approximation import Approximator, hidden_units
from laperm_jax.lab.runs.run import train


@pytest.mark.parametrize(("name", "dimensions"), [("sine", 1), ("sine2d", 2)])
def test_points_of_the_function(name, dimensions):
    function = datasets.load(name)
    for points in (function.train, function.validation, function.test):
        assert points.x.shape == (len(points.y), dimensions)
        assert (points.x.dtype, points.y.dtype) == (np.float32, np.float32)
        assert points.x.min() >= 0
        assert points.x.max() <= 1
    x = function.test.x
    expected = -np.sin(2 * np.pi * x[:, 0]) if dimensions == 1 else np.sin(2 * np.pi * x).prod(axis=1)
    np.testing.assert_allclose(function.test.y[:, 0], expected * (1 if dimensions == 1 else -1), atol=1e-6)
    assert not set(map(tuple, function.test.x)) & set(map(tuple, function.validation.x))


def test_the_network_is_the_formula():
    model = Approximator(1, (6,), equidistant(1.0), nnx.Rngs(0))
    p, q = np.asarray(model.coefficients.kernel[...]).reshape(2, 3)
    x, b = np.array([0.1, 0.6, 0.9]), np.array([0.0, 0.5, 1.0])
    rise = np.maximum(x[:, None] - b, 0) @ p + np.maximum(b - x[:, None], 0) @ q
    model.shift[...], model.scale[...] = jnp.float32(0.25), jnp.float32(2.0)
    np.testing.assert_allclose(model(jnp.asarray(x[:, None], jnp.float32))[:, 0], 0.25 + 80 * rise / 6, rtol=1e-5)


def test_units_in_the_plane_rise_along_unit_vectors_to_both_sides():
    directions, places = hidden_units(2, 200)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(directions[:100], -directions[100:])
    np.testing.assert_array_equal(places[:100], -places[100:])
    angles = np.sort(np.arctan2(directions[:, 1], directions[:, 0]))
    assert np.diff(angles).max() < 0.2


@pytest.mark.nightly
def test_reordering_one_vector_approximates_the_sine():
    summary = train(with_settings(DEFAULTS["regression"], widths=(80,), learning_rate=0.1, sync_period=20, epochs=4))
    assert summary["test_loss"] < 0.1 * 0.5  # a tenth of the variance
    assert (summary["exact_vectors"], summary["total_vectors"]) == (1, 1)


@pytest.mark.parametrize("widths", [(5,), (10, 10)])
def test_widths_that_are_not_one_even_number_are_refused(widths):
    with pytest.raises(ValueError, match="--widths must be one even number"):
        Approximator(1, widths, equidistant(1.0), nnx.Rngs(0))
