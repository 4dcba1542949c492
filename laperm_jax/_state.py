"""The state of LaPerm, and what it keeps of each parameter, found anywhere in an optimiser state."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from laperm_jax._paths import PyTree, leaves_by_path, names
from laperm_jax._redraw import is_redrawn
from laperm_jax.sync._keys import bits
from laperm_jax.sync._reconnect import sort_vectors
from laperm_jax.sync._vectors import Axes


@jax.tree_util.register_static
class FanInAxes(NamedTuple):
    """The axes that the vectors of a state run along, as static data: known under ``jit``, kept by ``jax.tree.map``.

    Shapes cannot tell the two axes of a square matrix apart, so a state says which rule it was made by. An empty record
    (of a state made by hand or by ``optax.tree.map_params``) equals every other: trees of axes, shardings and the like
    need not repeat it.

    Attributes:
      entries: path and axes of each leaf that ``init`` saw; None for the axes of a leaf that is not treated. Axes are
        counted from the last one, -1, so that a batch axis in front is no part of them.
    """

    entries: tuple[tuple[str, Axes | None], ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FanInAxes):
            return NotImplemented
        return not self.entries or not other.entries or self.entries == other.entries

    def __ne__(self, other: object) -> bool:  # tuple has its own
        return not self == other

    def __hash__(self) -> int:
        return hash(FanInAxes)


class LaPermState(NamedTuple):
    """State of :func:`laperm`.

    Attributes:
      count: int32 scalar, the updates made so far.
      sorted_init: like the parameters; each treated leaf holds its initial weights, every vector ascending, in the
        parameter's shape and dtype; the others hold ``optax.MaskedNode()``. With ``redraw`` there are no arrays in it.
      inner_state: state of the inner transformation. A sync neither resets nor permutes it, but values that it caches
        about the weights are computed again.
      residual: with error feedback, like ``sorted_init``: what the syncs so far have rounded off, zero at first; else
        None.
      fan_in_axes: static record of the rule that made the state; no array.
    """

    count: jax.Array  # type: ignore[assignment]  # a field that hides tuple.count, as in Optax
    sorted_init: PyTree
    inner_state: PyTree
    residual: PyTree | None = None
    fan_in_axes: FanInAxes = FanInAxes()


class Kept(NamedTuple):
    """The state of each treated parameter, by path.

    Attributes:
      sorted_init: initial weights, every vector ascending.
      redrawn: paths of the parameters whose initial weights are drawn again instead.
      residual: of the parameters with error feedback.
    """

    sorted_init: dict[str, jax.Array]
    redrawn: set[str]
    residual: dict[str, jax.Array]

    @property
    def paths(self) -> set[str]:
        return self.sorted_init.keys() | self.redrawn


def record_axes(params: PyTree, axes: Mapping[str, Axes], skip: Iterable[str]) -> FanInAxes:
    """Records the axes of every leaf of ``params`` but those to ``skip``."""
    ndims = {path: jnp.ndim(leaf) for path, leaf in leaves_by_path(params).items() if path not in skip}
    return FanInAxes(tuple((path, _from_last(axes.get(path), ndim)) for path, ndim in ndims.items()))


def sorted_copy(path: str, leaf: jax.typing.ArrayLike, axes: Axes) -> jax.Array:
    """Sorted initial vectors with the sharding of ``leaf``, in memory of their own (so that both can be donated).

    Raises:
      ValueError: if values are concrete and not all finite.
    """
    result, finite = sort_vectors(leaf, axes), jnp.isfinite(leaf).all()
    if isinstance(finite, jax.core.Tracer):
        return result
    if not jax.device_get(finite):
        raise ValueError(f"{path} holds NaN or inf: the initial weights must be finite")
    return jax.device_put(result, leaf.sharding) if isinstance(leaf, jax.Array) and leaf.committed else result


def zeros_like(leaf: jax.typing.ArrayLike) -> jax.Array:
    """Zeros of the shape, dtype and sharding of ``leaf``."""
    make = lambda: jnp.zeros(jnp.shape(leaf), jnp.result_type(leaf))
    if not isinstance(leaf, jax.Array):
        return make()
    if isinstance(leaf, jax.core.Tracer):
        return jnp.zeros_like(leaf, leaf.dtype)
    return jax.jit(make, out_shardings=leaf.sharding if leaf.committed else None)()


def laperm_states(opt_state: PyTree) -> list[LaPermState]:
    """Finds every LaPermState in an optimiser state.

    Raises:
      ValueError: if there is none.
    """
    is_laperm = lambda node: isinstance(node, LaPermState)
    states = [node for node in jax.tree.leaves(opt_state, is_leaf=is_laperm) if is_laperm(node)]
    if not states:
        raise ValueError("opt_state holds no LaPermState: was it made by an optimizer that contains laperm?")
    return states


def kept_by(*states: LaPermState) -> Kept:
    """Returns what the states keep, all together.

    Raises:
      ValueError: if two of them keep the same parameter.
    """
    kept = Kept({}, set(), {})
    for state in states:
        nodes = leaves_by_path(state.sorted_init, is_leaf=is_redrawn)
        if twice := kept.paths & nodes.keys():
            raise ValueError(f"two LaPermStates in opt_state hold the initial values of {names(twice)}")
        redrawn = {path for path, node in nodes.items() if is_redrawn(node)}
        kept.redrawn.update(redrawn)
        kept.sorted_init.update({path: node for path, node in nodes.items() if path not in redrawn})
        kept.residual.update(leaves_by_path(state.residual))
    return kept


def check_axes(state: LaPermState, axes: Mapping[str, Axes], params: PyTree) -> None:
    """Refuses a state that was made by another rule than the one that gives ``axes``.

    Raises:
      ValueError: naming the parameter, and the axes of both.
    """
    leaves = leaves_by_path(params)
    for path, recorded in state.fan_in_axes.entries:
        ours = _from_last(axes.get(path), jnp.ndim(leaves[path])) if path in leaves else recorded
        if ours != recorded:
            raise ValueError(_other_rule(path, f"{_along(recorded)}, and the rule of this transform {_along(ours)}"))


def check_ascending(state: LaPermState, axes: Mapping[str, Axes]) -> None:
    """Refuses a state whose initial values are not sorted along ``axes``, as one restored from that of another rule.

    Raises:
      ValueError: naming the parameter. Values that are traced pass.
    """
    for path, values in leaves_by_path(state.sorted_init).items():
        if path in axes and not _is_ascending(values, axes[path]):
            raise ValueError(_other_rule(path, f"vectors that are not along {axes[path]}"))


def check_leaf(path: str, leaf: jax.typing.ArrayLike, kept: Kept) -> None:
    """Refuses a parameter that is not of the dtype and shape that the state has for it.

    Raises:
      TypeError: for another dtype.
      ValueError: for another shape.
    """
    for name, values in (("initial values", kept.sorted_init), ("residual", kept.residual)):
        if path not in values:
            continue
        ours, theirs = (jnp.result_type(leaf), jnp.shape(leaf)), (values[path].dtype, values[path].shape)
        if ours[0] != theirs[0]:
            raise TypeError(
                f"{path} is {ours[0]}, and the state holds its {name} as {theirs[0]}: cast the parameters before init, "
                f"or cast the state with them"
            )
        if ours[1] != theirs[1]:
            raise ValueError(
                f"{path} has shape {ours[1]}, and the state holds its {name} in shape {theirs[1]}: make the state by "
                "init with these parameters"
            )


def _from_last(axes: Axes | None, ndim: int) -> Axes | None:
    return None if axes is None else tuple(axis - ndim for axis in axes)


def _along(axes: Axes | None) -> str:
    return "no vectors" if axes is None else f"vectors along {axes}"


def _other_rule(path: str, difference: str) -> str:
    return (
        f"opt_state was made by another fan-in rule: for {path} it has {difference}. Use the transform that made the "
        "state, or give all of them one rule"
    )


def _is_ascending(values: Any, axes: Axes) -> bool:
    """Tells whether every vector is ascending; true where values are traced or on other hosts, and cannot be seen."""
    if isinstance(values, jax.core.Tracer) or not getattr(values, "is_fully_addressable", True):
        return True
    return bool(jax.device_get((bits(sort_vectors(values, axes)) == bits(values)).all()))  # on whatever devices
