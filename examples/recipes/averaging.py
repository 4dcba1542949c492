"""Averages of weights: an average is not a permutation of the initial values. Reconnect it before you evaluate it."""

import jax
import jax.numpy as jnp
import optax

from laperm_jax import laperm

STEPS = 200


def main():
    x, y = jax.random.normal(jax.random.key(0), (2, 256, 32))
    params = initial = {"kernel": jax.random.normal(jax.random.key(1), (32, 32)) / 6}
    loss = lambda params: jnp.mean((jnp.tanh(x @ params["kernel"]) - jnp.tanh(y)) ** 2)

    tx = laperm(optax.adam(1e-2), sync_period=10)
    average = optax.ema(0.95, debias=True)  # of the weights, not of the updates
    opt_state, ema_state = tx.init(params), average.init(params)

    @jax.jit
    def step(params, opt_state, ema_state):
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        params = optax.apply_updates(params, updates)
        averaged, ema_state = average.update(params, ema_state)
        return params, averaged, opt_state, ema_state

    averaged = params
    for _ in range(STEPS):
        params, averaged, opt_state, ema_state = step(params, opt_state, ema_state)

    same_values = lambda params: bool((jnp.sort(params["kernel"], axis=0) == jnp.sort(initial["kernel"], axis=0)).all())
    exact = tx.reconnected_params(opt_state, averaged)  # the initial values, by the ranks of the average
    assert not same_values(averaged)
    assert same_values(exact)
    print(f"loss: last weights {loss(tx.reconnected_params(opt_state, params)):.4f}, ", end="")
    print(f"average, reconnected {loss(exact):.4f}")


if __name__ == "__main__":
    main()
