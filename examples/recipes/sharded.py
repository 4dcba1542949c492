"""Sharded parameters: there is nothing to set. Each leaf of the state has the sharding of its parameter."""

import os

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")  # a laptop plays four devices

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from laperm_jax import laperm

STEPS = 40


def main():
    mesh = jax.make_mesh((jax.device_count(),), ("model",), axis_types=(AxisType.Auto,))
    columns = NamedSharding(mesh, PartitionSpec(None, "model"))  # output units shared out: a sync sends nothing
    x, y = jax.random.normal(jax.random.key(0), (2, 256, 32))
    initial = jax.random.normal(jax.random.key(1), (32, 32)) / 6
    params = {"kernel": jax.device_put(initial, columns)}
    loss = lambda params: jnp.mean((x @ params["kernel"] - y) ** 2)

    tx = laperm(optax.adam(1e-2), sync_period=20)
    opt_state = tx.init(params)
    assert opt_state.sorted_init["kernel"].sharding == columns

    @jax.jit
    def step(params, opt_state):
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for _ in range(STEPS):
        params, opt_state = step(params, opt_state)
    exact = jax.jit(tx.reconnected_params)(opt_state, params)
    assert (jnp.sort(exact["kernel"], axis=0) == jnp.sort(initial, axis=0)).all()
    print(f"{jax.device_count()} devices, loss {loss({'kernel': initial}):.3f} -> {loss(exact):.3f}")


if __name__ == "__main__":
    main()
