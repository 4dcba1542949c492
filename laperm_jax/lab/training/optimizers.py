"""Inner optimisers, learning-rate schedules and sync schedules by name."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from laperm_jax import at_steps, every, growing, shrinking, with_learning_rate
from laperm_jax._schedules import SyncSchedule
from laperm_jax.lab.config import TrainConfig
from laperm_jax.lab.config.names import InnerName

_KERAS_EPSILON = 1e-7  # the paper's Adam has its framework's epsilon

INNER: dict[InnerName, Callable[[optax.Schedule], optax.GradientTransformation]] = {
    "adabelief": optax.adabelief,
    "adafactor": optax.adafactor,
    "adagrad": optax.adagrad,
    "adam": lambda schedule: optax.adam(schedule, eps=_KERAS_EPSILON),
    "adamax": optax.adamax,
    "adamw": optax.adamw,
    "amsgrad": optax.amsgrad,
    "lamb": optax.lamb,
    "lion": optax.lion,
    "momentum": lambda schedule: optax.sgd(schedule, momentum=0.9),
    "muon": optax.contrib.muon,
    "nadam": optax.nadam,
    "nesterov": lambda schedule: optax.sgd(schedule, momentum=0.9, nesterov=True),
    "radam": optax.radam,
    "rmsprop": optax.rmsprop,
    "sgd": optax.sgd,
    "yogi": optax.yogi,
}


def inner(config: TrainConfig, schedule: optax.Schedule, others: Any, frozen: Any) -> optax.GradientTransformation:
    """The inner optimiser of a run.

    Args:
      config: the run.
      schedule: of the learning rate.
      others: tree of bools, true for parameters that have a learning rate of their own, if the settings name one.
      frozen: tree of bools, true for parameters that are not trained.

    Returns:
      An Optax transform.
    """
    optimizer = INNER[config.optimizer.inner](schedule)
    if config.optimizer.others_learning_rate:
        factor = config.optimizer.others_learning_rate / config.optimizer.learning_rate
        optimizer = optax.chain(optimizer, optax.masked(optax.scale(factor), others))
    if any(jax.tree.leaves(frozen)):
        return optax.transforms.selective_transform(optimizer, freeze_mask=frozen)
    return optimizer


def learning_rate_schedule(config: TrainConfig, total_steps: int, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate as a function of the updates made.

    Args:
      config: the run.
      total_steps: number of updates of the whole run.
      steps_per_epoch: number of updates in an epoch; ``exponential`` and ``step`` change between epochs only.

    Returns:
      An Optax schedule.

    Example:
      >>> from laperm_jax.lab.config import paper_preset
      >>> from laperm_jax.lab.training.optimizers import learning_rate_schedule
      >>> schedule = learning_rate_schedule(paper_preset("resnet50"), 180_000, 900)
      >>> [f"{float(schedule(900 * epoch)):.0e}" for epoch in (79, 80, 120, 160, 180)]
      ['1e-03', '1e-04', '1e-05', '1e-06', '5e-07']
    """
    optimizer = config.optimizer
    rate, decay_rate, decay_epochs = optimizer.learning_rate, optimizer.decay_rate, optimizer.decay_epochs
    match optimizer.schedule:
        case "cosine":
            return optax.cosine_decay_schedule(rate, total_steps)
        case "constant":
            return optax.constant_schedule(rate)
        case "exponential":
            return optax.exponential_decay(rate, steps_per_epoch, decay_rate[0], staircase=True)
        case "step" if len(decay_epochs) == 1:
            return optax.exponential_decay(rate, steps_per_epoch * decay_epochs[0], decay_rate[0], staircase=True)
        case "step":
            factors = decay_rate if len(decay_rate) > 1 else decay_rate * len(decay_epochs)
            boundaries = [epoch * steps_per_epoch for epoch in decay_epochs]
            return optax.piecewise_constant_schedule(rate, dict(zip(boundaries, factors, strict=True)))


def sync_schedule(config: TrainConfig, total_steps: int, learning_rate: optax.Schedule) -> SyncSchedule:
    """When to sync, as a function of the number of the update; never without a sync period."""
    period = config.sync.sync_period
    if period is None:
        return at_steps([])
    match config.sync.sync_schedule:
        case "constant":
            return every(period)
        case "geometric":
            return growing(period, config.sync.last_sync_period or period, total_steps)
        case "shrinking":
            return shrinking(total_steps)
        case "learning-rate":
            return with_learning_rate(period, learning_rate, total_steps)
        case "end":
            return at_steps([total_steps])
