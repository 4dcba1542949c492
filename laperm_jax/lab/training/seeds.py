"""Random keys derived from a seed, and several seeds as one state with a leading axis."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from laperm_jax import LaPermState, reconnect, sort_vectors
from laperm_jax._paths import map_by_path
from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.models.convolution import SIDE_BY_SIDE
from laperm_jax.lab.models.networks import Network, Variables
from laperm_jax.lab.training.state import TrainState
from laperm_jax.sync._vectors import Axes

Update = Callable[[TrainState, Any, jax.Array], tuple[TrainState, jax.Array]]


class Initial(NamedTuple):
    """Everything that a seed determines before the first update.

    Attributes:
      variables: initial parameters and BatchNorm statistics.
      order_key: PRNG key of the order of the training examples.
      update_key: PRNG key of dropout and augmentation.
    """

    variables: Variables
    order_key: jax.Array
    update_key: jax.Array


def split_seed(seed: int) -> jax.Array:
    """PRNG keys of initial weights, of the order of the data, and of dropout and augmentation."""
    return jax.random.split(jax.random.key(seed), 3)


def draw_initial(network: Network, seed: int) -> Initial:
    """Draws the initial weights of a seed."""
    init_key, order_key, update_key = split_seed(seed)
    return Initial(network.init(init_key), order_key, update_key)


def transfer_order(initial: Initial, trained: Mapping[str, Any], axes: Mapping[str, Axes]) -> Initial:
    """Places initial values by the ranks of trained weights, and copies all parameters that are not reordered.

    Args:
      initial: the initial weights.
      trained: path to array, parameters and BatchNorm statistics of a trained network.
      axes: path of each reordered parameter to the axes of one weight vector.

    Returns:
      The initial weights in their new order.

    Raises:
      ConfigError: if a parameter is missing or has another shape.
    """

    def place(path: str, leaf: jax.Array) -> jax.Array:
        if path not in trained or trained[path].shape != leaf.shape:
            raise ConfigError(f"--start is a run of another network: it has no {path} of shape {leaf.shape}")
        if path not in axes:
            return jnp.asarray(trained[path])
        return reconnect(jnp.asarray(trained[path]), sort_vectors(leaf, axes[path]), axes[path])

    return initial._replace(variables=Variables(*(map_by_path(place, tree) for tree in initial.variables)))


def stack_seeds(states: Sequence[TrainState]) -> TrainState:
    """One state for several seeds: arrays get a leading axis of seeds, for one seed nothing changes.

    The counter of updates has no such axis: a condition that differs between seeds makes every update a sync.
    """
    if len(states) == 1:
        return states[0]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return stacked._replace(opt_state=stacked.opt_state._replace(count=states[0].opt_state.count))


def unstack_seeds(state: TrainState, seeds: int) -> list[TrainState]:
    """The state of each seed: the inverse of :func:`stack_seeds`."""
    if seeds == 1:
        return [state]
    count = state.opt_state.count
    pick = lambda number: jax.tree.map(lambda leaf: leaf if leaf is count else leaf[number], state)
    return [pick(number) for number in range(seeds)]


def over_seeds(update: Update, seeds: int) -> Update:
    """The update of stacked states, and of an order of examples ``(seeds, batch)``."""
    if seeds == 1:
        return update
    opt_state: Any = LaPermState(**dict.fromkeys(LaPermState._fields, 0) | {"count": None})  # type: ignore[arg-type]
    axes: Any = TrainState(0, 0, opt_state, 0, 0)  # type: ignore[arg-type]
    return jax.vmap(update, in_axes=(axes, None, 0), out_axes=(axes, 0), axis_name=SIDE_BY_SIDE)
