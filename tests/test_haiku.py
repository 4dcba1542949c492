"""Haiku's parameters under path_fan_in and matrix_fan_in, compared with gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laperm_jax import flax_fan_in, laperm, matrix_fan_in, norm_reset, path_fan_in
from laperm_jax.rules._fan_in import vector_axes
from tests.cases import fan_in_of, inputs

hk = pytest.importorskip("haiku")
haiku_fan_in = path_fan_in({r"conv2_d_transpose\S*/w$": (0, 1, 3), r"(^|/)w(_i|_h)?$": matrix_fan_in})
NORM = {"scale": 1.0, "offset": 0.0}
LAYERS = {  # layer, shape of its input
    "Linear": (lambda x: hk.Linear(4)(x), (5, 3)),
    "Conv2D": (lambda x: hk.Conv2D(4, (3, 2))(x), (5, 6, 6, 2)),
    "Conv2DTranspose": (lambda x: hk.Conv2DTranspose(4, (3, 2))(x), (5, 6, 6, 2)),
    "DepthwiseConv2D": (lambda x: hk.DepthwiseConv2D(2, (3, 2))(x), (5, 6, 6, 2)),
}


def initial_params(function, x):
    transformed = hk.without_apply_rng(hk.transform_with_state(function))
    params, state = jax.eval_shape(transformed.init, jax.random.key(0), x)
    return transformed, params, state


@pytest.mark.parametrize("name", LAYERS)
def test_path_fan_in_of_haiku_is_where_gradients_are(name):
    layer, shape = LAYERS[name]
    transformed, params, state = initial_params(layer, inputs(*shape))
    ((path, axes),) = vector_axes(haiku_fan_in, params).items()
    filled = jax.tree.map(lambda leaf: inputs(*leaf.shape), params)
    unit = lambda params: transformed.apply(params, state, inputs(*shape))[0][..., 0]
    gradient = jax.jit(jax.grad(lambda params: jnp.square(unit(params)).sum()))(filled)
    gradient = np.asarray(gradient[path.removesuffix("/w")]["w"])
    assert fan_in_of(gradient) == tuple(axis for axis in axes if gradient.shape[axis] > 1)


def network(x):
    x = hk.Linear(4)(x) + hk.Embed(7, 4)(jnp.arange(5))
    x = hk.MultiHeadAttention(2, 2, w_init=jnp.ones, model_size=4)(x, x, x)
    x = hk.LayerNorm(-1, True, True)(hk.BatchNorm(True, True, 0.9)(x, is_training=True))
    x, _ = hk.GRU(4)(x, jnp.ones((5, 4)))
    return hk.nets.MLP([3, 2])(x)


def test_path_fan_in_of_a_haiku_network():
    _, params, _ = initial_params(network, inputs(5, 4))
    axes = vector_axes(haiku_fan_in, params)
    assert {path.split("/")[-1] for path in axes} == {"w", "w_i", "w_h"}
    assert "multi_head_attention/query/w" in axes
    assert set(axes.values()) == {(0,)}
    norms = {f"{norm}/{name}": value for norm in ("batch_norm", "layer_norm") for name, value in NORM.items()}
    assert norm_reset(params) == norms
    with pytest.warns(UserWarning, match="flax_fan_in treats no leaf"):
        jax.eval_shape(laperm(optax.sgd(1.0), 1, fan_in_axes=flax_fan_in).init, params)
