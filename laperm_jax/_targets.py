"""Where the weights of each parameter land at a sync, one parameter after another."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from laperm_jax._redraw import RedrawFn, draw_functions
from laperm_jax._state import Kept
from laperm_jax.sync._reconnect import first_token, reconnect_after, sort_after
from laperm_jax.sync._vectors import Axes

Leaves = dict[str, jax.Array]  # by path
# (path, leaf, residual or None, token) -> what takes the place of leaf and residual, and a token for the next parameter
SyncLeafFn = Callable[[str, jax.Array, jax.Array | None, jax.Array], tuple[jax.Array, jax.Array | None, jax.Array]]


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

    A vector that holds NaN or inf keeps its weights and its residual.

    Args:
      weights: the parameters, by path; only their shapes and whether they are traced matter.
      kept: what the state keeps of them.
      axes: axes of the vectors of each parameter that is reordered.
      resets: value of each parameter that is reset.
      redraw: draws the initial values that the state does not keep.
    """
    draw = draw_functions(redraw, {path: weights[path] for path in kept.redrawn & weights.keys()})

    def initial_values(path: str, token: jax.Array) -> tuple[jax.Array, jax.Array]:
        if path in kept.sorted_init:
            return kept.sorted_init[path], token
        return sort_after(token, draw[path](token), axes[path])

    def target(
        path: str, weights: jax.Array, residual: jax.Array | None, token: jax.Array
    ) -> tuple[jax.Array, jax.Array | None, jax.Array]:
        if path in resets:
            return _reset(weights, resets[path]), residual, token
        values, token = initial_values(path, token)
        if residual is None:
            placed, token = reconnect_after(token, weights, values, axes[path])
            return placed, None, token
        total = after(token, weights) + residual
        placed, token = reconnect_after(token, total, values, axes[path])
        finite = jnp.isfinite(total).all(axes[path], keepdims=True)
        return jnp.where(finite, placed, weights), jnp.where(finite, total - placed, residual), token

    return target


def sync_in_turn(sync_leaf: SyncLeafFn, leaves: Leaves, residual: Leaves) -> tuple[Leaves, Leaves]:
    """Applies ``sync_leaf`` to one parameter after another; residuals of other parameters stay."""
    first = first_token()
    token, new_leaves, new_residual = first, {}, dict(residual)
    for path, leaf in leaves.items():
        new_leaves[path], left, token = sync_leaf(path, leaf, residual.get(path), token)
        if left is not None:
            new_residual[path] = left
        if not isinstance(token, jax.core.Tracer):
            token = first  # outside jit calls are ordered anyway, and the next parameter may be on another device
    return new_leaves, new_residual


def after(token: jax.Array, array: jax.Array) -> jax.Array:
    """Returns the array, bit for bit, for what is computed from it to wait for ``token``, which is 0.

    Without it XLA computes what several parameters need at once, and keeps all of it in memory.
    """
    return jnp.where(token == 0, array, jnp.zeros_like(array)) if isinstance(token, jax.core.Tracer) else array


@functools.partial(jax.jit, static_argnames="value", inline=True)
def _reset(weights: jax.Array, value: float) -> jax.Array:
    """Puts every finite element back to ``value``."""
    return jnp.where(jnp.isfinite(weights), jnp.asarray(value, weights.dtype), weights)
