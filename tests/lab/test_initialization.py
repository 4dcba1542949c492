"""Initial kernels from words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.models import initialization

KEY = jax.random.key(0)
SHAPE = (200, 300)


@pytest.mark.parametrize(
    ("text", "std"),
    [
        ("he_uniform", (2 / 200) ** 0.5),
        ("he_normal", (2 / 200) ** 0.5),
        ("glorot_uniform", (2 / 500) ** 0.5),
        ("glorot_normal", (2 / 500) ** 0.5),
        ("lecun_uniform", (1 / 200) ** 0.5),
        ("lecun_normal", (1 / 200) ** 0.5),
        ("orthogonal", (1 / 300) ** 0.5),
        ("orthogonal:2", 2 * (1 / 300) ** 0.5),
        ("normal:0.05", 0.05),
        ("truncated_normal:0.05", 0.05 * 0.8796),
        ("uniform:0.3", 0.3 / 3**0.5),
        ("shared:0.08", 0.0),
    ],
)
def test_names(text, std):
    kernel = initialization.parse(text).make()(KEY, SHAPE, jnp.float32)
    assert (kernel.shape, kernel.dtype) == (SHAPE, jnp.float32)
    assert float(kernel.std()) == pytest.approx(std, rel=0.02, abs=1e-6)


@pytest.mark.parametrize("text", ["", "foo", "shared", "he_uniform:2", "normal:", "normal:x", "shared:0.1:2"])
def test_unknown_names_are_refused_with_the_list(text):
    with pytest.raises(ConfigError, match=rf"--init is {text}; there are he_uniform, .*shared:NUMBER"):
        initialization.parse(text)


def shares(text, keep, kernels):
    recipes = initialization.kernel_recipes(text, keep, kernels)
    return [float((recipe.make()(KEY, SHAPE, jnp.float32) != 0).mean()) for recipe in recipes]


@pytest.mark.parametrize(
    ("text", "keep", "expected"),
    [
        ("he_uniform", (1.0,), [1, 1, 1]),
        ("he_uniform", (0.3,), [0.8, 0.3, 0.3]),  # the paper's floor for the first layer
        ("he_uniform", (0.9,), [0.9, 0.9, 0.9]),
        ("he_uniform", (0.3, 0.2, 0.1), [0.3, 0.2, 0.1]),
        ("shared:0.03", (0.3,), [0.3, 0.3, 0.3]),
    ],
)
def test_shares_kept(text, keep, expected):
    np.testing.assert_allclose(shares(text, keep, 3), expected, atol=0.01)


def test_a_wrong_number_of_shares_is_refused():
    with pytest.raises(ConfigError, match="--keep has 2 numbers; give one, or one for each of the 3 kernels"):
        initialization.kernel_recipes("he_uniform", (0.1, 0.2), 3)
