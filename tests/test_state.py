"""The state: what it holds, how it is found, and the states that are refused."""

import copy
import functools
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization

from laperm_jax import LaPermState, all_fan_in, laperm, matrix_fan_in, norm_reset, sort_vectors
from tests.reference import is_permutation

SQUARE = jax.random.normal(jax.random.key(0), (4, 4))
PARAMS = {"a": SQUARE, "b": SQUARE.T, "bias": jnp.zeros(4)}
CURRENT = jax.tree.map(lambda leaf: jnp.roll(leaf, 3).at[0].add(0.5), PARAMS)


def along(*axes, names="ab", **kwargs):
    return laperm(optax.sgd(0.1), 2, fan_in_axes=dict.fromkeys(names, axes), **kwargs)


def test_sorted_init_is_the_initial_weights_sorted():
    state = along(0).init(PARAMS)
    assert isinstance(state, LaPermState)
    assert state._fields[:4] == ("count", "sorted_init", "inner_state", "residual")
    assert state.count.dtype == jnp.int32
    assert state.residual is None
    assert state.sorted_init["bias"] == optax.MaskedNode()
    chex.assert_trees_all_equal(state.sorted_init["a"], sort_vectors(PARAMS["a"], (0,)))
    assert len(jax.tree.leaves(state)) == 3  # the counter and two kernels


# A state is read by the rule that made it


@pytest.mark.parametrize("transform", [lambda function: function, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(
    ("ours", "theirs"), [((0,), (1,)), ((1,), (0,)), ((0,), (0, 1)), ((0, 1), (1,)), ((), (0,))], ids=str
)
def test_a_state_of_another_rule_is_refused_by_name(ours, theirs, transform):
    state, tx = along(*theirs).init(PARAMS), along(*ours)
    with pytest.raises(ValueError, match="made by another fan-in rule: for a it has vectors along"):
        transform(tx.reconnected_params)(state, CURRENT)
    with pytest.raises(ValueError, match="made by another fan-in rule: for a it has vectors along"):
        transform(tx.update)(CURRENT, state, CURRENT)


def test_a_state_whose_rule_left_a_leaf_alone_is_refused_by_a_rule_that_treats_it():
    tx = laperm(optax.sgd(0.1), 2, fan_in_axes=all_fan_in)
    with pytest.raises(ValueError, match="for bias it has no vectors, and the rule of this transform vectors along"):
        tx.reconnected_params(laperm(optax.sgd(0.1), 2, fan_in_axes=matrix_fan_in).init(PARAMS), CURRENT)


def test_a_state_restored_into_one_of_another_rule_is_refused():
    """As Orbax restores it: values of the one, structure of the other, which holds the record of the rule."""
    leaves, structure = jax.tree.flatten(along(1).init(PARAMS)), jax.tree.structure(along(0).init(PARAMS))
    with pytest.raises(ValueError, match="made by another fan-in rule: for a it has vectors that are not along"):
        along(0).reconnected_params(jax.tree.unflatten(structure, leaves[0]), CURRENT)


def test_initial_values_that_hold_nan_are_not_taken_for_those_of_another_rule():
    """``init`` refuses them where it sees them; under jit it does not."""
    params = {"a": SQUARE.at[1, 2].set(jnp.nan)}
    tx = along(0, names="a")
    exact = tx.reconnected_params(jax.jit(tx.init)(params), params)
    np.testing.assert_array_equal(exact["a"], params["a"])


WRAPPED_PAIRS = {
    "partition": lambda first, second: optax.partition(
        {"first": first, "second": second}, {"a": "first", "b": "second", "bias": "first"}
    ),
    "masked": lambda first, second: optax.chain(
        optax.masked(first, {"a": True, "b": False, "bias": True}),
        optax.masked(second, {"a": False, "b": True, "bias": False}),
    ),
    "nested": lambda first, second: optax.chain(
        optax.clip(1.0),
        optax.partition(
            {"first": optax.masked(first, True), "second": optax.MultiSteps(second, 1).gradient_transformation()},
            {"a": "first", "b": "second", "bias": "second"},
        ),
    ),
}


@pytest.mark.parametrize("transform", [lambda function: function, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("name", WRAPPED_PAIRS)
def test_two_rules_in_one_optimizer_give_the_permutation_or_raise(name, transform):
    rule = {"a": (0,), "b": (0,)}
    one = laperm(optax.sgd(0.1), 2, fan_in_axes=rule)
    same, other = laperm(optax.adam(0.1), 3, fan_in_axes=lambda path, _: rule.get(path)), along(1)
    opt_state = WRAPPED_PAIRS[name](one, same).init(PARAMS)
    for tx in (one, same):
        exact = transform(tx.reconnected_params)(opt_state, CURRENT)
        assert all(is_permutation(np.asarray(exact[path]), np.asarray(PARAMS[path]), (0,)) for path in rule)
    opt_state = WRAPPED_PAIRS[name](one, other).init(PARAMS)
    for tx, path in ((one, "b"), (other, "a")):
        with pytest.raises(ValueError, match=f"made by another fan-in rule: for {path} it has"):
            transform(tx.reconnected_params)(opt_state, CURRENT)


ROUND_TRIPS = {
    "tree.map": lambda state, _: jax.tree.map(jnp.copy, state),
    "device_get": lambda state, _: jax.device_get(state),
    "pickle": lambda state, _: pickle.loads(pickle.dumps(jax.device_get(state))),
    "copy": lambda state, _: copy.deepcopy(state),
    "jit": lambda state, _: jax.jit(lambda state: state, donate_argnums=0)(jax.tree.map(jnp.copy, state)),
    "scan": lambda state, _: jax.lax.scan(lambda state, _: (state, None), state, length=2)[0],
    "flax bytes": lambda state, tx: serialization.from_bytes(tx.init(CURRENT), serialization.to_bytes(state)),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_state_keeps_its_rule_through(name):
    tx, other = along(0), along(1)
    state = ROUND_TRIPS[name](tx.init(PARAMS), tx)
    exact = tx.reconnected_params(state, CURRENT)
    assert all(is_permutation(np.asarray(exact[path]), np.asarray(PARAMS[path]), (0,)) for path in "ab")
    with pytest.raises(ValueError, match="made by another fan-in rule"):
        jax.jit(other.reconnected_params)(state, CURRENT)


def test_a_state_made_by_hand_is_read_by_its_values():
    state, tx = along(0).init(PARAMS), along(0)
    by_hand = LaPermState(*state[:3])
    chex.assert_trees_all_equal(tx.reconnected_params(by_hand, CURRENT), tx.reconnected_params(state, CURRENT))
    with pytest.raises(ValueError, match="for a it has vectors that are not along"):
        along(1).reconnected_params(by_hand, CURRENT)
    _, after_an_update = tx.update(CURRENT, by_hand, CURRENT)
    with pytest.raises(ValueError, match="for a it has vectors along"):
        jax.jit(along(1).reconnected_params)(after_an_update, CURRENT)


def test_a_state_by_hand_is_a_prefix_of_any():
    state = along(0).init(PARAMS)
    assert jax.tree.structure(LaPermState(*state[:3])) == jax.tree.structure(state)
    seeds = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1]), PARAMS)
    batched = jax.vmap(along(0).init, out_axes=LaPermState(None, 0, 0))(seeds)
    assert batched.count.shape == ()
    assert batched.sorted_init["a"].shape == (2, 4, 4)
    with pytest.raises(ValueError, match="made by another fan-in rule"):  # not vmapped: axis 0 is the seeds
        along(0).reconnected_params(batched, seeds)


# Other parameters than the state was made for


def test_a_state_of_other_parameters_is_refused():
    tx = laperm(optax.sgd(0.1), 1)
    opt_state = tx.init({"a": jnp.ones((2, 2))})
    other = {"b": jnp.ones((2, 2))}
    with pytest.raises(ValueError, match=r"holds the initial values of a, and the rule treats b"):
        tx.update(other, opt_state, other)
    with pytest.raises(ValueError, match=r"holds the initial values of a, which params lacks"):
        tx.reconnected_params(opt_state, other)
    with pytest.raises(ValueError, match="opt_state holds no LaPermState"):
        tx.reconnected_params(opt_state.inner_state, other)
    with pytest.raises(ValueError, match="two LaPermStates in opt_state hold the initial values of a"):
        tx.reconnected_params((opt_state, opt_state), {"a": jnp.ones((2, 2))})


def methods(tx, params, state):
    """Every method that reads the state, as functions without arguments."""
    yield functools.partial(tx.update, params, state, params)
    yield functools.partial(tx.apply_gradients, params, state, params)
    yield functools.partial(tx.reconnected_params, state, params)
    yield functools.partial(jax.jit(tx.update), params, state, params)


@pytest.mark.parametrize("change", [jnp.bfloat16, jnp.float16])
def test_parameters_of_another_dtype_are_refused_by_name(change):
    tx = along(0)
    state = tx.init(PARAMS)
    for method in methods(tx, PARAMS | {"b": PARAMS["b"].astype(change)}, state):
        with pytest.raises(
            TypeError, match=f"b is {jnp.dtype(change)}, and the state holds its initial values as float32: cast"
        ):
            method()
    narrow = state._replace(sorted_init=state.sorted_init | {"a": state.sorted_init["a"].astype(change)})
    for method in methods(tx, PARAMS, narrow):
        with pytest.raises(
            TypeError, match=f"a is float32, and the state holds its initial values as {jnp.dtype(change)}: cast"
        ):
            method()


def test_parameters_of_another_shape_are_refused_by_name():
    tx = along(0)
    state = tx.init(PARAMS)
    for method in methods(tx, PARAMS | {"b": jnp.ones((5, 4))}, state):
        with pytest.raises(ValueError, match=r"b has shape \(5, 4\), and the state holds .* in shape \(4, 4\)"):
            method()


@pytest.mark.parametrize("ours", [True, False])
def test_a_state_with_a_residual_and_a_transform_without_are_refused(ours):
    state = along(0, error_feedback=not ours).init(PARAMS)
    with pytest.raises(ValueError, match=f"error_feedback is {ours}, and the state holds the residual of"):
        along(0, error_feedback=ours).update(PARAMS, state, PARAMS)


def test_a_complex_kernel_is_refused_by_name():
    with pytest.raises(TypeError, match="spectrum/kernel is complex64"):
        laperm(optax.sgd(0.1), 1).init({"spectrum": {"kernel": jnp.ones((2, 2), jnp.complex64)}})


def test_leaves_that_are_reset_are_no_part_of_the_rule():
    params = {"kernel": SQUARE, "scale": jnp.ones(4)}
    state = laperm(optax.sgd(0.1), 2, fan_in_axes=all_fan_in, reset_values=norm_reset(params)).init(params)
    exact = laperm(optax.sgd(0.1), 2, fan_in_axes=all_fan_in).reconnected_params(state, params)
    chex.assert_trees_all_equal(exact, params)
