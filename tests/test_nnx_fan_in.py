"""nnx_fan_in, compared with gradients: the kernel entries that one output unit depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from laperm_jax import laperm, nnx_fan_in
from laperm_jax._paths import leaves_by_path
from tests.gradients import fan_in_of, inputs

last, last_two, first_and_last = (lambda y: y[..., 0]), (lambda y: y[..., 0, 0]), (lambda y: y[0, ..., 0])


def fan_in_by_gradient(layer, unit, name="kernel"):
    """The axes along which the kernel has a gradient of ``unit(layer)``, the outputs of one unit."""
    graph, kernel, rest = nnx.split(filled(layer), lambda path, _: path[-1] == name, ...)
    loss = lambda kernel, rest: jnp.square(unit(nnx.merge(graph, kernel, rest, copy=True))).sum()
    (gradient,) = jax.tree.leaves(jax.jit(jax.grad(loss))(kernel, rest))
    return fan_in_of(gradient)


def filled(layer):
    """Gives an abstract module values."""
    graph, state = nnx.split(layer)
    return nnx.merge(graph, jax.tree.map(lambda leaf: inputs(*leaf.shape), state))


def abstract(make):
    return nnx.eval_shape(lambda: make(nnx.Rngs(0)))


LAYERS = {  # layer, shape of its inputs, one unit's outputs
    "Linear": (lambda rngs: nnx.Linear(3, 4, rngs=rngs), (5, 3), last),
    "Linear without bias": (lambda rngs: nnx.Linear(3, 4, use_bias=False, rngs=rngs), (5, 3), last),
    "LinearGeneral": (lambda rngs: nnx.LinearGeneral(3, 4, rngs=rngs), (5, 3), last),
    "two output axes": (lambda rngs: nnx.LinearGeneral(3, (2, 4), rngs=rngs), (5, 3), last_two),
    "two input axes": (lambda rngs: nnx.LinearGeneral((2, 3), 4, axis=(-2, -1), rngs=rngs), (5, 2, 3), last),
    "two of each": (lambda rngs: nnx.LinearGeneral((2, 3), (4, 5), axis=(1, 2), rngs=rngs), (6, 2, 3), last_two),
    "batch_axis": (lambda rngs: nnx.LinearGeneral(3, 4, batch_axis={0: 2}, rngs=rngs), (2, 5, 3), first_and_last),
    "batch_axis and two output axes": (
        lambda rngs: nnx.LinearGeneral(3, (4, 5), batch_axis={0: 2}, rngs=rngs),
        (2, 5, 3),
        lambda y: y[0, ..., 0, 0],
    ),
    "Einsum to heads": (lambda rngs: nnx.Einsum("nta,hab->nthb", (2, 3, 4), rngs=rngs), (5, 6, 3), last_two),
    "Einsum from heads": (lambda rngs: nnx.Einsum("nthb,hbc->ntc", (2, 3, 4), rngs=rngs), (5, 6, 2, 3), last),
    "Einsum transposed": (lambda rngs: nnx.Einsum("na, ba -> nb", (4, 3), rngs=rngs), (5, 3), last),
    "Einsum with an ellipsis": (lambda rngs: nnx.Einsum("...a,ab->...b", (3, 4), (4,), rngs=rngs), (5, 6, 3), last),
    "Einsum with an ellipsis in the kernel": (
        lambda rngs: nnx.Einsum("n...a,...ab->n...b", (2, 3, 4), rngs=rngs),
        (5, 2, 3),
        lambda y: y[:, 0, 0],
    ),
    "Conv in 1-D": (lambda rngs: nnx.Conv(2, 4, 3, rngs=rngs), (5, 6, 2), last),
    "Conv in 2-D": (lambda rngs: nnx.Conv(2, 4, (3, 2), strides=2, rngs=rngs), (5, 6, 6, 2), last),
    "Conv in 3-D": (lambda rngs: nnx.Conv(2, 4, (3, 2, 2), rngs=rngs), (2, 4, 4, 4, 2), last),
    "Conv with groups": (lambda rngs: nnx.Conv(4, 6, (3, 2), feature_group_count=2, rngs=rngs), (2, 6, 6, 4), last),
    "ConvTranspose": (lambda rngs: nnx.ConvTranspose(2, 4, (3, 2), rngs=rngs), (5, 6, 6, 2), last),
    "ConvTranspose with strides": (lambda rngs: nnx.ConvTranspose(2, 4, 3, strides=2, rngs=rngs), (5, 6, 2), last),
    "ConvTranspose with transpose_kernel": (
        lambda rngs: nnx.ConvTranspose(2, 4, (3, 2), transpose_kernel=True, rngs=rngs),
        (5, 6, 6, 2),
        last,
    ),
    "LoRALinear": (lambda rngs: nnx.LoRALinear(3, 4, lora_rank=2, rngs=rngs), (5, 3), last),
    "RNN's SimpleCell": (lambda rngs: nnx.SimpleCell(3, 4, rngs=rngs).dense_i, (5, 3), last),
    "GRUCell": (lambda rngs: nnx.GRUCell(3, 4, rngs=rngs).dense_h, (5, 4), last),
    "LSTMCell": (lambda rngs: nnx.OptimizedLSTMCell(3, 4, rngs=rngs).dense_h, (5, 4), last),
}
X = inputs(5, 3)


@pytest.mark.parametrize("name", LAYERS)
def test_nnx_fan_in_is_where_gradients_are(name):
    make, shape, unit = LAYERS[name]
    layer = abstract(make)
    assert nnx_fan_in(layer)["kernel"] == fan_in_by_gradient(layer, lambda layer: unit(layer(inputs(*shape))))


def stacked(make, axis, layers=7):
    return lambda rngs: nnx.vmap(make, in_axes=0, out_axes=axis)(rngs.split(layers))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["two output axes", "batch_axis", "Einsum to heads", "Conv with groups"])
def test_nnx_fan_in_of_layers_stacked_by_vmap(name, axis):
    make, shape, unit = LAYERS[name]
    stack = abstract(stacked(make, axis))
    call = nnx.vmap(lambda layer, x: layer(x), in_axes=(axis, None))
    truth = fan_in_by_gradient(stack, lambda stack: unit(call(stack, inputs(*shape))[0]))
    assert nnx_fan_in(stack)["kernel"] == truth


def test_nnx_fan_in_of_layers_stacked_twice_and_by_scan():
    make = lambda rngs: nnx.Linear(3, 4, rngs=rngs)
    call = lambda layer, x: layer(x)
    for _ in range(2):
        make, call = stacked(make, 0), nnx.vmap(call, in_axes=(0, None))
    twice = abstract(make)
    assert nnx_fan_in(twice)["kernel"] == fan_in_by_gradient(twice, lambda stack: call(stack, X)[0, 0, :, 0])

    make = nnx.scan(lambda rngs: nnx.Linear(3, 3, rngs=rngs), in_axes=0, out_axes=0)
    scanned = abstract(lambda rngs: make(rngs.split(3)))
    call = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))
    assert nnx_fan_in(scanned)["kernel"] == fan_in_by_gradient(scanned, lambda stack: call(stack, X)[0, :, 0])


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_nnx_fan_in_of_lora(axis):
    make, first = (lambda rngs: nnx.LoRA(3, 2, 5, rngs=rngs)), (lambda array: array[...])
    if axis is not None:
        make, first = stacked(make, axis), lambda array: jnp.moveaxis(array[...], axis, 0)[0]
    layer = abstract(make)
    assert nnx_fan_in(layer) == {
        "lora_a": fan_in_by_gradient(layer, lambda layer: (X @ first(layer.lora_a))[:, 0], "lora_a"),
        "lora_b": fan_in_by_gradient(layer, lambda layer: (X[:, :2] @ first(layer.lora_b))[:, 0], "lora_b"),
    }


def test_nnx_fan_in_of_attention():
    layer = abstract(lambda rngs: nnx.MultiHeadAttention(2, 6, qkv_features=8, decode=False, rngs=rngs))
    calls = {name: lambda linear: linear(inputs(5, 6))[:, 0, 0] for name in ("query", "key", "value")}
    calls["out"] = lambda linear: linear(inputs(5, 2, 4))[:, 0]
    truth = {f"{name}/kernel": fan_in_by_gradient(getattr(layer, name), call) for name, call in calls.items()}
    assert nnx_fan_in(layer) == truth


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
