"""The training itself: pure functions of a state, compiled once, over data that sit on the device."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from laperm_jax import LaPermState, flax_fan_in, laperm, norm_reset, reconnect, sort_vectors
from laperm_jax._paths import leaves_by_path, map_by_path
from laperm_jax._rules import vector_axes
from laperm_jax.analysis._sync_metrics import SyncMetrics, sync_metrics
from laperm_jax.lab.config import ConfigError, TrainConfig, with_settings
from laperm_jax.lab.data import tasks
from laperm_jax.lab.data.datasets import AnyDataset
from laperm_jax.lab.data.tasks import Batch
from laperm_jax.lab.models import classifiers, networks
from laperm_jax.lab.runs import weights
from laperm_jax.lab.training import optimizers, selection

Tree = dict[str, Any]


class TrainState(NamedTuple):
    """What an update changes; the number of updates made is ``opt_state.count``.

    Attributes:
      params: current ("free") parameters.
      batch_stats: running means and variances of BatchNorm; empty without it.
      opt_state: state of LaPerm.
      update_key: PRNG key data of dropout and augmentation, uint32 ``(2,)``; the same at every update.
      last_sync: path of each parameter that is reordered, to its value after the sync that diagnostics look back to.
    """

    params: Tree
    batch_stats: Tree
    opt_state: LaPermState
    update_key: jax.Array
    last_sync: dict[str, jax.Array]


class Trainer:
    """A network, its task, its optimiser, and the compiled functions that train and evaluate it.

    Attributes:
      task: what is learnt.
      graph: structure of the network, as ``nnx.graphdef`` gives it.
      train, validation, test: the data, as the task has them.
      steps_per_epoch, total_steps: numbers of updates; what is left of an epoch after the last full batch is not used.
      initial_params, initial_batch_stats: parameters before training, and statistics of BatchNorm.
      kernel_axes: path of each kernel, to the axes of one weight vector.
      axes: path of each parameter that is reordered, to the axes of one weight vector; empty without a sync period.
      optimizer: the LaPerm transform.
      learning_rate: schedule, a function of the updates made.
      sync_schedule: tells whether an update, counted from 1, is a sync.

    Args:
      config: settings, checked and resolved (:mod:`laperm_jax.lab.config`).
      dataset: the data.

    Raises:
      ConfigError: if settings, network and data do not fit together.
    """

    def __init__(self, config: TrainConfig, dataset: AnyDataset):
        self.task = tasks.make(config, dataset)
        _check_sizes(config, self.task.examples)
        self.config = config
        self.train, self.validation, self.test = self.task.train, self.task.validation, self.task.test
        self.steps_per_epoch = self.task.examples // config.data.batch_size
        self.total_steps = config.optimizer.steps or self.steps_per_epoch * (config.optimizer.epochs or 0)

        make = networks.maker(config, self.task.input_shape, self.task.outputs)
        self._make = nnx.jit(make)
        self.graph = self._begin(config.seed)
        params, batch_stats = self.initial_params, self.initial_batch_stats
        if not batch_stats and (config.sync.reset_batchnorm or config.sync.reestimate_batchnorm):
            option = "--reset-batchnorm" if config.sync.reset_batchnorm else "--reestimate-batchnorm"
            raise ConfigError(f"{option} is for networks with BatchNorm, and {config.model.model} has none")
        self.kernel_axes = vector_axes(flax_fan_in, params)
        frozen = selection.matching(params, config.sync.freeze, "--freeze")
        self.axes = selection.reordered_axes(config, params)
        if config.model.start:
            self._take_over(config.model.start)
        self.learning_rate = optimizers.learning_rate_schedule(config, self.total_steps, self.steps_per_epoch)
        self.sync_schedule = optimizers.sync_schedule(config, self.total_steps, self.learning_rate)
        self.optimizer = laperm(
            optimizers.inner(
                config,
                self.learning_rate,
                others=map_by_path(lambda path, _: path not in self.kernel_axes, params),
                frozen=map_by_path(lambda path, _: path in frozen, params),
            ),
            self.sync_schedule,
            fan_in_axes=self.axes,
            reset_values=norm_reset(params) if config.sync.reset_batchnorm else None,
            redraw=(lambda: nnx.to_pure_dict(nnx.state(make(self._init_key), nnx.Param)))
            if config.sync.redraw
            else None,
        )
        self._shuffled = jax.jit(self._shuffle)
        self.run = jax.jit(self._run, donate_argnums=0)
        self.reconnected_params = jax.jit(self.optimizer.reconnected_params)
        self._measured = jax.jit(self._measure_batches)
        self._batch_stats = jax.jit(self._measure_batch_stats)
        self._sync_metrics = jax.jit(self._compare_with_last_sync)

    def _begin(self, seed: int) -> Any:
        """Draws the initial weights and all that depends on the seed; returns the structure of the network."""
        self._init_key, self._order_key, update_key = split_seed(seed)
        self._update_key = jax.random.key_data(update_key)
        model = self._make(self._init_key)
        self.initial_params, self.initial_batch_stats = (
            nnx.to_pure_dict(nnx.state(model, kind)) for kind in (nnx.Param, nnx.BatchStat)
        )
        return nnx.graphdef(model)

    def _take_over(self, run: Path) -> None:
        """Places the initial values by the ranks of a run's final weights, and takes all that is not reordered."""
        if not (run / weights.FILE).is_file():
            raise ConfigError(f"--start {run} holds no {weights.FILE}: name the folder of a run that is finished")
        found = weights.load(run / weights.FILE)

        def replaced(path: str, leaf: jax.Array) -> jax.Array:
            if path not in found or found[path].shape != leaf.shape:
                raise ConfigError(f"--start {run} is a run of another network: it has no {path} of shape {leaf.shape}")
            if path not in self.axes:
                return jnp.asarray(found[path])
            axes = self.axes[path]
            return reconnect(jnp.asarray(found[path]), sort_vectors(leaf, axes), axes)

        self.initial_params, self.initial_batch_stats = (
            map_by_path(replaced, tree) for tree in (self.initial_params, self.initial_batch_stats)
        )

    def with_seed(self, seed: int) -> "Trainer":
        """The same training of another seed; data and compiled functions are shared. Not for ``redraw``, ``start``."""
        other = copy.copy(self)
        other.config = with_settings(self.config, seed=seed)
        other._begin(seed)
        return other

    def init_state(self) -> TrainState:
        """Makes the state before the first update, in memory of its own."""
        params, batch_stats, update_key = jax.tree.map(
            jnp.copy, (self.initial_params, self.initial_batch_stats, self._update_key)
        )
        return self.after_sync(TrainState(params, batch_stats, self.optimizer.init(params), update_key, {}))

    def members(self, state: TrainState) -> list[TrainState]:
        """The states of the seeds that are trained: one."""
        return [state]

    def join(self, states: Sequence[TrainState]) -> TrainState:
        """The inverse of ``members``."""
        (state,) = states
        return state

    def shuffle(self, epoch: jax.typing.ArrayLike) -> jax.Array:
        """Which examples each update of an epoch, counted from 0, sees: int32 ``(steps_per_epoch, batch)``."""
        return self._shuffled(self._order_key, epoch)

    def score(self, params: Tree, batch_stats: Tree, data: Batch) -> float:
        """The score of the task, in evaluation mode: the accuracy, a share, or the loss."""
        total, count = self._measured(params, batch_stats, data)
        return total.item() / count.item()

    def after_sync(self, state: TrainState) -> TrainState:
        """The state with its parameters, which a sync has placed, as those to look back to."""
        leaves = leaves_by_path(state.params)
        return state._replace(last_sync={path: jnp.copy(leaves[path]) for path in self.axes})

    def sync_metrics(self, state: TrainState) -> dict[str, dict[str, float]]:
        """What a sync of these parameters would do, compared with the last one, by their path."""
        metrics = jax.device_get(self._sync_metrics(state))
        return {path: {name: float(x) for name, x in of_leaf._asdict().items()} for path, of_leaf in metrics.items()}

    def reestimated(self, params: Tree, batch_stats: Tree) -> Tree:
        """BatchNorm statistics measured with these parameters, where the settings ask for it; else those given.

        Running statistics describe the weights before a sync, which moves all of them at once. Means and variances of
        ``reestimate_batchnorm`` training batches are averaged instead, without dropout or augmentation.
        """
        if not self.config.sync.reestimate_batchnorm:
            return batch_stats
        return self._batch_stats(params, batch_stats, self.train, self._order_key)

    def _compare_with_last_sync(self, state: TrainState) -> dict[str, SyncMetrics]:
        params, kept = leaves_by_path(state.params), leaves_by_path(state.opt_state.sorted_init)
        values = {  # those that are drawn again are not kept; a sync has only reordered them
            path: kept[path] if path in kept else sort_vectors(state.last_sync[path], axes)
            for path, axes in self.axes.items()
        }
        return {
            path: sync_metrics(state.last_sync[path], params[path], values[path], axes)
            for path, axes in self.axes.items()
        }

    def _shuffle(self, order_key: jax.Array, epoch: jax.Array) -> jax.Array:
        order = self.task.order(jax.random.fold_in(order_key, epoch))
        used = self.steps_per_epoch * self.config.data.batch_size
        return order[:used].reshape(self.steps_per_epoch, self.config.data.batch_size)

    def _run(
        self, state: TrainState, data: Any, order: jax.Array, start: jax.Array, stop: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        """Makes the updates ``start`` to ``stop - 1`` of an epoch, or fewer: it stops at a loss that is not finite.

        The bounds are traced, so that one program serves pieces of any length; a loop on the device costs nothing per
        update. ``state`` is donated. Returns the new state and the losses ``(steps_per_epoch,)``, 0 outside the piece.
        """
        make_update = lambda state, order: self._update(state, self.task.take(data, order))
        return loop_updates(make_update, state, order, start, stop)

    def _update(self, state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.update_key), state.opt_state.count)
        augment_key, dropout_key = jax.random.split(key)
        inputs = self.task.augment(batch.inputs, augment_key)

        def loss_fn(params: Tree) -> tuple[jax.Array, Tree]:
            model = nnx.merge(self.graph, params, state.batch_stats)
            outputs = model(self.task.preprocess(inputs), nnx.Rngs(dropout_key))
            loss = self.task.loss(outputs, batch.targets)
            if self.config.optimizer.l2:
                loss += self.config.optimizer.l2 * _squared_kernels(params)
            return loss, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

        (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        params, opt_state = self.optimizer.apply_gradients(grads, state.opt_state, state.params)
        return TrainState(params, batch_stats, opt_state, state.update_key, state.last_sync), loss

    def _measure_batches(self, params: Tree, batch_stats: Tree, data: Batch) -> tuple[jax.Array, jax.Array]:
        model = nnx.merge(self.graph, params, batch_stats)
        model = nnx.with_attributes(model, deterministic=True, use_running_average=True, raise_if_not_found=False)

        def measure(batch: Batch) -> tuple[jax.Array, jax.Array]:
            return self.task.measure(model(self.task.preprocess(batch.inputs)), batch.targets)

        size = self.task.evaluation_batch
        batches = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), data)
        totals, counts = lax.map(measure, batches)
        return totals.sum(), counts.sum()

    def _measure_batch_stats(self, params: Tree, batch_stats: Tree, data: Any, order_key: jax.Array) -> Tree:
        def measure(batch: jax.Array) -> Tree:
            model = nnx.merge(self.graph, params, batch_stats)
            model = nnx.with_attributes(model, only=nnx.Dropout, deterministic=True, raise_if_not_found=False)
            model = nnx.with_attributes(model, only=nnx.BatchNorm, momentum=0.0)
            model(self.task.preprocess(self.task.take(data, batch).inputs))
            return nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

        order = self.task.order(order_key)
        batches = order[: self.config.sync.reestimate_batchnorm * self.config.data.batch_size].reshape(
            -1, self.config.data.batch_size
        )
        return jax.tree.map(lambda stats: stats.mean(axis=0), lax.map(measure, batches))


def split_seed(seed: int) -> jax.Array:
    """PRNG keys of initial weights, of the data's order, and of dropout and augmentation."""
    return jax.random.split(jax.random.key(seed), 3)


def loop_updates(
    update: Callable[[TrainState, jax.Array], tuple[TrainState, jax.Array]],
    state: TrainState,
    order: jax.Array,
    start: jax.Array,
    stop: jax.Array,
) -> tuple[TrainState, jax.Array]:
    """Makes updates from ``start`` to ``stop - 1``, or up to one whose loss is not finite."""
    shape = order.shape[:-1]  # (steps_per_epoch,), or with the seeds

    def unfinished(carry: tuple[Any, ...]) -> jax.Array:
        step, loss, *_ = carry
        return (step < stop) & jnp.isfinite(loss).all()

    def make_update(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        step, _, state, losses = carry
        state, loss = update(state, order[step])
        return step + 1, loss, state, losses.at[step].set(loss)

    _, _, state, losses = lax.while_loop(
        unfinished, make_update, (start, jnp.zeros(shape[1:]), state, jnp.zeros(shape, jnp.float32))
    )
    return state, losses


def _check_sizes(config: TrainConfig, examples: int) -> None:
    if config.data.batch_size > examples:
        raise ConfigError(
            f"--batch-size is {config.data.batch_size}; it must be at most the {examples} training examples"
        )
    if config.sync.reestimate_batchnorm > (batches := examples // config.data.batch_size):
        raise ConfigError(f"--reestimate-batchnorm is {config.sync.reestimate_batchnorm}; there are {batches} batches")


def _squared_kernels(params: Tree) -> jax.Array:
    """Sum of the squares of all kernels but the output layer's."""
    kernels = [
        leaf
        for path, leaf in leaves_by_path(params).items()
        if path.endswith("kernel") and not path.startswith(classifiers.OUTPUT)
    ]
    return sum((jnp.sum(jnp.square(kernel)) for kernel in kernels), start=jnp.float32(0))
