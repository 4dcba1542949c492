"""LaPerm, lookahead permutation: the gradient transformation and its exact parameters."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from laperm_jax._paths import leaves_by_path, map_by_path
from laperm_jax._reconnect import finite_vectors, reconnect, sort_vectors
from laperm_jax._reset import ResetRule
from laperm_jax._reset import reset_values as resolve_reset_values
from laperm_jax._schedules import SyncSchedule, every
from laperm_jax._vectors import Axes, FanInRule, matrix_fan_in, vector_axes

_NO_PARAMS_MESSAGE = (  # Optax's own sentence, which it does not export
    "You are using a transformation that requires the current value of parameters, but you are not passing `params` "
    "when calling `update`."
)


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


class LaPerm(optax.GradientTransformationExtraArgs):
    """What :func:`laperm` returns: Optax's pair ``(init, update)``, and the way to the exact parameters."""

    fan_in_axes: FanInRule | Mapping[str, Axes]

    def __new__(
        cls,
        init: optax.TransformInitFn,
        update: optax.TransformUpdateExtraArgsFn,
        fan_in_axes: FanInRule | Mapping[str, Axes],
    ) -> "LaPerm":
        self = super().__new__(cls, init, update)
        self.fan_in_axes = fan_in_axes
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:  # for copy.copy and copy.deepcopy
        return (*self, self.fan_in_axes)

    def reconnected_params(self, opt_state: optax.OptState, params: optax.Params) -> optax.Params:
        """Returns the exact permutation: bit for bit the initial values, placed by the ranks of ``params``.

        These are the parameters to evaluate, save and report, at any moment, also between two syncs.

        Args:
          opt_state: any optimiser state that holds a :class:`LaPermState`: of a ``chain``, ``masked``, ``MultiSteps``,
            an ``nnx.Optimizer``; several, as in ``partition``, are merged leaf by leaf, all read by this rule.
          params: current parameters. A vector that holds NaN or inf, and every leaf that is not treated, comes back as
            it is.

        Returns:
          A tree like ``params``.

        Raises:
          ValueError: if ``opt_state`` holds no :class:`LaPermState`, or one of other parameters.

        Example:
          >>> import jax, optax
          >>> from laperm_jax import laperm
          >>> params = {"kernel": jax.random.normal(jax.random.key(0), (4, 3))}
          >>> tx = laperm(optax.adam(1e-3), sync_period=100)
          >>> opt_state = tx.init(params)
          >>> exact = tx.reconnected_params(opt_state, params)
          >>> bool((exact["kernel"] == params["kernel"]).all())
          True
        """
        sorted_init = _merged_sorted_init(opt_state)
        axes = vector_axes(self.fan_in_axes, params)
        if missing := sorted_init.keys() - axes.keys():
            raise ValueError(
                f"opt_state holds the initial values of {_names(missing)}, which params lacks or the rule of this "
                f"transform leaves alone; it treats {_names(axes)}"
            )
        return map_by_path(
            lambda path, leaf: reconnect(leaf, sorted_init[path], axes[path]) if path in sorted_init else leaf, params
        )


def laperm(
    inner: optax.GradientTransformation,
    sync_period: int | jax.Array | SyncSchedule,
    *,
    fan_in_axes: FanInRule | Mapping[str, Axes] | None = None,
    reset_values: ResetRule | Mapping[str, float] | None = None,
) -> LaPerm:
    r"""Trains by reordering the initial weights: LaPerm, lookahead permutation.

    The inner transformation updates all parameters at every step. On every update whose number is a multiple of
    ``sync_period``, each weight vector :math:`w` becomes a permutation of its initial values, placed by rank:

    .. math:: w_i \leftarrow s_{\mathrm{rank}(w_i)}, \quad s = \mathrm{sort}(w^{(0)})

    On such a step the update returned is ``target - params``, so that ``optax.apply_updates`` lands on the permutation,
    up to rounding: an element may be off by one unit in the last place of the larger of old and new value; zeros are
    exact. ``reconnected_params`` of the returned :class:`LaPerm` gives the permutation itself, bit for bit. A vector
    that has become NaN or inf is left to the inner update.

    Args:
      inner: the transformation that proposes the updates, learning rate included; Adam in the paper. ``laperm`` must
        come last in an ``optax.chain``: whatever changes updates after it, breaks the permutation.
      sync_period: int of 1 or more, an integer array of shape ``()``, or a schedule: a function of the number of the
        update, int32 scalar counted from 1, to a bool (:func:`laperm_jax.every`, :func:`laperm_jax.at_steps`).
      fan_in_axes: what is one weight vector: a rule ``(path, leaf) -> axes | None`` or a dict ``{path: axes}``. The
        default is :func:`laperm_jax.matrix_fan_in`; for Flax see :func:`laperm_jax.flax_fan_in`.
      reset_values: leaves put back to a constant at each sync: a rule ``(path, leaf) -> float | None`` or a dict by
        path (:func:`laperm_jax.norm_reset`). Such a leaf is not reordered.

    Returns:
      A :class:`LaPerm`, an ``optax.GradientTransformationExtraArgs``; extra arguments of ``update`` go to ``inner``.

    Raises:
      ValueError: here, for an int ``sync_period`` below 1; by ``init``, for initial vectors that hold NaN or inf (where
        values are concrete), axes that do not fit their leaf and unknown paths; by ``update``, without ``params``.
      TypeError: here, for a ``sync_period`` of another type; by ``init``, for complex leaves that the rule treats.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from laperm_jax import laperm
      >>> init = {"kernel": jax.random.normal(jax.random.key(0), (8, 3)), "bias": jnp.zeros(3)}
      >>> x, y = jax.random.normal(jax.random.key(1), (2, 64, 8))
      >>> tx = laperm(optax.adam(3e-2), sync_period=10)
      >>> @jax.jit
      ... def step(params, opt_state):
      ...     loss = lambda params: jnp.mean((x @ params["kernel"] + params["bias"] - y[:, :3]) ** 2)
      ...     updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
      ...     return optax.apply_updates(params, updates), opt_state
      >>> params, opt_state = init, tx.init(init)
      >>> for _ in range(100):
      ...     params, opt_state = step(params, opt_state)
      >>> trained = tx.reconnected_params(opt_state, params)
      >>> bool((trained["kernel"] == init["kernel"]).all())  # reordered,
      False
      >>> bool((jnp.sort(trained["kernel"], axis=0) == jnp.sort(init["kernel"], axis=0)).all())  # but the same values
      True

    References:
      Qiu and Suda, `Train-by-Reconnect: Decoupling Locations of Weights from Their Values
      <https://arxiv.org/abs/2003.02570>`_, NeurIPS 2020, Algorithm 1

    .. warning::
      Under ``jax.vmap`` a batched step counter turns the sync into a ``select`` that sorts at every step. Keep it
      unbatched: ``jax.vmap(tx.init, out_axes=LaPermState(None, 0, 0))``, and the same for ``update``.

    .. note::
      ``optax.inject_hyperparams`` takes every callable argument for a schedule of its own: list ``"fan_in_axes"``,
      ``"reset_values"`` and a schedule given as ``"sync_period"`` in its ``static_args``.
    """
    inner = optax.with_extra_args_support(inner)
    should_sync = sync_period if callable(sync_period) else every(sync_period)
    fan_in_rule = matrix_fan_in if fan_in_axes is None else fan_in_axes

    def plan(params: optax.Params) -> tuple[dict[str, Axes], dict[str, float]]:
        resets = resolve_reset_values(reset_values, params)
        axes = vector_axes(fan_in_rule, params)
        return {path: axes[path] for path in axes if path not in resets}, resets

    def init(params: optax.Params) -> LaPermState:
        axes, _ = plan(params)
        sorted_init = map_by_path(
            lambda path, leaf: _sorted_copy(path, leaf, axes[path]) if path in axes else optax.MaskedNode(), params
        )
        return LaPermState(jnp.zeros([], jnp.int32), sorted_init, inner.init(params))

    def update(
        updates: optax.Updates, state: LaPermState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, LaPermState]:
        if params is None:
            raise ValueError(_NO_PARAMS_MESSAGE)
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra_args)
        count = optax.safe_increment(state.count)

        axes, resets = plan(params)
        sorted_init, old = leaves_by_path(state.sorted_init), leaves_by_path(params)
        if sorted_init.keys() != axes.keys():
            raise ValueError(
                f"the state holds the initial values of {_names(sorted_init)}, and the rule treats {_names(axes)} of "
                "params: was the state made by init with these parameters?"
            )

        def sync(treated: dict[str, jax.Array]) -> dict[str, jax.Array]:
            return {
                path: _reset(update, old[path], resets[path])
                if path in resets
                else _sync(update, old[path], sorted_init[path], axes[path])
                for path, update in treated.items()
            }

        # A wider dtype where updates are narrower than parameters: target - params must not be rounded twice.
        treated = {
            path: update.astype(jnp.promote_types(update.dtype, old[path].dtype))
            for path, update in leaves_by_path(updates).items()
            if path in axes or path in resets
        }
        # "No sync" as the false branch: XLA on the CPU copied the updates when it was the true one.
        treated = lax.cond(should_sync(count), sync, lambda treated: treated, treated)
        updates = map_by_path(lambda path, update: treated.get(path, update), updates)
        return updates, LaPermState(count, state.sorted_init, inner_state)

    return LaPerm(init, update, fan_in_rule)


def _sorted_copy(path: str, leaf: jax.typing.ArrayLike, axes: Axes) -> jax.Array:
    """Sorted initial vectors with the sharding of ``leaf``, in memory of their own (so that both can be donated)."""
    result, finite = sort_vectors(leaf, axes), jnp.isfinite(leaf).all()
    if isinstance(finite, jax.core.Tracer):
        return result
    if not finite:
        raise ValueError(f"{path} holds NaN or inf: the initial weights must be finite")
    return jax.device_put(result, leaf.sharding) if isinstance(leaf, jax.Array) and leaf.committed else result


def _sync(update: jax.Array, param: jax.Array, sorted_init: jax.Array, axes: Axes) -> jax.Array:
    """The update that lands on the permutation; vectors that the inner update makes non-finite keep the latter."""
    param = param.astype(update.dtype)
    current = (param + update).astype(sorted_init.dtype)  # as optax.apply_updates would make it
    target = reconnect(current, sorted_init, axes).astype(update.dtype)
    return jnp.where(finite_vectors(current, axes), target - param, update)


def _reset(update: jax.Array, param: jax.Array, value: float) -> jax.Array:
    """The update that lands on ``value``, but for elements that the inner update makes non-finite."""
    param = param.astype(update.dtype)
    return jnp.where(jnp.isfinite(param + update), value - param, update)


def _merged_sorted_init(opt_state: optax.OptState) -> dict[str, jax.Array]:
    """Collects the sorted initial values of every LaPermState in ``opt_state`` by path."""
    is_laperm = lambda node: isinstance(node, LaPermState)
    states = [node for node in jax.tree.leaves(opt_state, is_leaf=is_laperm) if is_laperm(node)]
    if not states:
        raise ValueError("opt_state holds no LaPermState: was it made by an optimizer that contains laperm?")
    merged: dict[str, jax.Array] = {}
    for state in states:
        sorted_init = leaves_by_path(state.sorted_init)
        if twice := merged.keys() & sorted_init.keys():
            raise ValueError(f"two LaPermStates in opt_state hold the initial values of {_names(twice)}")
        merged |= sorted_init
    return merged


def _names(paths: Iterable[str]) -> str:
    return ", ".join(sorted(paths)) or "no leaf"
