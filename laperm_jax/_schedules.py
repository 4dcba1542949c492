"""When to sync: functions of the number of the update, counted from 1, that return whether it syncs."""

from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
    steps = sorted(set(steps))
    if outside := [step for step in steps if not 1 <= step <= _MAX_COUNT]:
        raise ValueError(f"updates are numbered from 1 to {_MAX_COUNT}; there is no update {outside[0]}")
    listed = np.array([*steps, 0], np.int32)  # the 0 is what a step after the last one finds
    return lambda step: jnp.asarray(listed)[jnp.searchsorted(jnp.asarray(listed[:-1]), step)] == step


def growing(first: float, last: float, total_steps: int) -> SyncSchedule:
    r"""Syncs after a period that grows geometrically over a run, or shrinks, where ``last`` is the smaller.

    The period that begins after update :math:`t` is, rounded and at least 1,

    .. math:: k(t) = k_\mathrm{first} (k_\mathrm{last} / k_\mathrm{first})^{t / T}

    Args:
      first: period at the start, in updates, 1 or more.
      last: period at the end.
      total_steps: number T of updates in the run; there is no sync after it.

    Returns:
      A schedule: int32 scalar to bool scalar.

    Raises:
      ValueError: for a period or a number of updates below 1.

    Example:
      >>> from laperm_jax import growing
      >>> [step for step in range(1, 41) if growing(2, 16, 40)(step)]
      [2, 4, 6, 9, 12, 16, 21, 27, 35]
    """
    if min(first, last, total_steps) < 1:
        raise ValueError(f"periods and updates must be 1 or more, not {first}, {last} and {total_steps}")
    return at_steps(_sync_steps(lambda step: first * (last / first) ** (step / total_steps), total_steps))


def shrinking(total_steps: int) -> SyncSchedule:
    """Syncs about a hundred times in a run, after a period that shrinks from a tenth of it to a four-hundredth.

    There is no period to be chosen. Long periods let weights go far while the network finds its way; short ones at the
    end leave little difference between free and reconnected weights, also where the learning rate does not decay.
    ``laperm experiment run schedules`` compares it with constant periods.

    Args:
      total_steps: number of updates in the run; there is no sync after it.

    Returns:
      A schedule: int32 scalar to bool scalar.

    Raises:
      ValueError: for a number of updates below 1.

    Example:
      >>> from laperm_jax import shrinking
      >>> schedule = shrinking(400)
      >>> syncs = [step for step in range(1, 401) if schedule(step)]
      >>> len(syncs), syncs[:4], syncs[-4:]
      (110, [40, 68, 89, 107], [397, 398, 399, 400])
    """
    if total_steps < 1:
        raise ValueError(f"a run has 1 update or more, not {total_steps}")
    return growing(max(1, total_steps / 10), max(1, total_steps / 400), total_steps)


def with_learning_rate(first: float, learning_rate: optax.Schedule, total_steps: int) -> SyncSchedule:
    """Syncs after a period inversely proportional to the learning rate.

    Between two syncs weights then have the same way to go, late in a run as early. When the learning rate reaches zero
    the syncs end.

    Args:
      first: period at the start, in updates, 1 or more.
      learning_rate: an Optax schedule, greater than zero at update 0.
      total_steps: number of updates in the run; there is no sync after it.

    Returns:
      A schedule: int32 scalar to bool scalar.

    Raises:
      ValueError: for a period or a number of updates below 1, and a learning rate that does not start above zero.

    Example:
      >>> import optax
      >>> from laperm_jax import with_learning_rate
      >>> schedule = with_learning_rate(4, optax.linear_schedule(1e-2, 0.0, 40), 40)
      >>> [step for step in range(1, 41) if schedule(step)]
      [4, 8, 13, 19, 27, 39]
    """
    start = float(learning_rate(0))
    if min(first, total_steps) < 1 or not start > 0:
        raise ValueError(
            f"period and updates must be 1 or more and the first learning rate above 0, not {first}, {total_steps} and "
            f"{start}"
        )
    period = lambda step: first * start / max(float(learning_rate(step)), start * first / total_steps)
    return at_steps(_sync_steps(period, total_steps))


def _sync_steps(period: Callable[[int], float], total_steps: int) -> Iterator[int]:
    step = 0
    while (step := step + max(1, round(period(step)))) <= total_steps:
        yield step
