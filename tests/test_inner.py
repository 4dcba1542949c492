"""Inner transformations: what is refused, and what an inner state must not remember across a sync."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laperm_jax import LaPerm, every, laperm, norm_reset
from tests.cases import some_of
from tests.steps import update_and_apply

PARAMS = {
    "dense": {"kernel": jax.random.normal(jax.random.key(0), (6, 5))},
    "norm": {"scale": jnp.ones(5), "bias": jnp.zeros(5)},
}
INPUTS = jax.random.normal(jax.random.key(1), (16, 6))
TARGETS = jnp.sin(INPUTS[:, :5] * 2)


def loss(params):
    outputs = jnp.tanh(INPUTS @ params["dense"]["kernel"]) * params["norm"]["scale"] + params["norm"]["bias"]
    return jnp.mean((outputs - TARGETS) ** 2)


@pytest.mark.parametrize("inner", [1e-3, None, True, "adam", 5, optax.adam, optax.GradientTransformation, {}, (len,)])
def test_an_inner_that_is_no_transformation_is_refused(inner):
    with pytest.raises(TypeError, match="inner must be an Optax transformation"):
        laperm(inner, 5)


BACKTRACKING = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5, store_grad=True))

LINE_SEARCHES = {
    "lbfgs with zoom": laperm(optax.lbfgs(memory_size=3), 3),
    "backtracking": laperm(BACKTRACKING, 3, reset_values=norm_reset(PARAMS), error_feedback=True),
    "inject_hyperparams": optax.inject_hyperparams(laperm, static_args="sync_period")(BACKTRACKING, every(3)),
    "chain and partition": optax.chain(
        optax.clip(1.0), optax.partition({"all": laperm(BACKTRACKING, 3)}, jax.tree.map(lambda _: "all", PARAMS))
    ),
}


def check_values_from_state(tx, step):
    """Trains with what the state caches, and compares it at every step with the true value and gradient."""
    value_and_grad = optax.value_and_grad_from_state(loss)

    @jax.jit
    def train_step(params, opt_state):
        value, grads = value_and_grad(params, state=opt_state)
        exact = jax.value_and_grad(loss)(params)
        params, opt_state = step(tx, grads, opt_state, params, value=value, grad=grads, value_fn=loss)
        return params, opt_state, (value, grads), exact

    params, opt_state = PARAMS, tx.init(PARAMS)
    for _ in range(7):
        params, opt_state, ours, exact = train_step(params, opt_state)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), ours, exact)


@pytest.mark.parametrize("name", some_of(LINE_SEARCHES, {0}))
def test_value_and_grad_from_state_are_those_of_the_weights_after_a_sync(name):
    check_values_from_state(LINE_SEARCHES[name], update_and_apply)


def test_value_and_grad_from_state_after_apply_gradients():
    check_values_from_state(LINE_SEARCHES["backtracking"], LaPerm.apply_gradients)


@pytest.mark.nightly
def test_values_cached_between_syncs_are_kept():
    tx = laperm(BACKTRACKING, 3)
    opt_state = tx.init(PARAMS)
    for finite in (True, True, False, True):
        value, grads = jax.value_and_grad(loss)(PARAMS)
        _, opt_state = jax.jit(functools.partial(tx.update, value_fn=loss))(
            grads, opt_state, PARAMS, value=value, grad=grads
        )
        assert bool(jnp.isfinite(optax.tree.get(opt_state, "value"))) == finite


@pytest.mark.nightly
def test_lbfgs_starts_again_after_a_sync():
    """Else its differences of weights, which a sync does not change, lead straight back to the weights before it."""
    tx = laperm(optax.lbfgs(memory_size=3), 2)
    params, opt_state = PARAMS, tx.init(PARAMS)
    for step in range(4):
        value, grads = jax.value_and_grad(loss)(params)
        params, opt_state = update_and_apply(tx, grads, opt_state, params, value=value, grad=grads, value_fn=loss)
        (memory,) = [
            node
            for node in jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, optax.ScaleByLBFGSState))
            if isinstance(node, optax.ScaleByLBFGSState)
        ]
        is_sync = step % 2 == 1
        assert int(memory.count) == (0 if is_sync else 1)
        assert not memory.weights_memory.any()


class Named(NamedTuple):
    """A state of someone else's, whose ``value`` is no objective."""

    value: jax.Array


def test_other_states_with_a_field_called_value_are_left_alone():
    inner = optax.GradientTransformation(
        lambda params: {"value": jnp.float32(1), "named": Named(jnp.float32(2)), "grad": params},
        lambda updates, state, params=None: (updates, state),
    )
    tx = laperm(inner, 1)
    _, opt_state = jax.jit(tx.update)(PARAMS, tx.init(PARAMS), PARAMS)
    assert opt_state.inner_state["value"] == 1
    assert opt_state.inner_state["named"].value == 2
