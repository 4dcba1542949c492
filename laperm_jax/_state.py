"""The state of LaPerm: made sorted by ``init``, found again anywhere in an optimiser state."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from laperm_jax._paths import leaves_by_path, names
from laperm_jax._redraw import is_redrawn
from laperm_jax.sync._reconnect import sort_vectors
from laperm_jax.sync._vectors import Axes


class LaPermState(NamedTuple):
    """State of :func:`laperm`.

    Attributes:
      count: int32 scalar, the updates made so far.
      sorted_init: like the parameters; each treated leaf holds its initial weights, every vector ascending, in the
        parameter's shape and dtype; the others hold ``optax.MaskedNode()``. With ``redraw`` there are no arrays in it.
      inner_state: state of the inner transformation; a sync neither resets nor permutes it.
    """

    count: jax.Array  # type: ignore[assignment]  # a field that hides tuple.count, as in Optax
    sorted_init: optax.Params
    inner_state: optax.OptState


def sorted_copy(path: str, leaf: jax.typing.ArrayLike, axes: Axes) -> jax.Array:
    """Sorted initial vectors with the sharding of ``leaf``, in memory of their own (so that both can be donated)."""
    result, finite = sort_vectors(leaf, axes), jnp.isfinite(leaf).all()
    if isinstance(finite, jax.core.Tracer):
        return result
    if not finite:
        raise ValueError(f"{path} holds NaN or inf: the initial weights must be finite")
    return jax.device_put(result, leaf.sharding) if isinstance(leaf, jax.Array) and leaf.committed else result


def initial_values(sorted_init: optax.Params) -> tuple[dict[str, jax.Array], set[str]]:
    """Splits ``sorted_init`` into the sorted values by path, and the paths of those that are drawn again."""
    nodes = leaves_by_path(sorted_init, is_leaf=is_redrawn)
    redrawn = {path for path, node in nodes.items() if is_redrawn(node)}
    return {path: node for path, node in nodes.items() if path not in redrawn}, redrawn


def merged_initial_values(opt_state: optax.OptState) -> tuple[dict[str, jax.Array], set[str]]:
    """Like :func:`initial_values`, of every LaPermState in ``opt_state`` together."""
    is_laperm = lambda node: isinstance(node, LaPermState)
    states = [node for node in jax.tree.leaves(opt_state, is_leaf=is_laperm) if is_laperm(node)]
    if not states:
        raise ValueError("opt_state holds no LaPermState: was it made by an optimizer that contains laperm?")
    merged: dict[str, jax.Array] = {}
    redrawn: set[str] = set()
    for state in states:
        sorted_init, drawn = initial_values(state.sorted_init)
        if twice := (merged.keys() | redrawn) & (sorted_init.keys() | drawn):
            raise ValueError(f"two LaPermStates in opt_state hold the initial values of {names(twice)}")
        merged |= sorted_init
        redrawn |= drawn
    return merged, redrawn
