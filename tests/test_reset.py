"""norm_reset and how reset rules are resolved."""

import jax.numpy as jnp
import pytest
from flax import nnx

from laperm_jax import norm_reset
from laperm_jax._reset import reset_values

pytestmark = pytest.mark.usefixtures("strict")


def test_norm_reset_finds_every_normalisation_layer():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.dense = nnx.Linear(4, 4, rngs=rngs)
            self.batch = nnx.BatchNorm(4, rngs=rngs)
            self.layer = nnx.LayerNorm(4, use_bias=False, rngs=rngs)
            self.group = nnx.GroupNorm(4, num_groups=2, rngs=rngs)
            self.rms = nnx.RMSNorm(4, rngs=rngs)

    assert norm_reset(nnx.state(Model(nnx.Rngs(0)), nnx.Param)) == {
        "batch/scale": 1.0,
        "batch/bias": 0.0,
        "layer/scale": 1.0,
        "group/scale": 1.0,
        "group/bias": 0.0,
        "rms/scale": 1.0,
    }


def test_norm_reset_of_a_bare_layer_and_of_none():
    assert norm_reset({"scale": jnp.ones(3), "bias": jnp.ones(3)}) == {"scale": 1.0, "bias": 0.0}
    assert norm_reset({"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}) == {}
    assert norm_reset({}) == {}


def test_resolving():
    params = {"norm": {"scale": jnp.ones(3)}, "steps": jnp.array(0)}
    assert reset_values(None, params) == {}
    assert reset_values({"norm/scale": 2.0}, params) == {"norm/scale": 2.0}
    assert reset_values(lambda path, leaf: 0.5 if path.endswith("scale") else None, params) == {"norm/scale": 0.5}
    with pytest.raises(ValueError, match="reset_values names norm/bias"):
        reset_values({"norm/bias": 0.0}, params)
    with pytest.raises(TypeError, match="steps is int32"):
        reset_values({"steps": 0.0}, params)
