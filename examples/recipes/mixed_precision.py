"""Mixed precision: float32 master weights, computation in bfloat16.

Keep the parameters that LaPerm sees in float32. `sorted_init` has the dtype of the parameters: from bfloat16 parameters
many initial values are equal, and small updates are lost before they can change a rank.
"""

import jax
import jax.numpy as jnp
import optax

from laperm_jax import laperm

STEPS = 100


def main():
    x, y = jax.random.normal(jax.random.key(0), (2, 256, 64))
    params = initial = {"kernel": jax.random.normal(jax.random.key(1), (64, 64)) / 8}

    def loss(params):
        kernel = params["kernel"].astype(jnp.bfloat16)
        return jnp.mean((x.astype(jnp.bfloat16) @ kernel - y).astype(jnp.float32) ** 2)

    tx = laperm(optax.adam(3e-3), sync_period=20)
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state):
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)  # float32 gradients
        return optax.apply_updates(params, updates), opt_state

    for _ in range(STEPS):
        params, opt_state = step(params, opt_state)

    exact = tx.reconnected_params(opt_state, params)
    assert exact["kernel"].dtype == opt_state.sorted_init["kernel"].dtype == jnp.float32
    assert (jnp.sort(exact["kernel"], axis=0) == jnp.sort(initial["kernel"], axis=0)).all()
    distinct = lambda array: jnp.unique(array).size / array.size
    print(f"loss {loss(initial):.3f} -> {loss(exact):.3f}")
    print(f"distinct values: {distinct(exact['kernel']):.0%} in float32, ", end="")
    print(f"{distinct(exact['kernel'].astype(jnp.bfloat16)):.0%} if the parameters were bfloat16")


if __name__ == "__main__":
    main()
