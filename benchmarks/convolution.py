"""Milliseconds of a training step of the convolutional networks on this machine, by kind of convolution and of loop.

    python benchmarks/convolution.py

XLA's convolution and the lab's matrix product, each in a loop on the device and dispatched step by step. About fifteen
minutes on two CPU cores: XLA's convolutions are very slow in a loop there (jax issue 12868).
"""

import time
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax import lax
from record import write

from laperm_jax.lab.models import classifiers
from laperm_jax.lab.models.convolution import conv_by_matmul

NETWORKS = {"conv7": (28, 28, 1), "conv2": (32, 32, 3), "conv4": (32, 32, 3), "resnet50": (32, 32, 3)}
KINDS = {"XLA's convolution": lax.conv_general_dilated, "matrix product": conv_by_matmul}
BATCH, STEPS = 50, 4


def make_step(name: str, image_shape: tuple[int, ...], convolve: Any) -> tuple[Any, Any]:
    model = nnx.jit(lambda: classifiers.build(name, image_shape, rngs=nnx.Rngs(0)))()
    model = nnx.with_attributes(model, only=nnx.Conv, conv_general_dilated=convolve)
    graph = nnx.graphdef(model)
    params, batch_stats = (nnx.to_pure_dict(nnx.state(model, kind)) for kind in (nnx.Param, nnx.BatchStat))
    images = jax.random.uniform(jax.random.key(0), (BATCH, *image_shape))
    tx = optax.adam(1e-3)

    def step(carry: Any) -> Any:
        params, batch_stats, opt_state = carry

        def loss(params: Any) -> Any:
            model = nnx.merge(graph, params, batch_stats)
            logits = model(images, nnx.Rngs(jax.random.key(0)))
            labels = np.arange(BATCH) % 10
            value = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            return value, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

        grads, new_stats = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), new_stats, opt_state

    return step, (params, batch_stats, tx.init(params))


def milliseconds(run: Any, carry: Any, steps: int) -> float:
    carry = jax.block_until_ready(run(carry, 1))
    started = time.perf_counter()
    jax.block_until_ready(run(carry, steps))
    return 1e3 * (time.perf_counter() - started) / steps


def main() -> None:
    rows = []
    for name, image_shape in NETWORKS.items():
        for kind, convolve in KINDS.items():
            step, carry = make_step(name, image_shape, convolve)
            dispatch = jax.jit(step)

            def dispatched(carry: Any, steps: int, dispatch: Any = dispatch) -> Any:
                for _ in range(steps):
                    carry = dispatch(carry)
                return carry

            looped = jax.jit(
                lambda carry, steps, step=step: lax.fori_loop(0, steps, lambda _, carry: step(carry), carry)
            )
            for loop, run in {"dispatched": dispatched, "loop": looped}.items():
                rows.append(
                    {"network": name, "convolution": kind, "steps": loop, "ms": milliseconds(run, carry, STEPS)}
                )
                print(f"{name}, {kind}, {loop}: {rows[-1]['ms']:.0f} ms a step", flush=True)
    write("convolution", "python benchmarks/convolution.py", {"batch": BATCH, "rows": rows})


if __name__ == "__main__":
    main()
