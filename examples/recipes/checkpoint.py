"""Save and restore everything with Orbax: parameters and the whole state, also with a schedule and error feedback."""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp

from laperm_jax import laperm, shrinking

STEPS = 60


def main():
    x, y = jax.random.normal(jax.random.key(0), (2, 256, 32))
    init = {"kernel": jax.random.normal(jax.random.key(1), (32, 32)) / 6, "bias": jnp.zeros(32)}
    loss = lambda params: jnp.mean((x @ params["kernel"] + params["bias"] - y) ** 2)
    tx = laperm(optax.adam(1e-2), shrinking(STEPS), error_feedback=True)

    @jax.jit
    def step(params, opt_state):
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    def train(start, steps):
        params, opt_state = start
        for _ in range(steps):
            params, opt_state = step(params, opt_state)
        return params, opt_state

    half = train((init, tx.init(init)), STEPS // 2)
    with tempfile.TemporaryDirectory() as folder, ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(folder).resolve() / "half", half)
        checkpointer.wait_until_finished()
        template = jax.eval_shape(lambda: (init, tx.init(init)))  # shapes and dtypes; the schedule is code, not state
        restored = checkpointer.restore(Path(folder).resolve() / "half", template)

    resumed, uninterrupted = train(restored, STEPS // 2), train(half, STEPS // 2)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), resumed, uninterrupted))
    exact = tx.reconnected_params(resumed[1], resumed[0])
    print(f"resumed after update {STEPS // 2}, same bits at {STEPS}; loss {loss(init):.3f} -> {loss(exact):.3f}")


if __name__ == "__main__":
    main()
