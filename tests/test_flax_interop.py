"""LaPerm on Flax models: NNX with its Optimizer, Linen with its TrainState."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from laperm_jax import flax_fan_in, laperm, matrix_fan_in, norm_reset
from laperm_jax._paths import leaves_by_path
from laperm_jax.rules._fan_in import vector_axes
from tests.cases import some_of
from tests.reference import is_permutation

IMAGES = jax.random.normal(jax.random.key(0), (8, 6, 6, 2))
LABELS = jnp.arange(8) % 3
EXPECTED_AXES = {  # of both models below, by the last parts of the path
    "conv/kernel": (0, 1, 2),
    "attention/query/kernel": (0,),
    "attention/key/kernel": (0,),
    "attention/value/kernel": (0,),
    "attention/out/kernel": (0, 1),
    "dense/kernel": (0,),
}


class NnxModel(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.dense = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, images):
        tokens = nnx.relu(self.norm(self.conv(images))).reshape(len(images), -1, 8)
        return self.dense(self.dropout(self.attention(tokens)).mean(axis=1))


class LinenModel(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        x = nn.Conv(8, (3, 3), name="conv")(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        x = nn.MultiHeadAttention(2, name="attention")(x.reshape(len(images), -1, 8))
        return nn.Dense(3, name="dense")(x.mean(axis=1))


def cross_entropy(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()


def arrays(tree):
    return {path: np.asarray(leaf) for path, leaf in leaves_by_path(tree).items()}


def assert_permuted(reconnected, initial):
    reconnected = arrays(reconnected)
    for path, axes in EXPECTED_AXES.items():
        assert is_permutation(reconnected[path], initial[path], axes), path
        assert (reconnected[path] != initial[path]).any(), path
    free = reconnected.keys() - EXPECTED_AXES.keys()
    assert any((reconnected[path] != initial[path]).any() for path in free)


@pytest.fixture(autouse=True)
def count_traces_anew():
    chex.clear_trace_counter()


@pytest.mark.parametrize("period", some_of([4, 7], {1}))  # the last of 12 steps is a sync, or is not
def test_nnx_optimizer(period):
    model = NnxModel(nnx.Rngs(0))
    initial = arrays(nnx.state(model, nnx.Param))
    tx = laperm(optax.adam(1e-2), period, fan_in_axes=flax_fan_in, reset_values=norm_reset(nnx.state(model, nnx.Param)))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    @chex.assert_max_traces(n=1)
    def step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda model: cross_entropy(model(IMAGES)))(model)
        optimizer.update(model, grads)
        return loss

    losses = [float(step(model, optimizer)) for _ in range(12)]
    assert min(losses[-4:]) < losses[0]
    params = nnx.state(model, nnx.Param)
    for holder in (optimizer, optimizer.opt_state):
        reconnected = tx.reconnected_params(holder, params)
        assert jax.tree.structure(reconnected) == jax.tree.structure(params)
        assert_permuted(reconnected, initial)
    assert (model.norm.scale[...] == 1).all() == (period == 4)

    nnx.update(model, reconnected)  # the exact weights go back into the model, and training continues
    assert_permuted(nnx.state(model, nnx.Param), initial)
    step(model, optimizer)


@pytest.mark.nightly
def test_nnx_optimizer_in_a_chain():
    model = NnxModel(nnx.Rngs(0))
    initial = arrays(nnx.state(model, nnx.Param))
    tx = laperm(optax.adam(1e-2), 3, fan_in_axes=flax_fan_in)
    optimizer = nnx.Optimizer(model, optax.chain(optax.clip_by_global_norm(1.0), tx), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        optimizer.update(model, nnx.grad(lambda model: cross_entropy(model(IMAGES)))(model))

    for _ in range(3):
        step(model, optimizer)
    assert_permuted(tx.reconnected_params(optimizer.opt_state, nnx.state(model, nnx.Param)), initial)


@pytest.mark.nightly
def test_nnx_split_state_and_pure_dicts():
    """The functional style: the tree may be a State, with Param nodes or without, or a plain dict."""
    _, params, _ = nnx.split(NnxModel(nnx.Rngs(0)), nnx.Param, ...)
    tx = laperm(optax.sgd(1e-2), 1, fan_in_axes=flax_fan_in)
    expected = arrays(tx.update(params, tx.init(params), params)[0])
    for convert in (nnx.as_pure, nnx.to_pure_dict):
        tree = convert(params)
        chex.assert_trees_all_equal(arrays(tx.update(tree, tx.init(tree), tree)[0]), expected)
        # a state made from Param nodes goes with bare arrays
        chex.assert_trees_all_equal(arrays(tx.update(tree, nnx.as_pure(tx.init(params)), tree)[0]), expected)


@pytest.mark.nightly
def test_linen_train_state():
    model = LinenModel()
    variables = model.init(jax.random.key(0), IMAGES, train=True)
    tx = laperm(optax.adam(1e-2), 4, fan_in_axes=flax_fan_in)
    state = TrainState.create(apply_fn=model.apply, params=variables["params"], tx=tx)
    initial = arrays(state.params)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(state, batch_stats):
        def loss(params):
            logits, updated = state.apply_fn(
                {"params": params, "batch_stats": batch_stats}, IMAGES, train=True, mutable=["batch_stats"]
            )
            return cross_entropy(logits), updated["batch_stats"]

        (value, batch_stats), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        return state.apply_gradients(grads=grads), batch_stats, value

    batch_stats, losses = variables["batch_stats"], []
    for _ in range(14):
        state, batch_stats, value = step(state, batch_stats)
        losses.append(float(value))
    assert losses[-1] < losses[0]
    assert_permuted(tx.reconnected_params(state.opt_state, state.params), initial)


def test_flax_fan_in_finds_the_vectors_of_both_models():
    nnx_axes = vector_axes(flax_fan_in, nnx.state(NnxModel(nnx.Rngs(0)), nnx.Param))
    linen = jax.eval_shape(lambda: LinenModel().init(jax.random.key(0), IMAGES, train=True))
    assert nnx_axes == vector_axes(flax_fan_in, linen["params"]) == EXPECTED_AXES


def test_matrix_fan_in_would_take_attention_biases_which_is_why_flax_fan_in_exists():
    assert "attention/query/bias" in vector_axes(matrix_fan_in, nnx.state(NnxModel(nnx.Rngs(0)), nnx.Param))


class NnxBlock(nnx.Module):
    def __init__(self, rngs):
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)

    def __call__(self, tokens):
        return tokens + self.norm(self.attention(tokens))


class NnxStack(nnx.Module):
    """Four blocks as one, with a leading axis of layers."""

    def __init__(self, rngs):
        make = nnx.split_rngs(splits=4)(nnx.vmap(NnxBlock, in_axes=0, out_axes=0))
        self.layers = make(rngs)
        self.dense = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, tokens):
        tokens = nnx.scan(lambda tokens, layer: layer(tokens), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(
            tokens, self.layers
        )
        return self.dense(tokens.mean(axis=1))


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, tokens, _):
        y = nn.MultiHeadAttention(2, name="attention")(tokens)
        return tokens + nn.BatchNorm(use_running_average=False, name="norm")(y), None


class LinenStack(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        stack = nn.scan(LinenBlock, {"params": 0, "batch_stats": 0}, split_rngs={"params": True}, length=4)
        tokens, _ = stack(name="layers")(tokens, None)
        return nn.Dense(3, name="dense")(tokens.mean(axis=1))


STACKED_AXES = {
    "layers/attention/query/kernel": (1,),
    "layers/attention/key/kernel": (1,),
    "layers/attention/value/kernel": (1,),
    "layers/attention/out/kernel": (1, 2),
    "dense/kernel": (0,),
}
TOKENS = IMAGES.reshape(8, 9, 8)


def stacked_rule(path, leaf):
    return flax_fan_in(path, leaf, stacked=1 if path.startswith("layers") else 0)


def make_nnx_stack():
    graph, params, rest = nnx.split(NnxStack(nnx.Rngs(0)), nnx.Param, ...)
    return nnx.to_pure_dict(params), lambda params: nnx.merge(graph, params, rest, copy=True)(TOKENS)


def make_linen_stack():
    variables = LinenStack().init(jax.random.key(0), TOKENS)
    apply = lambda params: LinenStack().apply(variables | {"params": params}, TOKENS, mutable=["batch_stats"])[0]
    return variables["params"], apply


@pytest.mark.nightly
@pytest.mark.parametrize("make", some_of([make_nnx_stack, make_linen_stack], {0}))
def test_scanned_layers_train_each_on_its_own_values(make):
    params, apply = make()
    assert vector_axes(stacked_rule, params) == STACKED_AXES
    initial = arrays(params)
    tx = laperm(optax.adam(1e-2), 3, fan_in_axes=stacked_rule)
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state):
        loss, grads = jax.value_and_grad(lambda params: cross_entropy(apply(params)))(params)
        return *tx.apply_gradients(grads, opt_state, params), loss

    losses = []
    for _ in range(15):
        params, opt_state, loss = step(params, opt_state)
        losses.append(float(loss))
    assert min(losses[-3:]) < losses[0]
    trained = arrays(params)
    for path, axes in STACKED_AXES.items():
        layers = [*range(4), ...] if path.startswith("layers") else [...]
        for layer in layers:
            own = axes if layer is ... else tuple(axis - 1 for axis in axes)
            assert is_permutation(trained[path][layer], initial[path][layer], own), path
        assert (trained[path] != initial[path]).any()


def sharded(leaf, layout):
    """Over eight devices as (4, 2): the layers, output axes or fan-in where sizes allow it."""
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    spec = [None] * leaf.ndim
    for axis, name in layout.items():
        if -leaf.ndim <= axis < leaf.ndim and leaf.shape[axis] % mesh.shape[name] == 0:
            spec[axis] = name
    return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*spec)))


@pytest.mark.nightly
@pytest.mark.parametrize(
    "layout", some_of([{0: "x", -1: "y"}, {0: "x"}, {1: "x"}, {1: "x", 2: "y"}, {-1: "x", -2: "y"}], {0}), ids=str
)
@pytest.mark.parametrize("make", some_of([make_nnx_stack, make_linen_stack], {0}))
def test_sharded_layers_have_the_bits_of_one_device(make, layout):
    params, _ = make()
    grads = jax.tree.map(lambda leaf: jnp.roll(leaf, 3).round(1), params)  # ties among them
    tx = laperm(optax.sgd(1.0, momentum=0.5), 2, fan_in_axes=stacked_rule)
    runs = []
    for put in (jnp.copy, lambda leaf: sharded(leaf, layout)):
        ours, opt_state = jax.tree.map(put, params), tx.init(jax.tree.map(put, params))
        for _ in range(3):
            ours, opt_state = jax.jit(tx.apply_gradients)(jax.tree.map(put, grads), opt_state, ours)
        runs.append((ours, opt_state, tx.reconnected_params(opt_state, ours)))
    chex.assert_trees_all_equal(*runs)


@pytest.mark.nightly
def test_stacked_layers():
    """nnx.vmap makes layers with a leading axis: vectors never run along it."""

    @nnx.vmap(in_axes=0, out_axes=0)
    def make_layers(key):
        return NnxModel(nnx.Rngs(key))

    params = nnx.state(make_layers(jax.random.split(jax.random.key(0), 5)), nnx.Param)
    rule = lambda path, leaf: flax_fan_in(path, leaf, stacked=1)
    assert vector_axes(rule, params) == {path: tuple(a + 1 for a in axes) for path, axes in EXPECTED_AXES.items()}
    tx = laperm(optax.identity(), 1, fan_in_axes=rule)
    opt_state = tx.init(params)
    moved = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=1), params)
    stacked = arrays(tx.reconnected_params(opt_state, moved))
    for layer in range(5):
        for path, axes in EXPECTED_AXES.items():
            assert is_permutation(stacked[path][layer], arrays(params)[path][layer], axes)
