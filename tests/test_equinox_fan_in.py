"""equinox_fan_in, compared with gradients: the weights that one output unit depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laperm_jax import all_fan_in, equinox_fan_in, laperm, matrix_fan_in, norm_reset, path_fan_in
from laperm_jax.rules._fan_in import vector_axes
from tests.cases import fan_in_of, inputs

eqx = pytest.importorskip("equinox")
KEY = jax.random.key(0)


def fan_in_by_gradient(module, unit, name="weight"):
    """The axes along which the weight has a gradient of ``unit(module)``, the outputs of one unit."""
    params, static = eqx.partition(filled(module), eqx.is_inexact_array)
    loss = lambda params: jnp.square(unit(eqx.combine(params, static))).sum()
    gradient = getattr(jax.jit(jax.grad(loss))(params), name)
    return fan_in_of(gradient)


def filled(module):
    """Gives an abstract module values."""
    return jax.tree.map(lambda leaf: inputs(*leaf.shape) if hasattr(leaf, "shape") else leaf, module)


def make(layer, *args, **kwargs):
    return eqx.filter_eval_shape(lambda: layer(*args, **kwargs, key=KEY))


LAYERS = {  # layer, shape of its input
    "Linear": (lambda: make(eqx.nn.Linear, 3, 4), (3,)),
    "Conv1d": (lambda: make(eqx.nn.Conv1d, 2, 4, 3), (2, 6)),
    "Conv2d": (lambda: make(eqx.nn.Conv2d, 2, 4, (3, 2)), (2, 6, 6)),
    "Conv2d with groups": (lambda: make(eqx.nn.Conv2d, 4, 6, (3, 2), groups=2), (4, 6, 6)),
    "ConvTranspose1d": (lambda: make(eqx.nn.ConvTranspose1d, 2, 4, 3, stride=2), (2, 6)),
    "ConvTranspose2d": (lambda: make(eqx.nn.ConvTranspose2d, 2, 4, (3, 2)), (2, 6, 6)),
    "ConvTranspose2d with groups": (lambda: make(eqx.nn.ConvTranspose2d, 4, 6, (3, 2), groups=2), (4, 6, 6)),
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", LAYERS)
def test_equinox_fan_in_is_where_gradients_are(name):
    layer, shape = LAYERS[name][0](), LAYERS[name][1]
    truth = fan_in_by_gradient(layer, lambda layer: layer(inputs(*shape))[0])
    assert vector_axes(equinox_fan_in, layer) == {"weight": truth}
    assert equinox_fan_in("weight", layer.weight) == truth
    assert equinox_fan_in("layers.0.weight", layer.weight) == truth


@pytest.mark.parametrize("cell", [eqx.nn.LSTMCell, eqx.nn.GRUCell])
def test_equinox_fan_in_of_recurrent_cells(cell):
    layer = make(cell, 3, 4)
    state = (inputs(4), inputs(4)) if cell is eqx.nn.LSTMCell else inputs(4)
    # An output unit has several gates, each a vector: the last axis of weights is whole, and nothing between gates is.
    unit = lambda layer: jax.tree.leaves(layer(inputs(3), state))[0][0]
    gates = {}
    for name in ("weight_ih", "weight_hh"):
        params, static = eqx.partition(filled(layer), eqx.is_inexact_array)
        gradient = getattr(jax.jit(jax.grad(lambda params: unit(eqx.combine(params, static))))(params), name)  # noqa: B023
        rows = np.abs(np.asarray(gradient)).sum(axis=1) > 0
        assert 0 < rows.sum() <= 4
        assert (np.asarray(gradient)[rows] != 0).all()
        gates[name] = (1,)
    assert vector_axes(equinox_fan_in, layer) == gates


class Model(eqx.Module):
    """Layers that a name would not tell apart."""

    tokens: eqx.nn.Embedding
    linear_embed: eqx.nn.Linear
    norms: list
    attention: eqx.nn.MultiheadAttention
    stack: eqx.nn.Linear
    convs: eqx.nn.Conv2d
    weight_norm: eqx.nn.WeightNorm
    own: "Own"
    scale: jax.Array

    def __init__(self, key):
        self.tokens = eqx.nn.Embedding(7, 3, key=key)
        self.linear_embed = eqx.nn.Linear(3, 4, key=key)
        self.norms = [eqx.nn.LayerNorm((2, 3)), eqx.nn.RMSNorm((2, 3)), eqx.nn.GroupNorm(2, 4), eqx.nn.PReLU()]
        self.attention = eqx.nn.MultiheadAttention(2, 4, key=key)
        self.stack = eqx.filter_vmap(lambda key: eqx.nn.Linear(3, 4, key=key))(jax.random.split(key, 5))
        self.convs = eqx.filter_vmap(lambda key: eqx.nn.Conv2d(3, 4, 2, key=key))(jax.random.split(key, 5))
        self.weight_norm = eqx.nn.WeightNorm(eqx.nn.Linear(3, 4, key=key))
        self.own = Own(jnp.ones((2, 3)), jnp.ones((2, 3)))
        self.scale = jnp.ones((2, 3))


class Own(eqx.Module):
    weight: jax.Array
    value: jax.Array


AXES = {
    "linear_embed/weight": (1,),
    "attention/query_proj/weight": (1,),
    "attention/key_proj/weight": (1,),
    "attention/value_proj/weight": (1,),
    "attention/output_proj/weight": (1,),
    "stack/weight": (2,),
    "convs/weight": (2, 3, 4),
    "weight_norm/layer/weight": (1,),
    "own/weight": (1,),
}


def test_equinox_fan_in_goes_by_the_types_of_layers():
    model = eqx.filter(eqx.filter_eval_shape(Model, KEY), lambda leaf: hasattr(leaf, "shape"))
    assert vector_axes(equinox_fan_in, model) == AXES
    assert vector_axes(equinox_fan_in, {"a": [model]}) == {f"a/0/{path}": axes for path, axes in AXES.items()}


@pytest.mark.parametrize(
    ("path", "shape", "axes"),
    [
        ("weight", (5, 3), (1,)),
        ("features.0.weight", (16, 3, 5, 5), (1, 2, 3)),
        ("lstm.weight_ih_l0_reverse", (8, 3), (1,)),
        ("attention/in_proj_weight", (12, 4), (1,)),
        ("linear/bias", (5,), None),
        ("conv/bias", (5, 1, 1), None),
        ("embed_tokens.weight", (7, 3), None),
        ("patch_embed/weight", (8, 3, 4, 4), (1, 2, 3)),  # a convolution
        ("layer_norm/weight", (2, 3), None),
        ("bn1.weight", (3,), None),
        ("weight", (), None),
    ],
)
def test_equinox_fan_in_by_names(path, shape, axes):
    assert equinox_fan_in(path, jax.ShapeDtypeStruct(shape, jnp.float32)) == axes
    stacked = None if axes is None else tuple(axis + 1 for axis in axes)
    assert equinox_fan_in(path, jax.ShapeDtypeStruct((12, *shape), jnp.float32), stacked=1) == stacked


def test_laperm_trains_an_equinox_model():
    model = filled(make(eqx.nn.MLP, 3, 4, 5, 1, activation=jnp.tanh))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    tx = laperm(optax.sgd(1.0), 1, fan_in_axes=equinox_fan_in)
    grads = jax.tree.map(lambda leaf: 2 * leaf, params)  # w - 2w: the order is reversed
    trained, _ = jax.jit(tx.apply_gradients)(grads, tx.init(params), params)
    for old, new in zip(params.layers, trained.layers, strict=True):
        assert (new.weight != old.weight).any()
        np.testing.assert_array_equal(np.sort(new.weight, axis=1), np.sort(old.weight, axis=1))
    assert eqx.combine(trained, static)(inputs(3)).shape == (4,)


@pytest.mark.parametrize("rule", [None, matrix_fan_in, all_fan_in])
def test_laperm_warns_of_a_rule_with_the_output_axis_last(rule):
    params = eqx.filter(filled(make(eqx.nn.MLP, 3, 4, 5, 1)), eqx.is_inexact_array)
    with pytest.warns(UserWarning, match=r"takes the last axis of layers/0/weight, layers/1/weight .*equinox_fan_in"):
        laperm(optax.sgd(1.0), 1, fan_in_axes=rule).init(params)
    laperm(optax.sgd(1.0), 1, fan_in_axes=equinox_fan_in).init(params)
    laperm(optax.sgd(1.0), 1, fan_in_axes=path_fan_in({"weight": (0,)})).init(params)  # as told


def test_norm_reset_of_equinox_layers():
    layers = {
        "batch": eqx.nn.BatchNorm(3, "batch", mode="batch"),
        "layer": eqx.nn.LayerNorm((2, 3), use_bias=False),
        "group": eqx.nn.GroupNorm(2, 4),
        "rms": eqx.nn.RMSNorm(3),
        "linear": make(eqx.nn.Linear, 3, 4),
        "embedding": make(eqx.nn.Embedding, 3, 4),
    }
    assert norm_reset(eqx.filter(layers, eqx.is_inexact_array_like)) == {
        "batch/weight": 1.0,
        "batch/bias": 0.0,
        "layer/weight": 1.0,
        "group/weight": 1.0,
        "group/bias": 0.0,
        "rms/weight": 1.0,
        "rms/bias": 0.0,
    }
