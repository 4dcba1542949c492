"""norm_reset and reset_values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from laperm_jax import norm_reset
from laperm_jax.rules._reset import reset_values

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
    assert norm_reset({"scale": jnp.ones(3), "offset": jnp.ones(3)}) == {"scale": 1.0, "offset": 0.0}
    assert norm_reset({"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}) == {}
    assert norm_reset({}) == {}


PARAMS = {"norm": {"scale": jnp.ones(3)}, "steps": jnp.array(0), "number": 1.0}


def test_reset_values():
    assert reset_values(None, PARAMS) == {}
    assert reset_values({"norm/scale": 2.0, "number": 1}, PARAMS) == {"norm/scale": 2.0, "number": 1}
    assert reset_values(lambda path, leaf: 0.5 if path.endswith("scale") else None, PARAMS) == {"norm/scale": 0.5}
    assert reset_values({"norm/scale": np.float32(2)}, PARAMS) == {"norm/scale": 2}


def test_reset_values_refuses_an_unknown_path():
    with pytest.raises(ValueError, match="reset_values names norm/bias; the parameters are"):
        reset_values({"norm/bias": 0.0}, PARAMS)


@pytest.mark.parametrize("leaf", [jnp.array(0), True, jnp.ones(3, jnp.complex64), jax.nn.relu])
def test_reset_values_refuses_a_leaf_that_is_not_floating_point(leaf):
    with pytest.raises(TypeError, match=r"steps is .*(let reset_values give None|pass arrays only)"):
        reset_values({"steps": 0.0}, {"steps": leaf})


@pytest.mark.parametrize("value", ["1", 1j, [1.0], np.ones(3), np.ones(3, complex)])
def test_reset_values_refuses_a_value_that_is_not_a_number(value):
    with pytest.raises(TypeError, match=r"reset_values of norm/scale: .* is not a number; give a float"):
        reset_values({"norm/scale": value}, PARAMS)
