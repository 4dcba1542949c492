"""LaPerm, lookahead permutation: the gradient transformation."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import numpy as np
import optax

from laperm_jax import _update
from laperm_jax._inner import check_inner
from laperm_jax._paths import PyTree
from laperm_jax._redraw import RedrawFn
from laperm_jax._schedules import SyncSchedule, every
from laperm_jax._state import LaPermState
from laperm_jax.rules._fan_in import FanInRule, matrix_fan_in
from laperm_jax.rules._reset import ResetRule
from laperm_jax.sync._vectors import Axes

Params = TypeVar("Params")


class LaPerm(optax.GradientTransformationExtraArgs):
    """The transform of :func:`laperm`: Optax's pair ``(init, update)``, and two methods that give exact parameters."""

    _options: _update.Options

    if TYPE_CHECKING:  # what Optax types as any tree

        def init(self, params: PyTree) -> LaPermState:  # pyrefly: ignore[bad-override]
            """Makes the state."""

        def update(  # pyrefly: ignore[bad-override]
            self, updates: PyTree, state: PyTree, params: PyTree | None = None, **extra_args: Any
        ) -> tuple[PyTree, LaPermState]:
            """Returns new updates and the new state."""

    def __new__(
        cls,
        init: Callable[[PyTree], LaPermState],
        update: Callable[..., tuple[PyTree, LaPermState]],
        options: _update.Options,
    ) -> "LaPerm":
        self = super().__new__(cls, init, update)  # pyrefly: ignore[bad-argument-type]  # a state is no ArrayTree
        self._options = options
        return self

    def __copy__(self) -> "LaPerm":
        return self  # nothing in it changes

    def __deepcopy__(self, memo: dict[int, Any]) -> "LaPerm":
        return self

    @property
    def fan_in_axes(self) -> FanInRule | Mapping[str, Axes]:
        """The rule, as it was given."""
        return self._options.fan_in_axes

    def apply_gradients(
        self, grads: PyTree, opt_state: LaPermState, params: Params, **extra_args: Any
    ) -> tuple[Params, LaPermState]:
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
        return _update.apply_gradients(self._options, grads, opt_state, params, extra_args)

    def reconnected_params(self, opt_state: PyTree, params: Params) -> Params:
        """Returns the exact permutation: bit for bit the initial values, placed by the ranks of ``params``.

        With error feedback they are placed by the ranks of ``params`` plus the residual.

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
        return _update.reconnected_params(self._options, opt_state, params)


def laperm(
    inner: optax.GradientTransformation,
    sync_period: int | jax.Array | SyncSchedule,
    *,
    fan_in_axes: FanInRule | Mapping[str, Axes] | None = None,
    reset_values: ResetRule | Mapping[str, float] | None = None,
    redraw: RedrawFn | None = None,
    error_feedback: bool = False,
) -> LaPerm:
    """Trains by reordering the initial weights: LaPerm, lookahead permutation.

    The inner transformation updates all parameters at every step. On every update whose number is a multiple of
    ``sync_period``, each weight vector w becomes a permutation of its initial values s, in ascending order, placed by
    rank: ``w[i] = s[rank(w[i])]``.

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
        default is :func:`laperm_jax.matrix_fan_in`; see :func:`laperm_jax.nnx_fan_in`, :func:`laperm_jax.flax_fan_in`,
        :func:`laperm_jax.equinox_fan_in`, and :func:`laperm_jax.tabulate` to look at the result.
      reset_values: leaves put back to a constant at each sync: a rule ``(path, leaf) -> float | None`` or a dict by
        path (:func:`laperm_jax.norm_reset`). Such a leaf is not reordered.
      redraw: function without arguments that returns the initial parameters again, the same bits at every call, as in
        ``lambda: model.init(key, x)["params"]``. The state then keeps no copy of them: they are drawn and sorted at
        each sync, and by ``reconnected_params``. Make ``params`` by ``jax.jit(redraw)()``.
      error_feedback: whether what a sync rounds off the weights is kept in the state, as a residual e, and added at the
        next one: ``u = w + e``, ``w[i] = s[rank(u[i])]``, ``e = u - w``. With ``sync_period=1`` this is the
        straight-through estimator. Few or many equal values need it to learn. Parameters should be float32: a residual
        has their dtype, and in 16 bits loses small steps. Sums beyond the range of the dtype become its largest number.

    Returns:
      A :class:`LaPerm`, an ``optax.GradientTransformationExtraArgs``; extra arguments of ``update`` go to ``inner``.

    Raises:
      ValueError: here, for an int ``sync_period`` below 1; by ``init``, for initial vectors that hold NaN or inf (where
        values are concrete), axes that do not fit their leaf, unknown paths and a ``redraw`` that returns other values
        than ``params``; by ``update``, without ``params``.
      TypeError: here, for an argument of another type; by ``init``, for complex leaves that the
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
      Qiu and Suda, Train-by-Reconnect: Decoupling Locations of Weights from Their Values, NeurIPS 2020, Algorithm 1,
      https://arxiv.org/abs/2003.02570

    Warning:
      Under ``jax.vmap`` a batched step counter turns the sync into a ``select`` that sorts at every step. Keep it
      unbatched: ``jax.vmap(tx.init, out_axes=LaPermState(None, 0, 0))``, and the same for ``update``; with error
      feedback the state has a fourth part, ``LaPermState(None, 0, 0, 0)``.

    Note:
      ``optax.inject_hyperparams`` takes every callable argument for a schedule of its own: list ``"fan_in_axes"``,
      ``"reset_values"``, ``"redraw"`` and a schedule given as ``"sync_period"`` in its ``static_args``.
    """
    check_inner(inner)
    if not isinstance(error_feedback, bool | np.bool_):
        raise TypeError(f"error_feedback must be True or False, not {error_feedback!r}")
    options = _update.Options(
        inner=optax.with_extra_args_support(inner),
        should_sync=sync_period if callable(sync_period) else every(sync_period),
        fan_in_axes=matrix_fan_in if fan_in_axes is None else fan_in_axes,
        reset_values=reset_values,
        # Compiled also where the caller is not, so that the bits are those of a sync.
        redraw=None if redraw is None else jax.jit(redraw),
        error_feedback=error_feedback,
    )

    def init(params: PyTree) -> LaPermState:
        return _update.init_state(options, params)

    def update(
        updates: PyTree, state: LaPermState, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, LaPermState]:
        return _update.update(options, updates, state, params, extra_args)

    return LaPerm(init, update, options)
