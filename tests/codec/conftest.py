"""A small network with every kind of recipe, and its file."""

import jax.numpy as jnp
import numpy as np
import pytest

from laperm_jax import codec, flax_fan_in
from tests.codec.files import RECIPES, SHAPES, permuted


@pytest.fixture(scope="session")
def network():
    """Weights by path: kernels in random order, and other leaves."""
    rng = np.random.default_rng(0)
    weights = {path: permuted(rng, recipe.draw(SHAPES[path], jnp.float32)) for path, recipe in RECIPES.items()}
    others = {"conv/bias": rng.normal(size=6), "norm/count": np.int32(7), "norm/mask": rng.random(5) < 0.5}
    return weights | {path: np.asarray(array) for path, array in others.items()}


@pytest.fixture(scope="session")
def file(network):
    return codec.pack(network, RECIPES, flax_fan_in, metadata={"model": "toy"})
