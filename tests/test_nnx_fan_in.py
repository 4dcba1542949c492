"""nnx_fan_in, compared with gradients: the kernel entries that one output unit depends on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from laperm_jax import laperm, nnx_fan_in
from laperm_jax._paths import leaves_by_path
from tests.cases import fan_in_of, inputs


def stacked(make, axis, layers=7):
    return lambda rngs: nnx.vmap(make, in_axes=0, out_axes=axis)(rngs.split(layers))


def of_one_layer(unit, axis):
    """The outputs of a unit of the first of stacked layers."""
    return lambda stack: nnx.vmap(unit, in_axes=axis)(stack)[0]


def abstract(make):
    return nnx.eval_shape(lambda: make(nnx.Rngs(0)))


def filled(layer):
    """Gives an abstract module values."""
    graph, state = nnx.split(layer)
    return nnx.merge(graph, jax.tree.map(lambda leaf: inputs(*leaf.shape), state))


X = inputs(5, 3)
IMAGES = inputs(2, 6, 6, 2)
LAYERS = {  # how to make a layer, the outputs of one of its units
    "Linear": (lambda rngs: nnx.Linear(3, 4, rngs=rngs), lambda layer: layer(X)[:, 0]),
    "Linear without bias": (
        lambda rngs: nnx.Linear(3, 4, use_bias=False, rngs=rngs),
        lambda layer: layer(X)[:, 0],
    ),
    "LinearGeneral": (lambda rngs: nnx.LinearGeneral(3, 4, rngs=rngs), lambda layer: layer(X)[:, 0]),
    "two output axes": (lambda rngs: nnx.LinearGeneral(3, (2, 4), rngs=rngs), lambda layer: layer(X)[:, 0, 0]),
    "two input axes": (
        lambda rngs: nnx.LinearGeneral((2, 3), 4, axis=(-2, -1), rngs=rngs),
        lambda layer: layer(inputs(5, 2, 3))[:, 0],
    ),
    "two of each": (
        lambda rngs: nnx.LinearGeneral((2, 3), (4, 5), axis=(1, 2), rngs=rngs),
        lambda layer: layer(inputs(6, 2, 3))[:, 0, 0],
    ),
    "batch_axis": (
        lambda rngs: nnx.LinearGeneral(3, 4, batch_axis={0: 2}, rngs=rngs),
        lambda layer: layer(inputs(2, 5, 3))[0, :, 0],
    ),
    "batch_axis and two output axes": (
        lambda rngs: nnx.LinearGeneral(3, (4, 5), batch_axis={0: 2}, rngs=rngs),
        lambda layer: layer(inputs(2, 5, 3))[0, :, 0, 0],
    ),
    "Einsum to heads": (
        lambda rngs: nnx.Einsum("nta,hab->nthb", (2, 3, 4), rngs=rngs),
        lambda layer: layer(inputs(5, 6, 3))[..., 0, 0],
    ),
    "Einsum from heads": (
        lambda rngs: nnx.Einsum("nthb,hbc->ntc", (2, 3, 4), rngs=rngs),
        lambda layer: layer(inputs(5, 6, 2, 3))[..., 0],
    ),
    "Einsum transposed": (
        lambda rngs: nnx.Einsum("na, ba -> nb", (4, 3), rngs=rngs),
        lambda layer: layer(X)[:, 0],
    ),
    "Einsum with an ellipsis": (
        lambda rngs: nnx.Einsum("...a,ab->...b", (3, 4), (4,), rngs=rngs),
        lambda layer: layer(X)[:, 0],
    ),
    "Einsum with an ellipsis in the kernel": (
        lambda rngs: nnx.Einsum("n...a,...ab->n...b", (2, 3, 4), rngs=rngs),
        lambda layer: layer(inputs(5, 2, 3))[:, 0, 0],
    ),
    "Conv in 1-D": (lambda rngs: nnx.Conv(2, 4, 3, rngs=rngs), lambda layer: layer(inputs(5, 6, 2))[..., 0]),
    "Conv in 2-D": (lambda rngs: nnx.Conv(2, 4, (3, 2), strides=2, rngs=rngs), lambda layer: layer(IMAGES)[..., 0]),
    "Conv in 3-D": (
        lambda rngs: nnx.Conv(2, 4, (3, 2, 2), rngs=rngs),
        lambda layer: layer(inputs(2, 4, 4, 4, 2))[..., 0],
    ),
    "Conv with groups": (
        lambda rngs: nnx.Conv(4, 6, (3, 2), feature_group_count=2, rngs=rngs),
        lambda layer: layer(inputs(2, 6, 6, 4))[..., 0],
    ),
    "ConvTranspose": (lambda rngs: nnx.ConvTranspose(2, 4, (3, 2), rngs=rngs), lambda layer: layer(IMAGES)[..., 0]),
    "ConvTranspose with strides": (
        lambda rngs: nnx.ConvTranspose(2, 4, 3, strides=2, rngs=rngs),
        lambda layer: layer(inputs(5, 6, 2))[..., 0],
    ),
    "ConvTranspose with transpose_kernel": (
        lambda rngs: nnx.ConvTranspose(2, 4, (3, 2), transpose_kernel=True, rngs=rngs),
        lambda layer: layer(IMAGES)[..., 0],
    ),
    "LoRALinear": (lambda rngs: nnx.LoRALinear(3, 4, lora_rank=2, rngs=rngs), lambda layer: layer(X)[:, 0]),
    "scan": (
        lambda rngs: nnx.scan(lambda rngs: nnx.Linear(3, 3, rngs=rngs), in_axes=0, out_axes=0)(rngs.split(7)),
        of_one_layer(lambda layer: layer(X)[:, 0], 0),
    ),
    "vmap of vmap": (
        stacked(stacked(lambda rngs: nnx.Linear(3, 4, rngs=rngs), 0), 0),
        of_one_layer(of_one_layer(lambda layer: layer(X)[:, 0], 0), 0),
    ),
}
for axis in (0, 1, -1):
    for name in ("two output axes", "batch_axis", "Einsum to heads", "Conv with groups"):
        make, unit = LAYERS[name]
        LAYERS[f"{name}, stacked along {axis}"] = stacked(make, axis), of_one_layer(unit, axis)
LORA = {  # and the kernel
    "LoRA": ((lambda rngs: nnx.LoRA(3, 2, 5, rngs=rngs)), lambda lora: (X @ lora.lora_a)[:, 0], "lora_a"),
    "LoRA, b": ((lambda rngs: nnx.LoRA(3, 2, 5, rngs=rngs)), lambda lora: (X[:, :2] @ lora.lora_b)[:, 0], "lora_b"),
}
for axis in (0, 1, -1):
    for name, (make, unit, kernel) in list(LORA.items())[:2]:
        LORA[f"{name}, stacked along {axis}"] = stacked(make, axis), of_one_layer(unit, axis), kernel
ATTENTION = {
    name: (
        lambda rngs: nnx.MultiHeadAttention(2, 6, qkv_features=8, decode=False, rngs=rngs),
        lambda layer, name=name: getattr(layer, name)(inputs(5, 6))[:, 0, 0],
        f"{name}/kernel",
    )
    for name in ("query", "key", "value")
}
ATTENTION["out"] = ATTENTION["key"][0], lambda layer: layer.out(inputs(5, 2, 4))[:, 0], "out/kernel"
ALL = {name: (make, unit, "kernel") for name, (make, unit) in LAYERS.items()} | LORA | ATTENTION


@functools.cache
def layers_and_gradients():
    """Each layer, and the gradient of one unit's outputs by its kernel: one program for all."""
    layers = nnx.eval_shape(lambda: {name: make(nnx.Rngs(0)) for name, (make, _, _) in ALL.items()})
    graphs, kernels, rests = {}, {}, {}
    for name, (_, _, kernel) in ALL.items():
        is_kernel = lambda path, _, kernel=kernel: "/".join(map(str, path)) == kernel
        graphs[name], kernels[name], rests[name] = nnx.split(filled(layers[name]), is_kernel, ...)

    def loss(kernels, rests):
        merged = {name: nnx.merge(graphs[name], kernels[name], rests[name], copy=True) for name in ALL}
        return sum(jnp.square(unit(merged[name])).sum() for name, (_, unit, _) in ALL.items())

    gradients = jax.jit(jax.grad(loss))(kernels, rests)
    return layers, {name: np.asarray(*jax.tree.leaves(gradients[name])) for name in ALL}


@pytest.mark.nightly
@pytest.mark.parametrize("name", ALL)
def test_nnx_fan_in_is_where_gradients_are(name):
    layers, gradients = layers_and_gradients()
    assert nnx_fan_in(layers[name])[ALL[name][2]] == fan_in_of(gradients[name])


@pytest.mark.parametrize("cell", [nnx.SimpleCell, nnx.GRUCell, nnx.LSTMCell, nnx.OptimizedLSTMCell])
def test_nnx_fan_in_of_recurrent_cells(cell):
    layer = abstract(lambda rngs: nnx.Bidirectional(*(nnx.RNN(cell(3, 4, rngs=rngs)) for _ in range(2))))
    kernels = [path for path in leaves_by_path(nnx.state(layer, nnx.Param)) if path.endswith("kernel")]
    assert kernels
    assert nnx_fan_in(layer) == dict.fromkeys(kernels, (0,))


class MyLinear(nnx.Linear):
    pass


class Block(nnx.Module):
    """Containers of every kind, shared modules and variables, and parameters that no layer owns."""

    def __init__(self, rngs):
        shared = nnx.Linear(3, 3, rngs=rngs)
        self.a = shared.kernel
        self.kernel = nnx.Param(jnp.ones((3, 3)))
        self.list = nnx.List([shared, nnx.Conv(2, 4, (3, 3), rngs=rngs), nnx.Embed(7, 3, rngs=rngs)])
        self.dict = nnx.Dict(value=MyLinear(3, 4, rngs=rngs), norm=nnx.BatchNorm(3, rngs=rngs))
        self.data = nnx.data([{"x": nnx.LinearGeneral(3, (2, 4), rngs=rngs)}, shared])
        self.sequential = nnx.Sequential(nnx.Linear(3, 4, rngs=rngs), nnx.relu, nnx.PReLU(), nnx.Dropout(0.1))
        self.weight_norm = nnx.WeightNorm(nnx.Linear(3, 4, rngs=rngs), rngs=rngs)
        self.spectral_norm = nnx.SpectralNorm(nnx.Linear(3, 4, rngs=rngs), rngs=rngs)
        self.stack = stacked(lambda rngs: nnx.Linear(3, 3, rngs=rngs), 0, layers=2)(rngs)
        self.lora = nnx.LoRALinear(3, 4, lora_rank=2, rngs=rngs)


BLOCK = {
    "a": (0,),
    "dict/value/kernel": (0,),
    "data/0/x/kernel": (0,),
    "list/1/kernel": (0, 1, 2),
    "lora/kernel": (0,),
    "lora/lora/lora_a": (0,),
    "lora/lora/lora_b": (0,),
    "sequential/layers/0/kernel": (0,),
    "spectral_norm/layer_instance/kernel": (0,),
    "stack/kernel": (1,),
    "weight_norm/layer_instance/kernel": (0,),
}


def test_nnx_fan_in_of_nested_and_shared_modules():
    assert nnx_fan_in(abstract(Block)) == BLOCK


@pytest.mark.nightly
def test_nnx_fan_in_has_the_paths_of_an_nnx_optimizer():
    layers = [nnx.LinearGeneral(3, (2, 4), rngs=nnx.Rngs(0)), nnx.Einsum("nab,cab->nca", (5, 2, 4), rngs=nnx.Rngs(1))]
    model = nnx.Sequential(*layers)
    initial = leaves_by_path(nnx.state(model, nnx.Param))
    tx = laperm(optax.sgd(1.0), 1, fan_in_axes=nnx_fan_in(model))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    grads = jax.tree.map(lambda leaf: 2 * leaf, nnx.state(model, nnx.Param))  # w - 2w: the order is reversed
    nnx.jit(lambda model, optimizer, grads: optimizer.update(model, grads))(model, optimizer, grads)
    trained = leaves_by_path(tx.reconnected_params(optimizer, nnx.state(model, nnx.Param)))
    for path, axis in {"layers/0/kernel": 0, "layers/1/kernel": 2}.items():
        assert (trained[path] != initial[path]).any()
        np.testing.assert_array_equal(np.sort(trained[path], axis), np.sort(initial[path], axis))


def test_nnx_fan_in_wrt():
    layer = filled(abstract(lambda rngs: nnx.LoRALinear(3, 4, lora_rank=2, rngs=rngs)))
    assert nnx_fan_in(layer, nnx.LoRAParam) == {"lora/lora_a": (0,), "lora/lora_b": (0,)}
    tx = laperm(optax.adam(1e-3), 5, fan_in_axes=nnx_fan_in(layer, wrt=nnx.LoRAParam))
    nnx.Optimizer(layer, tx, wrt=nnx.LoRAParam)


def test_nnx_fan_in_leaves_a_kernel_without_fan_in_alone():
    with pytest.warns(UserWarning, match="nnx_fan_in treats no leaf"):
        assert nnx_fan_in(nnx.Einsum("nab,ab->nab", (3, 4), rngs=nnx.Rngs(0))) == {}


def test_nnx_fan_in_warns_of_a_model_without_known_layers():
    class Own(nnx.Module):
        def __init__(self, shape):
            self.weights = nnx.Param(jnp.ones(shape))

    with pytest.warns(UserWarning, match=r"nnx_fan_in treats no leaf .* weights"):
        assert nnx_fan_in(Own((2, 3))) == {}
    assert nnx_fan_in(Own((3,))) == {}


def test_nnx_fan_in_refuses_what_is_no_module():
    with pytest.raises(TypeError, match=r"reads the layers of an nnx.Module; State is not one"):
        nnx_fan_in(nnx.state(nnx.Linear(3, 4, rngs=nnx.Rngs(0))))
