"""Several seeds of one training, in one program."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from laperm_jax import LaPermState
from laperm_jax.lab.training.trainer import Trainer, TrainState, loop_updates


class SideBySide:
    """Several seeds of one training, each with its own weights, data order and dropout, in one program.

    Stands in the place of a :class:`Trainer` for the loop of a run. Arrays have a leading axis of seeds; the counter of
    updates has none, or every update would be a sync that is thrown away.

    Args:
      trainers: one of them, and others that its ``with_seed`` has made.
    """

    def __init__(self, trainers: Sequence[Trainer]):
        self._trainers = trainers
        self._first = first = trainers[0]
        self.train, self.steps_per_epoch, self.total_steps = first.train, first.steps_per_epoch, first.total_steps
        self.sync_schedule, self.axes, self.sync_metrics = first.sync_schedule, first.axes, first.sync_metrics
        self.after_sync = first.after_sync
        self.run = jax.jit(self._run, donate_argnums=0)

    def init_state(self) -> TrainState:
        """Makes the states before the first update."""
        return self.join([trainer.init_state() for trainer in self._trainers])

    def members(self, state: TrainState) -> list[TrainState]:
        """The state of each seed, in memory of its own."""
        count = state.opt_state.count
        pick = lambda number: jax.tree.map(lambda leaf: leaf if leaf is count else leaf[number], state)
        return [pick(number) for number in range(len(self._trainers))]

    def join(self, states: Sequence[TrainState]) -> TrainState:
        """The inverse of ``members``: states of the same number of updates."""
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        return stacked._replace(opt_state=stacked.opt_state._replace(count=states[0].opt_state.count))

    def shuffle(self, epoch: jax.typing.ArrayLike) -> jax.Array:
        """Which examples each update of an epoch sees: int32 ``(steps_per_epoch, seeds, batch)``."""
        return jnp.stack([trainer.shuffle(epoch) for trainer in self._trainers], axis=1)

    def _run(
        self, state: TrainState, data: Any, order: jax.Array, start: jax.Array, stop: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        """Like that of a trainer; losses are ``(steps_per_epoch, seeds)``."""
        update = lambda state, order: self._first._update(state, self._first.task.take(data, order))
        batched = TrainState(0, 0, LaPermState(None, 0, 0), 0, 0)  # type: ignore[arg-type]
        return loop_updates(jax.vmap(update, (batched, 0), (batched, 0)), state, order, start, stop)
