"""Initial kernels from words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.models import initialization

KEY = jax.random.key(0)
SHAPE = (200, 300)


@pytest.mark.nightly
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
        ("shared:-0.08", 0.0),
        ("levels:4", (2 / 200) ** 0.5),
        ("levels:4:0.05", 0.05),
    ],
)
def test_names(text, std):
    kernel = initialization.parse(text).make()(KEY, SHAPE, jnp.float32)
    assert (kernel.shape, kernel.dtype) == (SHAPE, jnp.float32)
    assert float(kernel.std()) == pytest.approx(std, rel=0.02, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["", "foo", "shared", "he_uniform:2", "normal:", "normal:x", "normal:1j", "shared:0.1:2", "levels:2:0.1:3"]
)
def test_parse_lists_what_there_is(text):
    with pytest.raises(
        ConfigError, match=rf"--init is {text}; there are he_uniform, .*levels:NUMBER\[:NUMBER\], shared"
    ):
        initialization.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (f"normal:{number}", "the standard deviation must be from 1e-30 to 1e")
            for number in ("nan", "1e39", "-1", "0")
        ),
        *((f"truncated_normal:{number}", "the standard deviation") for number in ("inf", "1e400", "1e-46")),
        *((f"uniform:{number}", "the largest magnitude must be from") for number in ("-1", "nan", "1e39")),
        *((f"equidistant:{number}", "the largest magnitude must be from") for number in ("-1", "0", "-inf")),
        *((f"orthogonal:{number}", "the gain must be from") for number in ("-1", "0", "nan")),
        *((f"shared:{number}", "the magnitude of the shared value must be") for number in ("inf", "-1e39", "0", "nan")),
        *((f"levels:{number}", "must be a whole number from 2 to 65,536, not") for number in ("2.5", "1", "1e9")),
        *((f"levels:{number}", "from 2 to 65,536, not") for number in ("nan", "inf", "-3", "0", "1e31", "1e-31")),
        *((f"levels:2:{number}", "the standard deviation must be from") for number in ("0", "-1", "nan", "1e39")),
    ],
)
def test_parse_refuses_numbers_out_of_range(text, message):
    with pytest.raises(ConfigError, match=f"--init is {text}; .*{message}"):
        initialization.parse(text)


def shares(text, keep, kernels):
    recipes = initialization.kernel_recipes(text, keep, kernels)
    assert not any(recipe.rescale for recipe in recipes)
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


def test_rescale_restores_the_variance_of_each_kernel():
    recipes = initialization.kernel_recipes("normal:0.05", (0.3, 1.0), 2, rescale=True)
    assert [recipe.rescale for recipe in recipes] == [True, False]
    for recipe in recipes:
        assert float(recipe.make()(KEY, SHAPE, jnp.float32).std()) == pytest.approx(0.05, rel=0.02)
