"""Clipping and weight decay go inside: laperm wraps the whole chain and comes last."""

import jax
import jax.numpy as jnp
import optax

from laperm_jax import laperm

STEPS = 100


def main():
    x, y = jax.random.normal(jax.random.key(0), (2, 256, 32))
    params = initial = {"kernel": jax.random.normal(jax.random.key(1), (32, 32)) / 6, "bias": jnp.zeros(32)}
    loss = lambda params: jnp.mean((x @ params["kernel"] + params["bias"] - y) ** 2)

    # Between syncs decay pulls a weight towards zero and so changes its rank; at a sync its size is restored.
    is_kernel = {"kernel": True, "bias": False}
    inner = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2, weight_decay=1e-2, mask=is_kernel))
    tx = laperm(inner, sync_period=20)
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state):
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state  # nothing changes the updates after laperm

    for _ in range(STEPS):
        params, opt_state = step(params, opt_state)

    exact = tx.reconnected_params(opt_state, params)
    assert (jnp.sort(exact["kernel"], axis=0) == jnp.sort(initial["kernel"], axis=0)).all()
    print(f"loss {loss(initial):.3f} -> {loss(exact):.3f}")


if __name__ == "__main__":
    main()
