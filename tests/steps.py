"""Training steps by each of the two methods, for the tests of the transform."""

import functools

import jax
import jax.numpy as jnp
import optax

from laperm_jax import LaPerm, laperm

PROPOSED = optax.identity()  # an inner transformation whose updates the test writes itself


def update_and_apply(tx, updates, opt_state, params, **extra_args):
    updates, opt_state = tx.update(updates, opt_state, params, **extra_args)
    return optax.apply_updates(params, updates), opt_state


METHODS = {"update": update_and_apply, "apply_gradients": LaPerm.apply_gradients}


def run(tx, params, updates, method="update"):
    """Applies a list of updates under ``jit``; yields (params, opt_state) after each."""
    opt_state, step = tx.init(params), jax.jit(functools.partial(METHODS[method], tx))
    for proposed in updates:
        params, opt_state = step(proposed, opt_state, params)
        yield params, opt_state


@functools.cache
def _compiled(axes, method, error_feedback):
    """A step with any period, compiled once for each shape and dtype."""
    make = functools.partial(laperm, PROPOSED, fan_in_axes={"w": axes}, error_feedback=error_feedback)

    @jax.jit
    def step(period, updates, opt_state, params):
        tx = make(period)
        params, opt_state = METHODS[method](tx, updates, opt_state, params)
        return params, opt_state, tx.reconnected_params(opt_state, params)

    return make(1).init, step


def run_one_leaf(initial, updates, axes, period, method, error_feedback=False):
    """Trains one array; yields (weights, state, reconnected weights) after each update."""
    init, step = _compiled(axes, method, error_feedback)
    params = {"w": jnp.asarray(initial)}
    opt_state = init(params)
    for update in updates:
        params, opt_state, exact = step(jnp.int32(period), {"w": jnp.asarray(update)}, opt_state, params)
        yield params["w"], opt_state, exact["w"]
