"""The update of a run: a pure function of the state, looped over on the device."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.data.tasks import Task
from laperm_jax.lab.models import classifiers
from laperm_jax.lab.models.networks import Network, Variables
from laperm_jax.lab.training.seeds import Update, over_seeds
from laperm_jax.lab.training.state import TrainState, Tree


class Optimizer(Protocol):
    """The method that an update calls."""

    def apply_gradients(self, grads: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
        """New parameters and state."""


def make_update(task: Task, network: Network, optimizer: Optimizer, l2: float = 0.0) -> Update:
    """Makes the update ``(state, training examples, order (batch,)) -> (state, loss)``.

    Args:
      task: takes, augments and preprocesses the examples, and knows the loss.
      network: the network.
      optimizer: LaPerm.
      l2: factor of the squared kernels in the loss.

    Returns:
      A pure function.
    """

    def update(state: TrainState, data: Any, order: jax.Array) -> tuple[TrainState, jax.Array]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.update_key), state.opt_state.count)
        augment_key, dropout_key = jax.random.split(key)
        inputs, targets = task.take(data, order)
        inputs = task.augment(inputs, augment_key)

        def loss_fn(params: Tree) -> tuple[jax.Array, Tree]:
            variables = Variables(params, state.batch_stats)
            outputs, batch_stats = network.apply(variables, task.preprocess(inputs), dropout_key)
            loss = task.loss(outputs, targets)
            if l2:
                loss += l2 * _squared_kernels(params)
            return loss, batch_stats

        (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        params, opt_state = optimizer.apply_gradients(grads, state.opt_state, state.params)
        return state._replace(params=params, batch_stats=batch_stats, opt_state=opt_state), loss

    return update


def make_run(update: Update, seeds: int = 1) -> Any:
    """Compiles many updates into one program: ``(state, data, order, start, stop) -> (state, losses)``.

    It makes the updates ``start`` to ``stop - 1`` of an epoch, or stops after a loss that is not finite. The bounds are
    traced, so that one program serves pieces of any length, and a loop on the device costs nothing per update.

    Args:
      update: the update of one seed.
      seeds: number of seeds, stacked in the state.

    Returns:
      The jitted function. The state is donated; order is ``(updates, batch)`` and losses are float32 ``(updates,)``,
      with several seeds ``(updates, seeds, batch)`` and ``(updates, seeds)``; losses are 0 outside the piece.
    """
    return jax.jit(functools.partial(_run, over_seeds(update, seeds)), donate_argnums=0)


def _run(
    update: Update, state: TrainState, data: Any, order: jax.Array, start: jax.Array, stop: jax.Array
) -> tuple[TrainState, jax.Array]:
    shape = order.shape[:-1]  # (updates,) or (updates, seeds)

    def unfinished(carry: tuple[Any, ...]) -> jax.Array:
        step, loss, *_ = carry
        return (step < stop) & jnp.isfinite(loss).all()

    def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        step, _, state, losses = carry
        state, loss = update(state, data, order[step])
        return step + 1, loss, state, losses.at[step].set(loss)

    carry = start, jnp.zeros(shape[1:], jnp.float32), state, jnp.zeros(shape, jnp.float32)
    _, _, state, losses = lax.while_loop(unfinished, body, carry)
    return state, losses


def make_shuffle(task: Task, steps_per_epoch: int, batch_size: int) -> Callable[[Sequence[jax.Array], int], jax.Array]:
    """Makes the function that says which examples each update of an epoch sees.

    Args:
      task: the task.
      steps_per_epoch: updates in an epoch.
      batch_size: examples in a batch.

    Returns:
      ``(order keys, epoch counted from 0) -> int32 (updates, batch)``, or ``(updates, seeds, batch)`` for several keys.
    """

    @jax.jit
    def shuffle_one(key: jax.Array, epoch: jax.Array) -> jax.Array:
        order = task.order(jax.random.fold_in(key, epoch))
        return order[: steps_per_epoch * batch_size].reshape(steps_per_epoch, batch_size)

    def shuffle(keys: Sequence[jax.Array], epoch: int) -> jax.Array:
        orders = [shuffle_one(key, np.int32(epoch)) for key in keys]
        return orders[0] if len(orders) == 1 else jnp.stack(orders, axis=1)

    return shuffle


def _squared_kernels(params: Tree) -> jax.Array:
    """Sum of the squares of all kernels but the output layer's."""
    kernels = [
        leaf
        for path, leaf in leaves_by_path(params).items()
        if path.endswith("kernel") and not path.startswith(classifiers.OUTPUT)
    ]
    return sum((jnp.sum(jnp.square(kernel)) for kernel in kernels), start=jnp.float32(0))
