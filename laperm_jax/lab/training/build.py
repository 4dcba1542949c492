"""The parts of a training run, built from settings and data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from laperm_jax.lab.config import TrainConfig
from laperm_jax.lab.data import tasks
from laperm_jax.lab.data.datasets import AnyDataset
from laperm_jax.lab.data.tasks import Task
from laperm_jax.lab.models.networks import Network
from laperm_jax.lab.training.evaluation import Evaluator
from laperm_jax.lab.training.method import Method, make_method
from laperm_jax.lab.training.seeds import Update
from laperm_jax.lab.training.state import Tree
from laperm_jax.lab.training.step import make_update


class Training(NamedTuple):
    """The parts of a training run, the same for all its seeds.

    Attributes:
      task: examples, loss and score.
      network: the network.
      method: what is reordered, how long, by which optimiser, and when.
      update: the update of one seed.
      reconnected_params: the optimiser's method, jitted.
      evaluator: scores variables.
    """

    task: Task
    network: Network
    method: Method
    update: Update
    reconnected_params: Callable[[Any, Tree], Tree]
    evaluator: Evaluator


def build_evaluation(config: TrainConfig, dataset: AnyDataset) -> tuple[Task, Network, Evaluator]:
    """Builds what it takes to evaluate a network: no optimiser.

    Args:
      config: settings, resolved.
      dataset: the data.

    Returns:
      Task, network and evaluator.

    Raises:
      ConfigError: if settings, network and data do not fit together.
    """
    task = tasks.make(config, dataset)
    network = Network(config, task.input_shape, task.outputs)
    return task, network, Evaluator(task, network, config.data.batch_size, config.sync.reestimate_batchnorm)


def build_training(config: TrainConfig, dataset: AnyDataset) -> Training:
    """Builds the parts of a training run.

    Args:
      config: settings, resolved; the seed matters with ``redraw`` only.
      dataset: the data.

    Returns:
      The parts.

    Raises:
      ConfigError: if settings, network and data do not fit together.
    """
    task, network, evaluator = build_evaluation(config, dataset)
    method = make_method(config, network, task.examples)
    update = make_update(task, network, method.optimizer, config.optimizer.l2)
    return Training(task, network, method, update, jax.jit(method.optimizer.reconnected_params), evaluator)
