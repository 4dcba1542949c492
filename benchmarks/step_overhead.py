"""What LaPerm adds to a training step, with a sync and without, over the same step with the inner optimiser alone.

    python benchmarks/step_overhead.py

Both ways to use the transform are measured, `LaPerm.apply_gradients` and Optax's `update` with `optax.apply_updates`,
beside Adam alone, in turns, in one process. The sync period is longer than the run, and the compiler does not know it.
"Adam alone again" repeats it: what it differs by is noise. A sync at every step (k = 1) is measured through
`apply_gradients`, with and without error feedback. About eight minutes on two CPU cores.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from record import write
from training import CONV7, MLP

from laperm_jax import LaPermState
from laperm_jax.lab.config import TrainConfig, resolve, with_settings
from laperm_jax.lab.data import datasets
from laperm_jax.lab.experiments.catalogue.settings import SMALL_TRANSFORMER
from laperm_jax.lab.training import optimizers
from laperm_jax.lab.training.build import build_training
from laperm_jax.lab.training.seeds import draw_initial
from laperm_jax.lab.training.step import make_run, make_shuffle, make_update

ROUNDS = 15
NEVER = 2**31 - 1


class InnerAlone:
    """The inner optimiser in the place of LaPerm."""

    def __init__(self, inner: optax.GradientTransformation):
        self.inner = inner

    def init(self, params: Any) -> LaPermState:
        return LaPermState(jnp.zeros([], jnp.int32), {}, self.inner.init(params))

    def apply_gradients(self, grads: Any, state: LaPermState, params: Any) -> tuple[Any, LaPermState]:
        updates, inner_state = self.inner.update(grads, state.inner_state, params)
        return optax.apply_updates(params, updates), LaPermState(state.count + 1, {}, inner_state)


class ThroughUpdate:
    """LaPerm as Optax has it: updates are returned, and applied by the caller."""

    def __init__(self, optimizer: Any):
        self.init, self.optimizer = optimizer.init, optimizer

    def apply_gradients(self, grads: Any, state: LaPermState, params: Any) -> tuple[Any, LaPermState]:
        updates, state = self.optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state


def measure(config: TrainConfig, steps: int) -> dict[str, Any]:
    """Milliseconds a step for each way: medians over rounds, and their ratios to Adam alone within a round."""
    dataset = datasets.load(config.data.dataset)
    config = resolve(with_settings(config, sync_period=NEVER))
    training = build_training(config, dataset)
    of_sync = lambda **settings: build_training(resolve(with_settings(config, **settings)), dataset).method.optimizer
    method, initial = training.method, draw_initial(training.network, config.seed)
    laperm, inner = method.optimizer, InnerAlone(optimizers.INNER[config.optimizer.inner](method.learning_rate))
    ways = {
        "adam alone": inner,
        "apply_gradients": laperm,
        "update and apply_updates": ThroughUpdate(laperm),
        "adam alone again": inner,
        "a sync at every step": of_sync(sync_period=1),
        "a sync at every step, error feedback": of_sync(sync_period=1, error_feedback=True),
    }
    order = make_shuffle(training.task, method.steps_per_epoch, method.batch_size)([initial.order_key], 0)
    arguments = training.task.train, order, np.int32(0), np.int32(steps)
    running = {}
    for name, optimizer in ways.items():
        state = method._replace(optimizer=optimizer).init_state(initial)
        update = make_update(training.task, training.network, optimizer, config.optimizer.l2)
        run = make_run(update).lower(state, *arguments).compile()
        running[name] = run, run(state, *arguments)[0]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (run, state) in running.items():
            jax.block_until_ready(state)
            started = time.perf_counter()
            state, losses = run(state, *arguments)
            losses.block_until_ready()
            seconds[name].append((time.perf_counter() - started) / steps)
            running[name] = run, state
    alone = np.array(seconds["adam alone"])
    return {
        name: {
            "ms_per_step": 1e3 * float(np.median(times)),
            "over_adam_alone": float(np.median(np.array(times) / alone)) - 1,
        }
        for name, times in seconds.items()
    }


def main() -> None:
    measured = {}
    networks = (("mlp", MLP, 400), ("conv7", CONV7, 15), ("transformer 4 x 128", SMALL_TRANSFORMER, 15))
    for name, config, steps in networks:
        measured[name] = measure(config, steps)
        for way, figures in measured[name].items():
            print(
                f"{name}: {figures['ms_per_step']:.3f} ms a step, {figures['over_adam_alone']:+.1%}, {way}", flush=True
            )
    write("step_overhead", "python benchmarks/step_overhead.py", {"rounds": ROUNDS, "networks": measured})


if __name__ == "__main__":
    main()
