"""flax_fan_in on Linen's layers, compared with gradients: the kernel entries that one output unit depends on."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from laperm_jax import flax_fan_in, path_fan_in
from laperm_jax._paths import leaves_by_path
from laperm_jax.rules._fan_in import vector_axes
from tests.cases import fan_in_of, inputs

last, last_two, first_and_last = (lambda y: y[..., 0]), (lambda y: y[..., 0, 0]), (lambda y: y[0, ..., 0])
LAYERS = {  # layer, shape of its inputs, one unit's outputs
    "Dense": (lambda: nn.Dense(4), (5, 3), last),
    "Conv": (lambda: nn.Conv(4, (3, 2)), (5, 6, 6, 2), last),
    "Conv with groups": (lambda: nn.Conv(6, (3, 2), feature_group_count=2), (5, 6, 6, 4), last),
    "ConvTranspose": (lambda: nn.ConvTranspose(4, (3, 2)), (5, 6, 6, 2), last),
    "ConvLocal": (lambda: nn.ConvLocal(4, (2, 2)), (5, 4, 4, 2), lambda y: y[:, 0, 0, 0]),
    "DenseGeneral of two input axes": (lambda: nn.DenseGeneral(4, axis=(-2, -1)), (5, 2, 3), last),
}
UNKNOWN = {  # the table of flax_fan_in: layer, shape of its inputs, one unit's outputs, axes
    "several output axes": (lambda: nn.DenseGeneral((2, 4)), (5, 3), last_two, (0,)),
    "batch_dims": (lambda: nn.DenseGeneral(4, batch_dims=(0,)), (2, 5, 3), first_and_last, (1,)),
    "Einsum": (lambda: nn.Einsum((2, 3, 4), "nta,hab->nthb", use_bias=False), (5, 6, 3), last_two, (1,)),
    "ConvLocal": (lambda: nn.ConvLocal(4, (2, 2), name="a"), (5, 4, 4, 2), lambda y: y[:, 0, 0, 0], (2,)),
    "transpose_kernel": (lambda: nn.ConvTranspose(4, (3, 2), transpose_kernel=True), (5, 6, 6, 2), last, (0, 1, 3)),
}


class Parent(nn.Module):
    """Has Linen name the layer, as in ``ConvLocal_0``."""

    layer: object

    @nn.compact
    def __call__(self, x):
        return self.layer()(x)


def fan_in_by_gradient(module, x, unit, path):
    """The axes along which the kernel at ``path`` has a gradient of one unit's outputs."""
    variables = jax.tree.map(lambda leaf: inputs(*leaf.shape), jax.eval_shape(module.init, jax.random.key(0), x))
    loss = lambda variables: jnp.square(unit(module.apply(variables, x))).sum()
    gradient = leaves_by_path(jax.jit(jax.grad(loss))(variables)["params"])[path]
    return fan_in_of(gradient)


def params_of(module, x):
    return jax.eval_shape(module.init, jax.random.key(0), x)["params"]


@pytest.mark.nightly
@pytest.mark.parametrize("name", LAYERS)
def test_flax_fan_in_is_where_gradients_are(name):
    layer, shape, unit = LAYERS[name]
    module, x = Parent(layer), inputs(*shape)
    ((path, axes),) = vector_axes(flax_fan_in, params_of(module, x)).items()
    assert axes == fan_in_by_gradient(module, x, unit, path)


@pytest.mark.nightly
@pytest.mark.parametrize("name", UNKNOWN)
def test_path_fan_in_says_what_flax_fan_in_cannot_know(name):
    layer, shape, unit, truth = UNKNOWN[name]
    module, x = Parent(layer), inputs(*shape)
    params = params_of(module, x)
    ((path, by_name),) = vector_axes(flax_fan_in, params).items()
    assert fan_in_by_gradient(module, x, unit, path) == truth != by_name
    assert vector_axes(path_fan_in({path: truth, "": flax_fan_in}), params) == {path: truth}


def test_flax_fan_in_of_attention():
    module, x = nn.MultiHeadDotProductAttention(2, qkv_features=8, out_features=6), inputs(5, 6)
    axes = vector_axes(flax_fan_in, params_of(module, x))
    linear = {"features": (2, 4)}
    for name in ("query", "key", "value"):
        assert axes.pop(f"{name}/kernel") == fan_in_by_gradient(nn.DenseGeneral(**linear), x, last_two, "kernel")
    out = nn.DenseGeneral(6, axis=(-2, -1))
    assert axes == {"out/kernel": fan_in_by_gradient(out, inputs(5, 2, 4), last, "kernel")}


@pytest.mark.nightly
def test_flax_fan_in_of_stacked_layers():
    stack = nn.vmap(nn.Conv, variable_axes={"params": 0}, split_rngs={"params": True}, axis_size=7, in_axes=None)
    module, x = stack(4, (3, 2)), inputs(5, 6, 6, 2)
    rule = functools.partial(flax_fan_in, stacked=1)
    truth = fan_in_by_gradient(module, x, lambda y: y[0, ..., 0], "kernel")
    assert vector_axes(rule, params_of(module, x)) == {"kernel": truth}
