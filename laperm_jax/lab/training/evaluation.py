"""Evaluation of a network's variables, and the snapshot of an epoch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax.lab.data.tasks import Batch, Task
from laperm_jax.lab.models.networks import Network, Variables
from laperm_jax.lab.training.state import Tree


class Snapshot(NamedTuple):
    """Weights at the end of an epoch, and their validation scores.

    Attributes:
      epoch: number of the epoch; 0 before the first.
      reconnected: reconnected weights, and the BatchNorm statistics they were evaluated with.
      free: the inner optimiser's weights, and theirs.
      scores: ``val_accuracy`` and ``val_accuracy_free``, or ``val_loss`` and ``val_loss_free``.
    """

    epoch: int
    reconnected: Variables
    free: Variables
    scores: dict[str, float]


class Evaluator:
    """Scores variables of a network; compiled once.

    Args:
      task: the task.
      network: the network.
      batch_size: examples in a training batch.
      reestimate_batches: number of training batches to measure BatchNorm statistics on; 0 keeps the running ones.
    """

    def __init__(self, task: Task, network: Network, batch_size: int, reestimate_batches: int = 0):
        self._task, self._network = task, network
        self._batch_size, self._reestimate_batches = batch_size, reestimate_batches
        self._measure = jax.jit(self._measure_batches)
        self._batch_stats = jax.jit(self._mean_batch_stats)

    def score(self, variables: Variables, data: Batch) -> float:
        """The score of the task in evaluation mode: an accuracy (a share), or a loss."""
        total, count = self._measure(variables, data)
        return total.item() / count.item()

    def reestimate(self, variables: Variables, order_key: jax.Array) -> Variables:
        """The variables with BatchNorm statistics measured on training batches, if there are batches to measure on.

        Running statistics describe the weights before a sync, which moves all of them at once. Means and variances of
        several training batches are averaged instead, without dropout or augmentation.

        Args:
          variables: parameters and statistics.
          order_key: PRNG key that chooses the batches.
        """
        if not self._reestimate_batches:
            return variables
        return variables._replace(batch_stats=self._batch_stats(variables, self._task.train, order_key))

    def snapshot(self, epoch: int, free: Variables, reconnected: Tree, order_key: jax.Array) -> Snapshot:
        """Scores free and reconnected parameters on the validation examples, and copies both.

        The arrays of the state are donated to the next update, and a parameter that is not reordered is one of them.
        """
        placed, free = (
            jax.tree.map(jnp.copy, self.reestimate(variables, order_key))
            for variables in (free._replace(params=reconnected), free)
        )
        name = f"val_{self._task.score}"
        scores = {
            name: self.score(placed, self._task.validation),
            f"{name}_free": self.score(free, self._task.validation),
        }
        return Snapshot(epoch, placed, free, scores)

    def _measure_batches(self, variables: Variables, data: Batch) -> tuple[jax.Array, jax.Array]:
        def measure(batch: Batch) -> tuple[jax.Array, jax.Array]:
            outputs = self._network.predict(variables, self._task.preprocess(batch.inputs))
            return self._task.measure(outputs, batch.targets)

        size = self._task.evaluation_batch
        batches = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), data)
        totals, counts = lax.map(measure, batches)
        return totals.sum(), counts.sum()

    def _mean_batch_stats(self, variables: Variables, data: Any, order_key: jax.Array) -> Tree:
        def measure(batch: jax.Array) -> Tree:
            inputs = self._task.preprocess(self._task.take(data, batch).inputs)
            return self._network.measure_batch_stats(variables, inputs)

        used = self._task.order(order_key)[: self._reestimate_batches * self._batch_size]
        stats = lax.map(measure, used.reshape(-1, self._batch_size))
        return jax.tree.map(lambda leaf: leaf.mean(axis=0), stats)
