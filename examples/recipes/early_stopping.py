"""Early stopping by reconnected weights: keep the best permutation on validation data."""

import jax
import jax.numpy as jnp
import optax

from laperm_jax import laperm

STEPS, PATIENCE, EVERY = 2000, 5, 20


def main():
    truth = jax.random.normal(jax.random.key(2), (64, 8))
    x = jax.random.normal(jax.random.key(0), (192, 64))
    y = jnp.tanh(x @ truth) + jax.random.normal(jax.random.key(3), (192, 8))
    train, validation = (x[:96], y[:96]), (x[96:], y[96:])
    params = {"kernel": jax.random.normal(jax.random.key(1), (64, 8)) / 8}
    loss = lambda params, batch: jnp.mean((batch[0] @ params["kernel"] - batch[1]) ** 2)

    tx = laperm(optax.adam(3e-3), sync_period=10)
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state):
        updates, opt_state = tx.update(jax.grad(loss)(params, train), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    reconnect = jax.jit(tx.reconnected_params)
    best, best_loss, waited = params, jnp.inf, 0
    for number in range(1, STEPS + 1):
        params, opt_state = step(params, opt_state)
        if number % EVERY == 0:
            exact = reconnect(opt_state, params)  # not `params`: those are the free weights
            if (value := loss(exact, validation)) < best_loss:
                best, best_loss, waited = exact, value, 0
            elif (waited := waited + 1) == PATIENCE:
                break
    assert number < STEPS
    print(f"stopped after {number} updates, validation loss {loss(best, validation):.3f}")


if __name__ == "__main__":
    main()
