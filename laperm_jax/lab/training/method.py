"""The method of a run: what is reordered, how long, by which optimiser, and when a sync comes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from laperm_jax import LaPerm, flax_fan_in, laperm, norm_reset
from laperm_jax._paths import PyTree, leaves_by_path, map_by_path
from laperm_jax._schedules import SyncSchedule
from laperm_jax.lab.config import ConfigError, TrainConfig
from laperm_jax.lab.models.networks import Network
from laperm_jax.lab.training import diagnostics, optimizers, selection
from laperm_jax.lab.training.seeds import Initial, split_seed
from laperm_jax.lab.training.state import TrainState
from laperm_jax.rules._fan_in import vector_axes
from laperm_jax.sync._vectors import Axes


class Method(NamedTuple):
    """How a network is trained.

    Attributes:
      kernel_axes: path of each kernel to the axes of one weight vector.
      axes: path of each reordered parameter to the axes of one weight vector; empty without a sync period.
      batch_size: examples in a batch.
      steps_per_epoch: updates in an epoch; the examples after the last full batch are not used.
      total_steps: updates in the run.
      learning_rate: function of the number of updates made.
      sync_schedule: whether an update, counted from 1, is a sync.
      optimizer: the LaPerm transform.
      residual_noise: standard deviation of the noise that residuals begin with, relative to their parameter's.
    """

    kernel_axes: dict[str, Axes]
    axes: dict[str, Axes]
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    learning_rate: optax.Schedule
    sync_schedule: SyncSchedule
    optimizer: LaPerm
    residual_noise: float

    def init_state(self, initial: Initial) -> TrainState:
        """The state before the first update, in memory of its own."""
        (params, batch_stats), update_key = jax.tree.map(
            jnp.copy, (initial.variables, jax.random.key_data(initial.update_key))
        )
        opt_state = self.optimizer.init(params)
        if self.residual_noise:
            key = jax.random.fold_in(initial.update_key, 2**31 - 1)  # updates fold in their number
            opt_state = opt_state._replace(residual=_noise(key, opt_state.residual, params, self.residual_noise))
        state = TrainState(params, batch_stats, opt_state, update_key, {})
        return diagnostics.mark_sync(state, self.axes)


def make_method(config: TrainConfig, network: Network, examples: int) -> Method:
    """Makes the method of a run.

    Args:
      config: settings, resolved.
      network: the network.
      examples: number of training examples.

    Returns:
      The method.

    Raises:
      ConfigError: if settings, network and data do not fit together.
    """
    _check_sizes(config, examples)
    _check_batchnorm(config, network)
    params = network.shapes.params
    kernel_axes = vector_axes(flax_fan_in, params)
    axes = selection.reordered_axes(config, params)
    frozen = selection.matching(params, config.sync.freeze, "--freeze")
    steps_per_epoch = examples // config.data.batch_size
    total_steps = config.optimizer.steps or steps_per_epoch * (config.optimizer.epochs or 0)
    learning_rate = optimizers.learning_rate_schedule(config, total_steps, steps_per_epoch)
    sync_schedule = optimizers.sync_schedule(config, total_steps, learning_rate)
    inner = optimizers.inner(
        config,
        learning_rate,
        others=map_by_path(lambda path, _: path not in kernel_axes, params),
        frozen=map_by_path(lambda path, _: path in frozen, params),
    )
    optimizer = laperm(
        inner,
        sync_schedule,
        fan_in_axes=axes,
        reset_values=norm_reset(params) if config.sync.reset_batchnorm else None,
        redraw=(lambda: network.draw_params(split_seed(config.seed)[0])) if config.sync.redraw else None,
        error_feedback=config.sync.error_feedback,
    )
    return Method(
        kernel_axes,
        axes,
        config.data.batch_size,
        steps_per_epoch,
        total_steps,
        learning_rate,
        sync_schedule,
        optimizer,
        config.sync.residual_noise,
    )


def _noise(key: jax.Array, residual: PyTree, params: PyTree, scale: float) -> PyTree:
    weights = leaves_by_path(params)
    noise = optax.tree.random_like(key, residual)
    return map_by_path(lambda path, leaf: scale * weights[path].std() * leaf, noise)


def _check_sizes(config: TrainConfig, examples: int) -> None:
    batch_size, batches = config.data.batch_size, config.sync.reestimate_batchnorm
    if batch_size > examples:
        raise ConfigError(f"--batch-size is {batch_size}; it must be at most the {examples} training examples")
    if batches > (available := examples // batch_size):
        raise ConfigError(f"--reestimate-batchnorm is {batches}; there are {available} batches")


def _check_batchnorm(config: TrainConfig, network: Network) -> None:
    asked = {
        "--reset-batchnorm": config.sync.reset_batchnorm,
        "--reestimate-batchnorm": config.sync.reestimate_batchnorm,
    }
    for option, value in asked.items():
        if value and not network.shapes.batch_stats:
            raise ConfigError(f"{option} is for networks with BatchNorm, and {config.model.model} has none")
