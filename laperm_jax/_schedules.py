"""When to sync: functions of the number of the update, counted from 1, that return whether it syncs."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

SyncSchedule = Callable[[jax.Array], jax.typing.ArrayLike]
_MAX_COUNT = 2**31 - 1  # the counter is an int32


def every(period: int | jax.Array) -> SyncSchedule:
    """Syncs on the updates whose number is a multiple of ``period``: the paper's sync period k (Algorithm 1).

    Args:
      period: int from 1 to 2**31 - 1, or an integer array of shape ``()``, whose range is not checked.

    Returns:
      A schedule: int32 scalar to bool scalar.

    Raises:
      ValueError: for an int out of range.
      TypeError: for anything else that is no integer.

    Example:
      >>> from laperm_jax import every
      >>> [step for step in range(1, 10) if every(3)(step)]
      [3, 6, 9]
    """
    if isinstance(period, bool) or not jnp.issubdtype(jnp.result_type(period), jnp.integer):
        raise TypeError(
            f"the sync period must be an int, an integer array or a schedule, not {period!r} "
            "(inside optax.inject_hyperparams, list a schedule in static_args)"
        )
    if isinstance(period, int) and not 1 <= period <= _MAX_COUNT:
        raise ValueError(f"the sync period must be from 1 to {_MAX_COUNT}, not {period}")
    return lambda step: step % period == 0


def at_steps(steps: Iterable[int]) -> SyncSchedule:
    """Syncs on the updates whose numbers are listed; none for an empty list.

    One sync at the very end (the single sync of the authors' rebuttal, answer 6) is ``at_steps([total_steps])``.

    Args:
      steps: numbers of updates, each from 1 to 2**31 - 1, in any order.

    Returns:
      A schedule: int32 scalar to bool scalar.

    Raises:
      ValueError: for a number out of range.

    Example:
      >>> from laperm_jax import at_steps
      >>> [step for step in range(1, 10) if at_steps([2, 8])(step)]
      [2, 8]
    """
    steps = tuple(steps)
    if outside := [step for step in steps if not 1 <= step <= _MAX_COUNT]:
        raise ValueError(f"updates are numbered from 1 to {_MAX_COUNT}; there is no update {outside[0]}")
    return lambda step: jnp.any(step == jnp.array(steps, jnp.int32))
