"""LaPerm inside Optax's wrappers and JAX's transformations."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laperm_jax import LaPermState, all_fan_in, at_steps, every, laperm, matrix_fan_in, norm_reset
from tests.cases import some_of
from tests.reference import is_permutation

INIT = {
    "dense": {"kernel": jax.random.normal(jax.random.key(0), (8, 5)), "bias": jnp.zeros(5)},
    "head": {"kernel": jax.random.normal(jax.random.key(1), (5, 3))},
}
INPUTS, TARGETS = jax.random.normal(jax.random.key(2), (32, 8)), jax.random.normal(jax.random.key(3), (32, 3))


def loss(params):
    hidden = jax.nn.relu(INPUTS @ params["dense"]["kernel"] + params["dense"]["bias"])
    return jnp.mean((hidden @ params["head"]["kernel"] - TARGETS) ** 2)


def train(tx, steps, params=INIT, **extra_args):
    """Trains under jit and checks that the second step compiles nothing new."""
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(params, opt_state):
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params, **extra_args)
        return optax.apply_updates(params, updates), opt_state

    opt_state = tx.init(params)
    for _ in range(steps):
        params, opt_state = step(params, opt_state)
    return params, opt_state


def assert_permuted(params, paths):
    """Every kernel named is a permutation of its initial values, and not in the first order."""
    for first, second in (path.split("/") for path in paths):
        ours, initial = np.asarray(params[first][second]), np.asarray(INIT[first][second])
        assert is_permutation(ours, initial, (0,))
        assert (ours != initial).any()


KERNELS = ["dense/kernel", "head/kernel"]

WRAPPED = {
    "alone": lambda tx: tx,
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx),
    "named_chain": lambda tx: optax.named_chain(("clip", optax.clip(1.0)), ("laperm", tx)),
    "masked": lambda tx: optax.masked(tx, lambda params: jax.tree.map(lambda _: True, params)),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2),
    "conditionally_transform": lambda tx: optax.transforms.conditionally_transform(tx, lambda step: True),
    "with_extra_args_support": optax.with_extra_args_support,
}


@pytest.mark.parametrize("name", some_of(WRAPPED, {0, 1}))
def test_wrapped(name):
    tx = laperm(optax.adam(3e-2), 10)
    params, opt_state = train(WRAPPED[name](tx), 60)
    assert_permuted(tx.reconnected_params(opt_state, params), KERNELS)
    assert loss(tx.reconnected_params(opt_state, params)) < 0.6 * loss(INIT)


@pytest.mark.parametrize("name", some_of(WRAPPED, {0, 1}))
def test_tree_map_params(name):
    """Partition specs for a whole state, as Optax documents it for states with masked nodes."""
    wrapped = WRAPPED[name](laperm(optax.adam(3e-2), 4))
    state = wrapped.init(INIT)
    chex.assert_trees_all_equal(optax.tree.map_params(wrapped, lambda leaf: leaf, state), state)
    is_masked = lambda node: isinstance(node, optax.MaskedNode)
    names = jax.tree.map(lambda leaf: f"spec{leaf.shape}", INIT)
    specs = optax.tree.map_params(
        wrapped,
        lambda leaf, name: leaf if is_masked(leaf) else name,
        state,
        names,
        transform_non_params=lambda leaf: None,
        is_leaf=is_masked,
    )
    (laperm_state,) = [
        node
        for node in jax.tree.leaves(specs, is_leaf=lambda node: isinstance(node, LaPermState))
        if isinstance(node, LaPermState)
    ]
    assert laperm_state.count is None
    assert laperm_state.sorted_init == {
        "dense": {"kernel": "spec(8, 5)", "bias": optax.MaskedNode()},
        "head": {"kernel": "spec(5, 3)"},
    }


def test_masked_leaves_are_left_alone():
    tx = laperm(optax.adam(3e-2), 4, fan_in_axes={"dense/kernel": (0,), "head/kernel": (0,)})
    wrapped = optax.masked(tx, {"dense": True, "head": False})
    params, opt_state = train(wrapped, 8)
    reconnected = tx.reconnected_params(opt_state, params)
    assert_permuted(reconnected, ["dense/kernel"])
    np.testing.assert_array_equal(reconnected["head"]["kernel"], params["head"]["kernel"])


def test_partition_merges_the_states():
    body, head = laperm(optax.adam(3e-2), 4), laperm(optax.sgd(1e-1), 3)
    wrapped = optax.partition({"body": body, "head": head}, {"dense": "body", "head": "head"})
    params, opt_state = train(wrapped, 12)
    assert_permuted(body.reconnected_params(opt_state, params), KERNELS)


def test_partition_with_another_optimizer():
    tx = laperm(optax.adam(3e-2), 4)
    wrapped = optax.partition({"laperm": tx, "adam": optax.adam(1e-3)}, {"dense": "adam", "head": "laperm"})
    params, opt_state = train(wrapped, 8)
    reconnected = tx.reconnected_params(opt_state, params)
    assert_permuted(reconnected, ["head/kernel"])
    np.testing.assert_array_equal(reconnected["dense"]["kernel"], params["dense"]["kernel"])


@pytest.mark.nightly
def test_multi_steps_counts_its_own_updates():
    tx = laperm(optax.sgd(0.1), 2)
    wrapped = optax.MultiSteps(tx, every_k_schedule=3)
    synced = []
    for steps in range(1, 13):
        params, _ = train(wrapped, steps)
        close = np.allclose(np.sort(params["head"]["kernel"], 0), np.sort(INIT["head"]["kernel"], 0), atol=1e-6)
        synced += [steps] * close
    # Updates 2 and 4 are micro-steps 6 and 12; micro-steps in between repeat their parameters.
    assert synced == [1, 2, 6, 7, 8, 12]


def test_apply_if_finite_skips_bad_gradients_without_counting_them():
    tx = optax.apply_if_finite(laperm(optax.sgd(0.1), 2), max_consecutive_errors=5)
    opt_state = tx.init(INIT)
    update = jax.jit(tx.update)
    bad = jax.tree.map(lambda p: p * jnp.nan, INIT)
    updates, opt_state = update(bad, opt_state, INIT)
    chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, INIT))
    assert int(optax.tree.get(opt_state, "count")) == 0
    _, opt_state = update(INIT, opt_state, INIT)
    assert int(optax.tree.get(opt_state, "count")) == 1


@pytest.mark.parametrize("period", [3, lambda count: jnp.where(count < 6, 3, 6)])
def test_inject_hyperparams(period):
    """A period may be injected, and even scheduled; rules and sync schedules are static."""
    inject = optax.inject_hyperparams(laperm, static_args=("fan_in_axes", "reset_values"))
    tx = inject(optax.adam(3e-2), period, fan_in_axes=all_fan_in)
    params, opt_state = train(tx, 6)
    rule_owner = laperm(optax.adam(3e-2), 1, fan_in_axes=all_fan_in)
    assert_permuted(rule_owner.reconnected_params(opt_state, params), KERNELS)
    expected, _ = train(laperm(optax.adam(3e-2), at_steps([3, 6]), fan_in_axes=all_fan_in), 6)
    chex.assert_trees_all_close(params, expected, rtol=1e-6)


def test_inject_hyperparams_with_defaults_and_with_a_static_schedule():
    train(optax.inject_hyperparams(laperm)(optax.adam(3e-2), 3), 3)
    tx = optax.inject_hyperparams(laperm, static_args="sync_period")(optax.adam(3e-2), every(3))
    params, _ = train(tx, 3)
    np.testing.assert_allclose(np.sort(params["head"]["kernel"], 0), np.sort(INIT["head"]["kernel"], 0), atol=1e-6)


def test_a_schedule_that_inject_hyperparams_took_for_its_own_is_refused_with_the_remedy():
    tx = optax.inject_hyperparams(laperm)(optax.adam(3e-2), every(3))
    with pytest.raises(TypeError, match="static_args"):
        tx.init(INIT)


def test_extra_args_reach_the_inner_transformation():
    def update(updates, state, params=None, *, factor, **extra_args):
        return jax.tree.map(lambda u: -factor * u, updates), state

    inner = optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
    one, _ = train(laperm(inner, 100), 1, factor=0.1, unexpected=1)
    two, _ = train(optax.sgd(0.1), 1)
    chex.assert_trees_all_close(one, two, rtol=1e-5)


def test_inner_without_extra_args_ignores_them():
    inner = optax.stateless_with_tree_map(lambda u, p: -0.1 * u)
    train(laperm(inner, 2), 2, unexpected=1)


def test_scan_and_cond_give_the_same_as_a_loop():
    tx = laperm(optax.adam(3e-2), 3)

    def step(carry, apply):
        params, opt_state = carry

        def do(params, opt_state):
            updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        return jax.lax.cond(apply, do, lambda *carry: carry, params, opt_state), loss(params)

    (scanned, state), _ = jax.jit(lambda carry, apply: jax.lax.scan(step, carry, apply))(
        (INIT, tx.init(INIT)), jnp.array([True, True, False, True, True])
    )
    looped, _ = train(tx, 4)
    assert int(state.count) == 4
    chex.assert_trees_all_close(scanned, looped, rtol=1e-5)
    assert_permuted(tx.reconnected_params(state, scanned), KERNELS)


@pytest.mark.nightly
def test_vmap_over_seeds_keeps_the_sync_a_cond():
    tx = laperm(optax.adam(3e-2), 2)
    state_axes = LaPermState(None, 0, 0)
    seeds = [jax.tree.map(lambda leaf, seed=seed: jnp.roll(leaf, seed), INIT) for seed in range(3)]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    opt_state = jax.vmap(tx.init, out_axes=state_axes)(params)
    assert opt_state.count.shape == ()

    def step(params, opt_state):
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    vmapped = jax.vmap(step, in_axes=(0, state_axes), out_axes=(0, state_axes))
    assert "cond[" in str(jax.make_jaxpr(vmapped)(params, opt_state))
    for _ in range(4):
        params, opt_state = jax.jit(vmapped)(params, opt_state)
    exact = jax.vmap(tx.reconnected_params, in_axes=(state_axes, 0))(opt_state, params)
    for seed, initial in enumerate(seeds):
        single, single_state = train(tx, 4, params=initial)
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, seed=seed: leaf[seed], params), single, rtol=2e-5)
        np.testing.assert_array_equal(
            exact["dense"]["kernel"][seed], tx.reconnected_params(single_state, single)["dense"]["kernel"]
        )


def test_init_by_shape_alone():
    tx = laperm(optax.adam(3e-2), 2, fan_in_axes=matrix_fan_in)
    shapes = jax.eval_shape(lambda: INIT)
    state = jax.eval_shape(tx.init, shapes)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, tx.init(INIT))
    compiled = jax.jit(tx.update).lower(shapes, state, shapes).compile()
    updates, _ = compiled(INIT, tx.init(INIT), INIT)
    chex.assert_trees_all_equal_shapes(updates, INIT)


@pytest.mark.parametrize(
    "inner",
    [
        optax.sgd(0.05, momentum=0.9),
        optax.flatten(optax.adam(3e-2)),
        optax.adamw(3e-2),
        optax.lion(1e-2),
        optax.rmsprop(1e-2),
        optax.contrib.muon(1e-1),
        optax.contrib.schedule_free_adamw(3e-2),
    ],
    ids=["momentum", "flatten", "adamw", "lion", "rmsprop", "muon", "schedule_free"],
)
def test_any_inner_optimizer(inner):
    tx = laperm(inner, 5, reset_values=norm_reset(INIT))
    params, opt_state = train(tx, 30)
    assert_permuted(tx.reconnected_params(opt_state, params), KERNELS)
    assert loss(tx.reconnected_params(opt_state, params)) < loss(INIT)


@functools.partial(jax.jit, static_argnums=0)
def _update(tx, params, opt_state):
    return tx.update(params, opt_state, params)


def test_the_transform_is_a_static_argument():
    tx = laperm(optax.sgd(0.1), 2)
    _update(tx, INIT, tx.init(INIT))
