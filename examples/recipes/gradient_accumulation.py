"""Gradient accumulation: `optax.MultiSteps` around laperm. The sync period counts real updates, not mini-steps."""

import jax
import jax.numpy as jnp
import optax

from laperm_jax import LaPermState, laperm

MINI_STEPS, PERIOD = 4, 5


def main():
    x, y = jax.random.normal(jax.random.key(0), (2, 64, 8))
    params = initial = {"kernel": jax.random.normal(jax.random.key(1), (8, 8)) / 3}
    loss = lambda params, x, y: jnp.mean((x @ params["kernel"] - y) ** 2)

    tx = laperm(optax.adam(1e-2), PERIOD)
    optimizer = optax.MultiSteps(tx, every_k_schedule=MINI_STEPS)
    opt_state = optimizer.init(params)

    @jax.jit
    def mini_step(params, opt_state, x, y):
        updates, opt_state = optimizer.update(jax.grad(loss)(params, x, y), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for number in range(MINI_STEPS * PERIOD):
        start = 16 * (number % 4)
        params, opt_state = mini_step(params, opt_state, x[start : start + 16], y[start : start + 16])

    (state,) = [s for s in jax.tree.leaves(opt_state, is_leaf=_is_laperm) if _is_laperm(s)]
    exact = tx.reconnected_params(opt_state, params)  # finds the state inside MultiSteps
    assert state.count == PERIOD  # 20 mini-steps are 5 updates: exactly one sync
    assert (jnp.sort(exact["kernel"], axis=0) == jnp.sort(initial["kernel"], axis=0)).all()
    print(f"{MINI_STEPS * PERIOD} mini-steps, {state.count} updates, loss {loss(exact, x, y):.3f}")


def _is_laperm(node):
    return isinstance(node, LaPermState)


if __name__ == "__main__":
    main()
