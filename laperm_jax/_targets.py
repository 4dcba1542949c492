"""Sync targets: the reconnected weights of each parameter, computed one parameter after another."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from laperm_jax._redraw import RedrawFn, draw_functions
from laperm_jax._state import Kept
from laperm_jax.sync._keys import where
from laperm_jax.sync._reconnect import reconnect, reconnect_with_residual, sort_vectors
from laperm_jax.sync._sequence import first_token, in_turn
from laperm_jax.sync._vectors import Axes

Leaves = dict[str, jax.Array]  # by path
# (path, token, leaf, residual or None) -> what takes the place of leaf and residual; a draw waits for the token
SyncLeafFn = Callable[[str, jax.Array, jax.Array, jax.Array | None], tuple[jax.Array, jax.Array | None]]


def sync_targets(
    weights: Mapping[str, jax.typing.ArrayLike],
    kept: Kept,
    axes: Mapping[str, Axes],
    resets: Mapping[str, float],
    redraw: RedrawFn | None,
) -> SyncLeafFn:
    r"""Returns a function that gives the target of a parameter, and its residual after the sync.

    With error feedback the residual :math:`e` is added to the weights before they are ranked, and what the target
    misses is the next residual:

    .. math:: u = w + e, \quad w' = \mathrm{place}(u), \quad e' = u - w'

    A vector of weights that holds NaN or inf keeps its weights and its residual.

    Args:
      weights: the parameters, by path; only their shapes and whether they are traced matter.
      kept: what the state keeps of them.
      axes: axes of the vectors of each parameter that is reordered.
      resets: value of each parameter that is reset.
      redraw: draws the initial values that the state does not keep.
    """
    draw = draw_functions(redraw, {path: weights[path] for path in kept.redrawn & weights.keys()})

    def initial_values(path: str, token: jax.Array) -> jax.Array:
        if path in kept.sorted_init:
            return kept.sorted_init[path]
        return sort_vectors(draw[path](token), axes[path])

    def target(
        path: str, token: jax.Array, weights: jax.Array, residual: jax.Array | None
    ) -> tuple[jax.Array, jax.Array | None]:
        if path in resets:
            return _reset(weights, resets[path]), residual
        values = initial_values(path, token)
        if residual is None:
            return reconnect(weights, values, axes[path]), None
        weights = jnp.asarray(weights, residual.dtype)  # a Python number, it may be
        return reconnect_with_residual(weights, residual, values, axes[path])

    return target


def sync_in_turn(sync_leaf: SyncLeafFn, leaves: Leaves, residual: Leaves) -> tuple[Leaves, Leaves]:
    """Applies ``sync_leaf`` to one parameter after another; residuals of other parameters stay."""
    token, new_leaves, new_residual = first_token(), {}, dict(residual)
    for path, leaf in leaves.items():
        sync = functools.partial(_sync_pair, sync_leaf, path, token)
        (new_leaves[path], left), token = in_turn(sync, token, (leaf, residual.get(path)))
        if left is not None:
            new_residual[path] = left
    return new_leaves, new_residual


def _sync_pair(
    sync_leaf: SyncLeafFn, path: str, token: jax.Array, pair: tuple[jax.Array, jax.Array | None]
) -> tuple[jax.Array, jax.Array | None]:
    return sync_leaf(path, token, *pair)


@functools.partial(jax.jit, static_argnames="value", inline=True)
def _reset(weights: jax.Array, value: float) -> jax.Array:
    """Puts every finite element back to ``value``."""
    return where(jnp.isfinite(weights), jnp.full_like(weights, value), weights)
