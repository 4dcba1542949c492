"""The state of LaPerm: made sorted by ``init``, found again anywhere in an optimiser state."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from laperm_jax._paths import leaves_by_path, names
from laperm_jax._reconnect import sort_vectors
from laperm_jax._vectors import Axes


class LaPermState(NamedTuple):
    """State of :func:`laperm`.

    Attributes:
      count: int32 scalar, the updates made so far.
      sorted_init: like the parameters; each treated leaf holds its initial weights, every vector ascending, in the
        parameter's shape and dtype; the others hold ``optax.MaskedNode()``.
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


def merged_sorted_init(opt_state: optax.OptState) -> dict[str, jax.Array]:
    """Collects the sorted initial values of every LaPermState in ``opt_state`` by path."""
    is_laperm = lambda node: isinstance(node, LaPermState)
    states = [node for node in jax.tree.leaves(opt_state, is_leaf=is_laperm) if is_laperm(node)]
    if not states:
        raise ValueError("opt_state holds no LaPermState: was it made by an optimizer that contains laperm?")
    merged: dict[str, jax.Array] = {}
    for state in states:
        sorted_init = leaves_by_path(state.sorted_init)
        if twice := merged.keys() & sorted_init.keys():
            raise ValueError(f"two LaPermStates in opt_state hold the initial values of {names(twice)}")
        merged |= sorted_init
    return merged
