"""Many seeds at once under `jax.vmap`: the step counter stays unbatched, or every step would sort."""

import jax
import jax.numpy as jnp
import optax

from laperm_jax import LaPermState, laperm

SEEDS, STEPS = 5, 100


def main():
    x, y = jax.random.normal(jax.random.key(0), (2, 256, 32))
    draw = lambda key: {"kernel": jax.random.normal(key, (32, 32)) / 6}
    params = initial = jax.vmap(draw)(jax.random.split(jax.random.key(1), SEEDS))
    loss = lambda params: jnp.mean((x @ params["kernel"] - y) ** 2)

    tx = laperm(optax.adam(1e-2), sync_period=20)
    axes = LaPermState(None, 0, 0)  # type: ignore[arg-type]  # of count, sorted_init, inner_state
    opt_states = jax.vmap(tx.init, out_axes=axes)(params)

    def step(params, opt_state):
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    all_steps = jax.jit(jax.vmap(step, in_axes=(0, axes), out_axes=(0, axes)))
    for _ in range(STEPS):
        params, opt_states = all_steps(params, opt_states)

    exact = jax.vmap(tx.reconnected_params, in_axes=(axes, 0))(opt_states, params)
    assert (jnp.sort(exact["kernel"], axis=1) == jnp.sort(initial["kernel"], axis=1)).all()
    losses = jax.vmap(loss)(exact)
    print(f"loss of {SEEDS} seeds: {losses.mean():.3f} +- {losses.std(ddof=1):.3f}")


if __name__ == "__main__":
    main()
