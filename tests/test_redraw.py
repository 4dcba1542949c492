"""Initial weights drawn again at each sync: the same bits as with a kept copy, and no copy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import lax
from jax.nn import initializers

from laperm_jax import LaPermState, flax_fan_in, laperm
from laperm_jax.initializers import sparse
from tests.cases import some_of

INITS = {  # each draws in a way of its own, which XLA could compile to other bits beside a sync
    "he_uniform": initializers.he_uniform(),
    "truncated normal": initializers.lecun_normal(),
    "normal": initializers.normal(0.1),
    "orthogonal": initializers.orthogonal(),
    "sparse": sparse(initializers.he_uniform(), 0.3),
}
SHAPES = {"first": (40, 33), "second": (3, 3, 8, 16), "third": (300, 7)}


def draw(seed=0):
    keys = jax.random.split(jax.random.key(seed), len(SHAPES))
    init = INITS["he_uniform"]
    kernels = {name: init(key, shape) for key, (name, shape) in zip(keys, SHAPES.items(), strict=True)}
    return {**kernels, "bias": jnp.zeros(7)}


def grads_of(params, step):
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(1), step), len(leaves))
    return treedef.unflatten([jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)])


def assert_same_bits(one, other):
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(left).view(np.uint32), np.asarray(right).view(np.uint32))


def train(tx, params, steps=7):
    """A scan of steps of both kinds, and the exact parameters in the end."""

    def step(carry, number):
        params, opt_state = carry
        updates, opt_state = tx.update(grads_of(params, number), opt_state, params)
        params = optax.apply_updates(params, updates)
        return tx.apply_gradients(grads_of(params, -number), opt_state, params), None

    run = jax.jit(lambda carry: lax.scan(step, carry, jnp.arange(1, steps))[0])
    params, opt_state = run((params, tx.init(params)))
    return params, tx.reconnected_params(opt_state, params), jax.jit(tx.reconnected_params)(opt_state, params)


@pytest.mark.nightly
@pytest.mark.optimized
def test_training_gives_the_bits_of_a_kept_copy():
    def redraw():
        keys = jax.random.split(jax.random.key(0), len(INITS))
        kernels = {name: init(key, (40, 33)) for key, (name, init) in zip(keys, INITS.items(), strict=True)}
        return draw() | kernels

    params = jax.jit(redraw)()
    kept = train(laperm(optax.adam(1e-2), 3), params)
    drawn = train(laperm(optax.adam(1e-2), 3, redraw=redraw), params)
    assert_same_bits(kept, drawn)
    for name in (*SHAPES, *INITS):
        assert not np.array_equal(drawn[1][name], params[name])


@pytest.mark.nightly
def test_outside_jit():
    params = draw()
    states = []
    for tx in (laperm(optax.sgd(0.1), 2), laperm(optax.sgd(0.1), 2, redraw=draw)):
        new, opt_state = params, tx.init(params)
        for step in range(2):
            new, opt_state = tx.apply_gradients(grads_of(params, step), opt_state, new)
        states.append(new)
    assert_same_bits(*states)


def test_the_state_keeps_no_copy():
    tx = laperm(optax.sgd(0.1), 2, redraw=draw)
    state = tx.init(draw())
    assert jax.tree.leaves(state.sorted_init) == []
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 1  # the counter
    assert len(jax.tree.leaves(laperm(optax.sgd(0.1), 2).init(draw()).sorted_init)) == 3


@pytest.mark.parametrize("on", some_of(["1", "0"], {0}))
@pytest.mark.optimized
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="XLA:GPU ranks all parameters before it draws the first")
def test_what_a_sync_needs_of_memory_does_not_grow_with_the_number_of_parameters(monkeypatch, on):
    monkeypatch.setattr(jax, "device_count", lambda *_: 1)
    monkeypatch.setenv("LAPERM_NATIVE", on)
    shape, count = (576, 64), 12

    def redraw():
        keys = jax.random.split(jax.random.key(0), count)
        return {str(number): jax.random.normal(key, shape) for number, key in enumerate(keys)}

    tx = laperm(optax.identity(), 2, redraw=redraw)
    arguments = jax.eval_shape(tx.init, redraw()), jax.eval_shape(redraw)
    temporary = jax.jit(tx.reconnected_params).lower(*arguments).compile().memory_analysis().temp_size_in_bytes
    assert temporary <= 6.5 * 4 * 576 * 64


@pytest.mark.nightly
def test_inside_masked_and_partition():
    params = draw()
    redrawn, kept = laperm(optax.sgd(0.1), 1, redraw=draw), laperm(optax.sgd(0.1), 1)
    labels = {"first": "redrawn", "second": "kept", "third": "other", "bias": "other"}
    tx = optax.partition({"redrawn": redrawn, "kept": kept, "other": optax.sgd(0.1)}, labels)
    updates, opt_state = jax.jit(tx.update)(grads_of(params, 0), tx.init(params), params)
    exact = redrawn.reconnected_params(opt_state, optax.apply_updates(params, updates))
    for name in ("first", "second"):
        fan_in = tuple(range(len(SHAPES[name]) - 1))
        size = int(np.prod([SHAPES[name][axis] for axis in fan_in]))
        columns = lambda tree, name=name, size=size: np.sort(np.asarray(tree[name]).reshape(size, -1), axis=0)
        np.testing.assert_array_equal(columns(exact), columns(params))
        assert not np.array_equal(exact[name], params[name])
    with pytest.raises(ValueError, match="keeps no initial values of first: use the transform it was made by"):
        kept.reconnected_params(opt_state, params)


@pytest.mark.nightly
def test_seeds_side_by_side():
    seeds = jnp.arange(3)

    def run(seed):
        redraw = lambda: draw(seed=seed)
        return train(laperm(optax.sgd(0.3), 2, redraw=redraw), redraw(), steps=4)[2]

    together = jax.jit(jax.vmap(run))(seeds)
    for number, seed in enumerate(seeds):
        initial = draw(seed=seed)
        one = jax.tree.map(lambda leaf, number=number: np.sort(leaf[number], axis=0), together)
        np.testing.assert_array_equal(one["first"], np.sort(initial["first"], axis=0))


def test_nnx():
    make = nnx.jit(lambda: nnx.Linear(8, 5, rngs=nnx.Rngs(3)))
    model = make()
    tx = laperm(optax.adam(1e-2), 1, fan_in_axes=flax_fan_in, redraw=lambda: nnx.state(make(), nnx.Param))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        optimizer.update(model, nnx.grad(lambda model: jnp.sum(model(jnp.ones((2, 8))) ** 2))(model))

    step(model, optimizer)
    exact = tx.reconnected_params(optimizer, nnx.state(model, nnx.Param))
    np.testing.assert_array_equal(np.sort(exact["kernel"][...], axis=0), np.sort(make().kernel[...], axis=0))


@pytest.mark.parametrize(
    ("redraw", "message"),
    [
        (lambda: draw(seed=1), "another first than params hold"),
        (lambda: {"first": jnp.zeros((40, 33))}, "returns no second, third; it returns first"),
        (lambda: draw() | {"second": jnp.zeros((1, 2))}, r"second as float32\[1, 2\], and params hold float32\[3, 3"),
        (lambda: draw() | {"third": jnp.zeros((300, 7), jnp.bfloat16)}, r"third as bfloat16\[300, 7\], and"),
    ],
)
def test_another_network_is_refused(redraw, message):
    with pytest.raises(ValueError, match=message):
        laperm(optax.sgd(0.1), 1, redraw=redraw).init(draw())


def test_a_state_without_a_copy_needs_the_function():
    params = draw()
    state = laperm(optax.sgd(0.1), 1, redraw=draw).init(params)
    assert isinstance(state, LaPermState)
    with pytest.raises(ValueError, match="keeps no initial values of first, second, third"):
        laperm(optax.sgd(0.1), 1).update(params, state, params)
