"""BatchNorm: its statistics describe the weights before a sync; measure them again before evaluating."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from laperm_jax import laperm, nnx_fan_in

STEPS = 60


class Model(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(16, 64, rngs=rngs)
        self.norm = nnx.BatchNorm(64, momentum=0.99, rngs=rngs)
        self.output = nnx.Linear(64, 4, rngs=rngs)

    def __call__(self, x):
        return self.output(nnx.relu(self.norm(self.hidden(x))))


def main():
    x, y = jax.random.normal(jax.random.key(0), (512, 16)), jax.random.normal(jax.random.key(1), (512, 4))
    model = Model(nnx.Rngs(0))
    tx = laperm(optax.adam(1e-2), sync_period=20, fan_in_axes=nnx_fan_in(model))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    loss = lambda model: jnp.mean((model(x) - y) ** 2)

    @nnx.jit
    def step(model, optimizer):
        optimizer.update(model, nnx.grad(loss)(model))

    for _ in range(STEPS):
        step(model, optimizer)

    nnx.update(model, tx.reconnected_params(optimizer, nnx.state(model, nnx.Param)))
    evaluate = nnx.jit(
        lambda model: loss(nnx.with_attributes(model, use_running_average=True, raise_if_not_found=False))
    )
    before = evaluate(model)
    model.norm.momentum = 0.0  # one pass over training data replaces the statistics
    nnx.jit(lambda model: model(x))(model)
    after = evaluate(model)
    assert after < before
    print(f"loss {before:.3f} with old statistics, {after:.3f} with statistics of the reconnected weights")


if __name__ == "__main__":
    main()
