"""The functions of the transform: init, update, and the two ways to exact parameters."""

import functools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import lax

from laperm_jax._inner import forget_old_weights
from laperm_jax._paths import PyTree, leaves_by_path, map_by_path, names
from laperm_jax._redraw import RedrawFn, Redrawn, check_redraw
from laperm_jax._schedules import SyncSchedule, is_sync
from laperm_jax._state import (
    Kept,
    LaPermState,
    check_ascending,
    check_axes,
    check_leaf,
    kept_by,
    laperm_states,
    record_axes,
    sorted_copy,
    zeros_like,
)
from laperm_jax._targets import SyncLeafFn, sync_in_turn, sync_targets
from laperm_jax.rules._fan_in import FanInRule, vector_axes
from laperm_jax.rules._reset import ResetRule
from laperm_jax.rules._reset import reset_values as resolve_reset_values
from laperm_jax.rules._warnings import warn_about_rule
from laperm_jax.sync._keys import where
from laperm_jax.sync._reconnect import saturated_sum
from laperm_jax.sync._vectors import Axes

Params = TypeVar("Params")

_NO_PARAMS_MESSAGE = (  # Optax's own sentence, which it does not export
    "You are using a transformation that requires the current value of parameters, but you are not passing `params` "
    "when calling `update`."
)


class Options(NamedTuple):
    """The arguments of :func:`laperm_jax.laperm`, checked."""

    inner: optax.GradientTransformationExtraArgs
    should_sync: SyncSchedule
    fan_in_axes: FanInRule | Mapping[str, Axes]
    reset_values: ResetRule | Mapping[str, float] | None
    redraw: RedrawFn | None
    error_feedback: bool


def resolve_rules(options: Options, params: PyTree) -> tuple[dict[str, Axes], dict[str, float]]:
    """Returns the axes of each parameter that is reordered, and the value of each that is reset, by path."""
    resets = resolve_reset_values(options.reset_values, params)
    axes = vector_axes(options.fan_in_axes, params)
    return {path: axes[path] for path in axes if path not in resets}, resets


def init_state(options: Options, params: PyTree) -> LaPermState:
    """Makes the state; see :func:`laperm_jax.laperm`."""
    warn_about_rule(options.fan_in_axes, params)
    axes, resets = resolve_rules(options, params)
    if options.redraw:
        check_redraw(options.redraw, {path: leaf for path, leaf in leaves_by_path(params).items() if path in axes})
    keep = lambda path, leaf: Redrawn() if options.redraw else sorted_copy(path, leaf, axes[path])
    of_treated = lambda make: map_by_path(
        lambda path, leaf: make(path, leaf) if path in axes else optax.MaskedNode(), params
    )
    return LaPermState(
        count=_zero(),
        sorted_init=of_treated(keep),
        inner_state=options.inner.init(params),
        residual=of_treated(lambda path, leaf: zeros_like(leaf)) if options.error_feedback else None,
        fan_in_axes=record_axes(params, axes, skip=resets),
    )


def update(
    options: Options,
    updates: PyTree,
    state: LaPermState,
    params: PyTree | None,
    extra_args: Mapping[str, Any],
) -> tuple[PyTree, LaPermState]:
    """Returns updates that land on the permutation at a sync, and the new state."""
    if params is None:
        raise ValueError(_NO_PARAMS_MESSAGE)
    step = _step(options, updates, state, params, extra_args)
    old = leaves_by_path(params)
    is_number = lambda update: jnp.result_type(update) != jax.dtypes.float0  # gradients of integers, for one
    paths = {path for path, update in leaves_by_path(step.updates).items() if path in step.paths and is_number(update)}

    def widen(path: str, update: jax.typing.ArrayLike) -> jax.typing.ArrayLike:
        if path not in paths:
            return update
        # target - params needs the precision of params
        return jnp.asarray(update).astype(jnp.promote_types(jnp.result_type(update), jnp.result_type(old[path])))

    def sync_update(
        path: str, token: jax.Array, update: jax.Array, residual: jax.Array | None
    ) -> tuple[jax.Array, jax.Array | None]:
        param = jnp.asarray(old[path], update.dtype)
        weights = (param + update).astype(jnp.result_type(old[path]))  # as optax.apply_updates does
        placed, residual = step.target(path, token, weights, residual)
        unchanged = (placed == weights) | jnp.isnan(weights)  # non-finite vectors among them
        return where(unchanged, update, saturated_sum(placed.astype(update.dtype), -param)), residual

    updates = map_by_path(widen, step.updates)
    updates, residual = apply_if_sync(step.due, sync_update, updates, state.residual, paths)
    return updates, step.state._replace(residual=residual)


def apply_gradients(
    options: Options, grads: PyTree, state: LaPermState, params: Params, extra_args: Mapping[str, Any]
) -> tuple[Params, LaPermState]:
    """Returns the new parameters, at a sync the permutation itself, and the new state."""
    step = _step(options, grads, state, params, extra_args)
    params = optax.apply_updates(params, step.updates)  # pyrefly: ignore  # any tree, not an ArrayTree
    params, residual = apply_if_sync(step.due, step.target, params, state.residual, step.paths)
    return params, step.state._replace(residual=residual)


def reconnected_params(options: Options, opt_state: PyTree, params: Params) -> Params:
    """Returns the exact permutation: the initial values, placed by the ranks of ``params``."""
    states = laperm_states(opt_state)
    kept = kept_by(*states)
    axes = vector_axes(options.fan_in_axes, params)
    if missing := kept.paths - axes.keys():
        raise ValueError(
            f"opt_state holds the initial values of {names(missing)}, which params lacks or the rule of this "
            f"transform leaves alone; it treats {names(axes)}"
        )
    for state in states:
        check_axes(state, axes, params)
        check_ascending(state, axes)
    treated = {path: leaf for path, leaf in leaves_by_path(params).items() if path in kept.paths}
    for path, leaf in treated.items():
        check_leaf(path, leaf, kept)
    target = sync_targets(treated, kept, axes, {}, options.redraw)
    reconnected, _ = sync_in_turn(target, treated, kept.residual)
    return map_by_path(lambda path, leaf: reconnected.get(path, leaf), params)


def apply_if_sync(
    due: jax.typing.ArrayLike, sync_leaf: SyncLeafFn, tree: Params, residual: PyTree, paths: Collection[str]
) -> tuple[Params, PyTree]:
    """Applies ``sync_leaf`` to the leaves at ``paths`` and to their residuals if a sync is due."""
    leaves = {path: leaf for path, leaf in leaves_by_path(tree).items() if path in paths}
    residuals = leaves_by_path(residual)
    sync = functools.partial(sync_in_turn, sync_leaf)
    if isinstance(due, jax.core.Tracer):
        keep = lambda *leaves: leaves
        # XLA copies what passes through "no sync" where that is the true branch on a CPU, the false one on a GPU.
        branches = (~due, keep, sync) if jax.default_backend() == "gpu" else (due, sync, keep)
        leaves, residuals = lax.cond(*branches, leaves, residuals)
    elif jax.device_get(due):  # outside jit a cond would be compiled at every call
        leaves, residuals = sync(leaves, residuals)
    replaced = lambda new, tree: map_by_path(lambda path, leaf: new.get(path, leaf), tree)
    return replaced(leaves, tree), replaced(residuals, residual)


class _Step(NamedTuple):
    """An update of the inner transformation, and what a sync has to do after it."""

    updates: PyTree  # of the inner transformation
    state: LaPermState  # the new one, but for the residual
    due: jax.typing.ArrayLike  # bool scalar: whether this update is a sync
    target: SyncLeafFn
    paths: Collection[str]  # parameters that a sync changes


def _step(options: Options, grads: PyTree, state: LaPermState, params: PyTree, extra_args: Mapping[str, Any]) -> _Step:
    axes, resets = resolve_rules(options, params)
    kept = _checked(options, state, params, axes)
    target = sync_targets(leaves_by_path(params), kept, axes, resets, options.redraw)
    updates, inner_state = options.inner.update(grads, state.inner_state, params, **extra_args)
    count = _increment(state.count)
    due = is_sync(options.should_sync, count)
    state = state._replace(
        count=count,
        inner_state=forget_old_weights(inner_state, due),
        fan_in_axes=record_axes(params, axes, skip=resets),
    )
    return _Step(updates, state, due, target, axes.keys() | resets.keys())


def _checked(options: Options, state: LaPermState, params: PyTree, axes: Mapping[str, Axes]) -> Kept:
    """Returns what the state keeps of the parameters, if this transform and ``params`` are those it was made for."""
    kept = kept_by(state)
    if kept.paths != axes.keys():
        raise ValueError(
            f"the state holds the initial values of {names(kept.paths)}, and the rule treats {names(axes)} of "
            "params: was the state made by init with these parameters?"
        )
    check_axes(state, axes, params)
    if not state.fan_in_axes.entries:  # no record of the rule: its values are looked at instead
        check_ascending(state, axes)
    if kept.residual.keys() != (axes.keys() if options.error_feedback else set()):
        raise ValueError(
            f"error_feedback is {options.error_feedback}, and the state holds the residual of "
            f"{names(kept.residual)}: make the state by the init of this transform"
        )
    leaves = leaves_by_path(params)
    for path in axes:
        check_leaf(path, leaves[path], kept)
    return kept


# Compiled where the caller is not: a Python number would be moved to the device, which a transfer guard may forbid.
_zero = jax.jit(lambda: jnp.zeros([], jnp.int32))
_increment = jax.jit(optax.safe_increment, inline=True)
