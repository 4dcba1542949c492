"""tabulate: what a sync does to each leaf, as text."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from laperm_jax import all_fan_in, equinox_fan_in, flax_fan_in, nnx_fan_in, norm_reset, tabulate
from laperm_jax._paths import leaves_by_path

PARAMS = {
    "conv": {"kernel": jnp.ones((3, 3, 16, 64)), "bias": jnp.ones(64)},
    "norm": {"scale": jnp.ones(64), "bias": jnp.ones(64)},
    "ids": jnp.ones((2, 2), jnp.int32),
    "temperature": 1.0,
}


def test_tabulate():
    table = tabulate(PARAMS, flax_fan_in, norm_reset(PARAMS)).splitlines()
    assert table == [
        "path         shape           axes       vectors x length  at a sync",
        "conv/bias    (64,)                                        left to inner",
        "conv/kernel  (3, 3, 16, 64)  (0, 1, 2)  64 x 144          reordered",
        "ids          (2, 2)                                       left to inner",
        "norm/bias    (64,)                                        reset to 0.0",
        "norm/scale   (64,)                                        reset to 1.0",
        "temperature  ()                                           left to inner",
        "total: 9,413 values, 9,216 reordered in 64 vectors, 128 reset, 69 left to inner",
    ]


def test_tabulate_takes_the_default_rule_of_laperm():
    assert tabulate(PARAMS).splitlines()[2].endswith("(0, 1, 2)  64 x 144          reordered")
    assert tabulate(PARAMS).splitlines()[-1].endswith("9,216 reordered in 64 vectors, 0 reset, 197 left to inner")


def test_tabulate_resets_rather_than_reorders():
    table = tabulate(PARAMS, all_fan_in, norm_reset(PARAMS))
    assert "9,280 reordered in 65 vectors, 128 reset, 5 left" in table


def test_tabulate_of_shapes_and_of_trees_without_leaves():
    assert tabulate(jax.eval_shape(lambda: PARAMS), flax_fan_in) == tabulate(PARAMS, flax_fan_in)
    assert tabulate(jax.tree.map(np.asarray, PARAMS), flax_fan_in) == tabulate(PARAMS, flax_fan_in)
    for empty in ({}, None, {"a": optax.MaskedNode()}):
        assert tabulate(empty).splitlines()[-1].startswith("total: 0 values")
    assert "(2, 3)  (0,)  3 x 2" in tabulate(jnp.ones((2, 3)))


def test_tabulate_of_an_nnx_module():
    model = nnx.eval_shape(lambda: nnx.MultiHeadAttention(2, 6, decode=False, dropout_rate=0.1, rngs=nnx.Rngs(0)))
    state = nnx.state(model, nnx.Param)
    table = tabulate(model, nnx_fan_in(model))
    assert table == tabulate(state, nnx_fan_in(model)) == tabulate(nnx.to_pure_dict(state), flax_fan_in)
    paths = [line.split()[0] for line in table.splitlines()[1:-1]]
    assert paths == list(leaves_by_path(state))
    assert "value/kernel  (6, 2, 3)  (0,)    6 x 6             reordered" in table


def test_tabulate_of_an_equinox_module():
    eqx = pytest.importorskip("equinox")
    model = eqx.filter_eval_shape(lambda: eqx.nn.MLP(2, 3, 4, 1, key=jax.random.key(0)))
    table = tabulate(model, equinox_fan_in)
    assert table == tabulate(eqx.filter(model, lambda leaf: hasattr(leaf, "shape")), equinox_fan_in)
    assert "layers/0/weight  (4, 2)  (1,)  4 x 2             reordered" in table


def test_tabulate_raises_as_init_does():
    with pytest.raises(TypeError, match="conv is complex64"):
        tabulate({"conv": jnp.ones((2, 2), jnp.complex64)})
    with pytest.raises(ValueError, match="fan_in_axes names dense"):
        tabulate(PARAMS, {"dense": (0,)})
    with pytest.raises(TypeError, match="f is not an array"):
        tabulate({"f": jax.nn.relu})
