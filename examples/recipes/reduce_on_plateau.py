"""`reduce_on_plateau` inside laperm: the loss reaches it as an extra argument of `update`."""

import jax
import jax.numpy as jnp
import optax

from laperm_jax import laperm

STEPS = 200


def main():
    x, y = jax.random.normal(jax.random.key(0), (2, 256, 32))
    params = initial = {"kernel": jax.random.normal(jax.random.key(1), (32, 32)) / 6}
    loss = lambda params: jnp.mean((x @ params["kernel"] - y) ** 2)

    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=5, accumulation_size=4)
    tx = laperm(optax.chain(optax.adam(3e-2), plateau), sync_period=10)
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = tx.update(grads, opt_state, params, value=value)
        return optax.apply_updates(params, updates), opt_state

    for _ in range(STEPS):
        params, opt_state = step(params, opt_state)

    exact = tx.reconnected_params(opt_state, params)
    scale = optax.tree.get(opt_state, "scale")
    assert scale < 1  # the learning rate has been reduced
    assert (jnp.sort(exact["kernel"], axis=0) == jnp.sort(initial["kernel"], axis=0)).all()
    print(f"loss {loss(initial):.3f} -> {loss(exact):.3f}, learning rate times {scale:.3g}")


if __name__ == "__main__":
    main()
