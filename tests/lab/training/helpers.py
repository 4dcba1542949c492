"""Small training runs on digits, without files."""

from typing import Any, NamedTuple

import jax
import numpy as np

from laperm_jax.lab.config import make_config, resolve, with_settings
from laperm_jax.lab.data import datasets
from laperm_jax.lab.runs import weights
from laperm_jax.lab.training.build import Training, build_training
from laperm_jax.lab.training.seeds import Initial, draw_initial, over_seeds, stack_seeds
from laperm_jax.lab.training.state import TrainState
from laperm_jax.lab.training.step import make_run, make_shuffle

SMALL = resolve(make_config(widths=(16,), sync_period=4, learning_rate=2e-2))
CONV = with_settings(SMALL, model="conv2", batch_size=16, steps=8, epochs=None)  # BatchNorm and dropout


class Small(NamedTuple):
    """A training run of one seed, or of several."""

    training: Training
    initials: list[Initial]
    run: Any
    shuffle: Any

    @property
    def initial(self) -> Initial:
        return self.initials[0]

    @property
    def axes(self) -> Any:
        return self.training.method.axes

    def init_state(self) -> TrainState:
        return stack_seeds([self.training.method.init_state(initial) for initial in self.initials])

    def order(self, epoch: int = 0) -> jax.Array:
        return self.shuffle([initial.order_key for initial in self.initials], epoch)

    def updates(self, state: TrainState, start: int, stop: int, epoch: int = 0) -> tuple[TrainState, np.ndarray]:
        """Makes updates of an epoch."""
        arguments = self.training.task.train, self.order(epoch), np.int32(start), np.int32(stop)
        state, losses = self.run(state, *arguments)
        return state, np.asarray(losses)

    def exact_share(self, params: Any, seed: int = 0) -> float:
        """Share of the weight vectors that are permutations of their initial values."""
        initial = weights.to_numpy(self.initials[seed].variables.params)
        exact, total = weights.count_exact_vectors(initial, weights.to_numpy(params), self.axes)
        return exact / total


def small(config: Any = SMALL, seeds: tuple[int, ...] = (), dataset: Any = None, **settings: Any) -> Small:
    """Builds a small run, of the seed of its settings or of several."""
    config = with_settings(config, **settings)
    seeds = seeds or (config.seed,)
    training = build_training(config, dataset or datasets.load(config.data.dataset))
    initials = [draw_initial(training.network, seed) for seed in seeds]
    shuffle = make_shuffle(training.task, training.method.steps_per_epoch, training.method.batch_size)
    return Small(training, initials, make_run(training.update, len(seeds)), shuffle)


def one_loss(run: Small) -> float:
    """The loss of the first batch, without an update compiled in a loop."""
    update = jax.jit(over_seeds(run.training.update, 1))
    return float(update(run.init_state(), run.training.task.train, run.order()[0])[1])
