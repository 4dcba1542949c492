"""LaPerm, lookahead permutation: the gradient transformation and its exact parameters."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import lax

from laperm_jax._paths import leaves_by_path, map_by_path, names
from laperm_jax._redraw import RedrawFn, Redrawn, check_redraw, draw_functions
from laperm_jax._reset import ResetRule
from laperm_jax._reset import reset_values as resolve_reset_values
from laperm_jax._rule_warnings import warn_about_rule
from laperm_jax._rules import FanInRule, matrix_fan_in, vector_axes
from laperm_jax._schedules import SyncSchedule, every, is_sync
from laperm_jax._state import LaPermState, initial_values, merged_initial_values, sorted_copy
from laperm_jax.sync._reconnect import reconnect_leaves
from laperm_jax.sync._vectors import Axes

Leaves = dict[str, jax.Array]  # by path
LandFn = Callable[[Leaves], Leaves]

_NO_PARAMS_MESSAGE = (  # Optax's own sentence, which it does not export
    "You are using a transformation that requires the current value of parameters, but you are not passing `params` "
    "when calling `update`."
)


class ApplyGradientsFn(Protocol):
    """Type of :meth:`LaPerm.apply_gradients`."""

    def __call__(
        self, grads: optax.Updates, opt_state: LaPermState, params: optax.Params, **extra_args: Any
    ) -> tuple[optax.Params, LaPermState]:
        """Returns new parameters and the new state."""


class LaPerm(optax.GradientTransformationExtraArgs):
    """What :func:`laperm` returns: Optax's pair ``(init, update)``, and two ways to exact parameters."""

    fan_in_axes: FanInRule | Mapping[str, Axes]
    _apply_gradients: ApplyGradientsFn
    _redraw: RedrawFn | None

    def __new__(
        cls,
        init: optax.TransformInitFn,
        update: optax.TransformUpdateExtraArgsFn,
        fan_in_axes: FanInRule | Mapping[str, Axes],
        apply_gradients: ApplyGradientsFn,
        redraw: RedrawFn | None = None,
    ) -> "LaPerm":
        self = super().__new__(cls, init, update)
        self.fan_in_axes = fan_in_axes
        self._apply_gradients = apply_gradients
        self._redraw = redraw
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:  # for copy.copy and copy.deepcopy
        return (*self, self.fan_in_axes, self._apply_gradients, self._redraw)

    def apply_gradients(
        self, grads: optax.Updates, opt_state: LaPermState, params: optax.Params, **extra_args: Any
    ) -> tuple[optax.Params, LaPermState]:
        """Does ``update`` and ``optax.apply_updates`` in one, exactly.

        A sync then writes the permutation itself into the parameters, with no rounding through ``target - params``.
        Within a loop on the device (``lax.scan``, ``lax.while_loop``) it costs nothing on the steps between: XLA then
        updates the parameters in place. In a step dispatched on its own XLA's CPU backend copies them once. For loops
        that call the transform directly, with nothing around it: ``opt_state`` is the :class:`LaPermState` itself.

        Args:
          grads: gradients, as for ``update``.
          opt_state: the state.
          params: current parameters.
          **extra_args: for the inner transformation.

        Returns:
          New parameters and new state.

        Example:
          >>> import jax, jax.numpy as jnp, optax
          >>> from laperm_jax import laperm
          >>> init = {"kernel": jax.random.normal(jax.random.key(0), (100, 3))}
          >>> grads = {"kernel": jax.random.normal(jax.random.key(1), (100, 3))}
          >>> tx = laperm(optax.sgd(1.0), sync_period=1)
          >>> params, opt_state = jax.jit(tx.apply_gradients)(grads, tx.init(init), init)
          >>> bool((jnp.sort(params["kernel"], axis=0) == jnp.sort(init["kernel"], axis=0)).all())
          True
        """
        return self._apply_gradients(grads, opt_state, params, **extra_args)

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
        sorted_init, redrawn = merged_initial_values(opt_state)
        axes = vector_axes(self.fan_in_axes, params)
        if missing := (sorted_init.keys() | redrawn) - axes.keys():
            raise ValueError(
                f"opt_state holds the initial values of {names(missing)}, which params lacks or the rule of this "
                f"transform leaves alone; it treats {names(axes)}"
            )
        treated = {
            path: leaf for path, leaf in leaves_by_path(params).items() if path in sorted_init or path in redrawn
        }
        draw = draw_functions(self._redraw, {path: treated[path] for path in redrawn & treated.keys()})
        reconnected = reconnect_leaves(treated, sorted_init, axes, draw)
        return map_by_path(lambda path, leaf: reconnected.get(path, leaf), params)


def laperm(
    inner: optax.GradientTransformation,
    sync_period: int | jax.Array | SyncSchedule,
    *,
    fan_in_axes: FanInRule | Mapping[str, Axes] | None = None,
    reset_values: ResetRule | Mapping[str, float] | None = None,
    redraw: RedrawFn | None = None,
) -> LaPerm:
    r"""Trains by reordering the initial weights: LaPerm, lookahead permutation.

    The inner transformation updates all parameters at every step. On every update whose number is a multiple of
    ``sync_period``, each weight vector :math:`w` becomes a permutation of its initial values, placed by rank:

    .. math:: w_i \leftarrow s_{\mathrm{rank}(w_i)}, \quad s = \mathrm{sort}(w^{(0)})

    On such a step the update returned is ``target - params``, so that ``optax.apply_updates`` lands on the permutation,
    up to rounding: an element may be off by one unit in the last place of the larger of old and new value; zeros are
    exact. ``reconnected_params`` of the returned :class:`LaPerm` gives the permutation itself, bit for bit, and its
    ``apply_gradients`` writes it into the parameters. A vector that has become NaN or inf is left to the inner update.

    Args:
      inner: the transformation that proposes the updates, learning rate included; Adam in the paper. ``laperm`` must
        come last in an ``optax.chain``: whatever changes updates after it, breaks the permutation.
      sync_period: int of 1 or more, an integer array of shape ``()``, or a schedule: a function of the number of the
        update, int32 scalar counted from 1, to a bool (:func:`laperm_jax.every`, :func:`laperm_jax.at_steps`).
      fan_in_axes: what is one weight vector: a rule ``(path, leaf) -> axes | None`` or a dict ``{path: axes}``. The
        default is :func:`laperm_jax.matrix_fan_in`; for Flax see :func:`laperm_jax.flax_fan_in`.
      reset_values: leaves put back to a constant at each sync: a rule ``(path, leaf) -> float | None`` or a dict by
        path (:func:`laperm_jax.norm_reset`). Such a leaf is not reordered.
      redraw: function without arguments that returns the initial parameters again, the same bits at every call, as in
        ``lambda: model.init(key, x)["params"]``. The state then keeps no copy of them: they are drawn and sorted at
        each sync, and by ``reconnected_params``. Make ``params`` by ``jax.jit(redraw)()``.

    Returns:
      A :class:`LaPerm`, an ``optax.GradientTransformationExtraArgs``; extra arguments of ``update`` go to ``inner``.

    Raises:
      ValueError: here, for an int ``sync_period`` below 1; by ``init``, for initial vectors that hold NaN or inf (where
        values are concrete), axes that do not fit their leaf, unknown paths and a ``redraw`` that returns other values
        than ``params``; by ``update``, without ``params``.
      TypeError: here, for an ``inner`` or a ``sync_period`` of another type; by ``init``, for complex leaves that the
        rule treats; by ``update``, for a schedule that returns anything but a bool.

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
      ``"reset_values"``, ``"redraw"`` and a schedule given as ``"sync_period"`` in its ``static_args``.
    """
    if isinstance(inner, type) or not all(callable(getattr(inner, name, None)) for name in ("init", "update")):
        hint = ", not called yet" if callable(inner) else ""
        raise TypeError(
            f"inner must be an Optax transformation, as in laperm(optax.adam(1e-3), 100), not {inner!r}{hint}"
        )
    inner = optax.with_extra_args_support(inner)
    should_sync = sync_period if callable(sync_period) else every(sync_period)
    fan_in_rule = matrix_fan_in if fan_in_axes is None else fan_in_axes
    # Compiled also where the caller is not, so that the bits are those of a sync.
    redraw = None if redraw is None else jax.jit(redraw)

    def plan(params: optax.Params) -> tuple[dict[str, Axes], dict[str, float]]:
        resets = resolve_reset_values(reset_values, params)
        axes = vector_axes(fan_in_rule, params)
        return {path: axes[path] for path in axes if path not in resets}, resets

    def init(params: optax.Params) -> LaPermState:
        warn_about_rule(fan_in_rule, params)
        axes, _ = plan(params)
        if redraw:
            check_redraw(redraw, {path: leaf for path, leaf in leaves_by_path(params).items() if path in axes})
        keep = lambda path, leaf: Redrawn() if redraw else sorted_copy(path, leaf, axes[path])
        sorted_init = map_by_path(lambda path, leaf: keep(path, leaf) if path in axes else optax.MaskedNode(), params)
        return LaPermState(jnp.zeros([], jnp.int32), sorted_init, inner.init(params))

    def inner_step(
        grads: optax.Updates, state: LaPermState, params: optax.Params, extra_args: dict[str, Any]
    ) -> tuple[optax.Updates, LaPermState]:
        updates, inner_state = inner.update(grads, state.inner_state, params, **extra_args)
        return updates, LaPermState(optax.safe_increment(state.count), state.sorted_init, inner_state)

    def landing(state: LaPermState, params: optax.Params) -> tuple[LandFn, Collection[str]]:
        """Returns a function that says where weights, by path, land at a sync, and the paths it takes."""
        axes, resets = plan(params)
        sorted_init, redrawn = initial_values(state.sorted_init)
        if (kept := sorted_init.keys() | redrawn) != axes.keys():
            raise ValueError(
                f"the state holds the initial values of {names(kept)}, and the rule treats {names(axes)} of "
                "params: was the state made by init with these parameters?"
            )

        def land(weights: Leaves) -> Leaves:
            treated = {path: weights[path] for path in axes if path in weights}
            draw = draw_functions(redraw, {path: treated[path] for path in redrawn & treated.keys()})
            reordered = reconnect_leaves(treated, sorted_init, axes, draw)
            return reordered | {path: _reset(weights[path], resets[path]) for path in resets if path in weights}

        return land, axes.keys() | resets.keys()

    def change_at_sync(change: LandFn, paths: Collection[str], state: LaPermState, tree: optax.Params) -> optax.Params:
        """Applies ``change`` to the leaves of ``tree`` at ``paths`` if the update just made is a sync."""
        treated = {path: leaf for path, leaf in leaves_by_path(tree).items() if path in paths}
        due = is_sync(should_sync, state.count)
        if isinstance(due, jax.core.Tracer):
            # "No sync" as the false branch: XLA on the CPU copied what passes through when it was the true one.
            treated = lax.cond(due, change, lambda treated: treated, treated)
        elif due:  # outside jit a cond would be compiled at every call
            treated = change(treated)
        return map_by_path(lambda path, leaf: treated.get(path, leaf), tree)

    def update(
        updates: optax.Updates, state: LaPermState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, LaPermState]:
        if params is None:
            raise ValueError(_NO_PARAMS_MESSAGE)
        updates, state = inner_step(updates, state, params, extra_args)
        land, paths = landing(state, params)
        old = leaves_by_path(params)

        def widen(path: str, update: jax.Array) -> jax.Array:  # target - params needs the precision of params
            dtype = jnp.promote_types(update.dtype, jnp.result_type(old[path])) if path in paths else update.dtype
            return update.astype(dtype)

        def updates_to_landing(updates: Leaves) -> Leaves:
            params = {path: jnp.asarray(old[path], update.dtype) for path, update in updates.items()}
            current = {  # as optax.apply_updates makes them
                path: (params[path] + update).astype(jnp.result_type(old[path])) for path, update in updates.items()
            }
            targets = land(current)

            def update_to(path: str) -> jax.Array:
                target, update = targets[path], updates[path]
                unchanged = (target == current[path]) | jnp.isnan(current[path])  # non-finite vectors among them
                return jnp.where(unchanged, update, target.astype(update.dtype) - params[path])

            return {path: update_to(path) for path in updates}

        return change_at_sync(updates_to_landing, paths, state, map_by_path(widen, updates)), state

    def apply_gradients(
        grads: optax.Updates, opt_state: LaPermState, params: optax.Params, **extra_args: Any
    ) -> tuple[optax.Params, LaPermState]:
        updates, opt_state = inner_step(grads, opt_state, params, extra_args)
        land, paths = landing(opt_state, params)
        return change_at_sync(land, paths, opt_state, optax.apply_updates(params, updates)), opt_state

    return LaPerm(init, update, fan_in_rule, apply_gradients, redraw)


def _reset(weights: jax.Array, value: float) -> jax.Array:
    """Puts every finite element back to ``value``."""
    return jnp.where(jnp.isfinite(weights), jnp.asarray(value, weights.dtype), weights)
