"""Sync schedules: functions of the number of the update, counted from 1, that return whether it syncs."""

import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

SyncSchedule = Callable[[jax.Array], jax.typing.ArrayLike]
_MAX_COUNT = 2**31 - 1  # the counter is an int32


def every(period: int | jax.Array) -> SyncSchedule:
    """Syncs on the updates whose number is a multiple of ``period``: the paper's sync period k (Algorithm 1).

    Args:
      period: int from 1 to 2**31 - 1, or an integer array of shape ``()``. The range of a traced array is not checked.

    Returns:
      A schedule, int32 scalar to bool scalar.

    Raises:
      ValueError: for a period out of range.
      TypeError: for anything that is not an integer.

    Example:
      >>> from laperm_jax import every
      >>> [step for step in range(1, 10) if every(3)(step)]
      [3, 6, 9]
    """
    if isinstance(period, jax.core.Tracer) and jnp.issubdtype(period.dtype, jnp.integer) and not period.shape:
        return lambda step: step % period.astype(jnp.int32) == 0
    number = _as_int(period)
    if number is None:
        raise TypeError(
            f"the sync period must be an int, an integer array or a schedule, not {period!r} "
            "(inside optax.inject_hyperparams, list a schedule in static_args)"
        )
    if not 1 <= number <= _MAX_COUNT:
        raise ValueError(f"the sync period must be from 1 to {_MAX_COUNT}, not {number}")
    return functools.partial(_is_multiple, period=number)


def at_steps(steps: Iterable[int]) -> SyncSchedule:
    """Syncs on the listed updates.

    A single sync at the end of training (the authors' rebuttal, answer 6) is ``at_steps([total_steps])``.

    Args:
      steps: numbers of updates, each from 1 to 2**31 - 1, in any order: a list, a range, a generator or an integer
        array of rank 1. Empty for no sync.

    Returns:
      A schedule, int32 scalar to bool scalar.

    Raises:
      ValueError: for a number out of range.
      TypeError: for anything that is not an iterable of integers.

    Example:
      >>> from laperm_jax import at_steps
      >>> [step for step in range(1, 10) if at_steps([2, 8])(step)]
      [2, 8]
    """
    listed = np.array([*sorted(_update_numbers(steps)), 0], np.int32)  # a step after the last one finds the 0

    @jax.jit
    def is_listed(step: jax.Array) -> jax.Array:
        return jnp.asarray(listed)[jnp.searchsorted(jnp.asarray(listed[:-1]), step)] == step

    return is_listed


def growing(first: float, last: float, total_steps: int) -> SyncSchedule:
    """Syncs after a period that changes geometrically over a run, from ``first`` to ``last``.

    It shrinks where ``last`` is the smaller. The period that begins after update t is, rounded and at least 1,
    ``first * (last / first) ** (t / total_steps)``.

    Args:
      first: period at the start, in updates, 1 or more.
      last: period at the end, 1 or more.
      total_steps: number of updates in the run, an int of 1 or more; there is no sync after it.

    Returns:
      A schedule, int32 scalar to bool scalar.

    Raises:
      ValueError: for a period or a number of updates below 1, NaN or inf.
      TypeError: for a period that is not a number, or a ``total_steps`` that is not an int.

    Example:
      >>> from laperm_jax import growing
      >>> [step for step in range(1, 41) if growing(2, 16, 40)(step)]
      [2, 4, 6, 9, 12, 16, 21, 27, 35]
    """
    first, last, total_steps = _period("first", first), _period("last", last), _total_steps(total_steps)
    return at_steps(_sync_steps(lambda step: first * (last / first) ** (step / total_steps), total_steps))


def shrinking(total_steps: int) -> SyncSchedule:
    """Syncs about a hundred times in a run, with a period that shrinks from a tenth of it to a four-hundredth.

    There is no period to choose. Long periods let weights move far early in training; short ones at the end leave
    little difference between the weights before and after a sync, even if the learning rate does not decay.
    ``laperm experiment run schedules`` compares it with constant periods.

    Args:
      total_steps: number of updates in the run, an int of 1 or more; there is no sync after it.

    Returns:
      A schedule, int32 scalar to bool scalar.

    Raises:
      ValueError: for a number of updates below 1.
      TypeError: for a ``total_steps`` that is not an int.

    Example:
      >>> from laperm_jax import shrinking
      >>> schedule = shrinking(400)
      >>> syncs = [step for step in range(1, 401) if schedule(step)]
      >>> len(syncs), syncs[:4], syncs[-4:]
      (110, [40, 68, 89, 107], [397, 398, 399, 400])
    """
    total_steps = _total_steps(total_steps)
    return growing(max(1, total_steps / 10), max(1, total_steps / 400), total_steps)


def with_learning_rate(first: float, learning_rate: optax.Schedule, total_steps: int) -> SyncSchedule:
    """Syncs after a period inversely proportional to the learning rate.

    Weights can then move equally far between any two syncs. There are no more syncs once the learning rate is zero.

    Args:
      first: period at the start, in updates, 1 or more.
      learning_rate: an Optax schedule, greater than zero at update 0.
      total_steps: number of updates in the run, an int of 1 or more; there is no sync after it.

    Returns:
      A schedule, int32 scalar to bool scalar.

    Raises:
      ValueError: for a period or a number of updates below 1, NaN or inf; for a learning rate that is not above zero
        at update 0, or is NaN or inf at a sync.
      TypeError: for a period that is not a number, a ``total_steps`` that is not an int, or a ``learning_rate`` that is
        not a schedule.

    Example:
      >>> import optax
      >>> from laperm_jax import with_learning_rate
      >>> schedule = with_learning_rate(4, optax.linear_schedule(1e-2, 0.0, 40), 40)
      >>> [step for step in range(1, 41) if schedule(step)]
      [4, 8, 13, 19, 27, 39]
    """
    first, total_steps = _period("first", first), _total_steps(total_steps)
    if not callable(learning_rate):
        raise TypeError(f"learning_rate must be an Optax schedule, not {learning_rate!r}: see optax.constant_schedule")

    def rate(step: int) -> float:
        value = float(np.asarray(learning_rate(step)))
        if not math.isfinite(value):
            raise ValueError(f"learning_rate must be finite, and is {value} at update {step}")
        return value

    start = rate(0)
    if start <= 0:
        raise ValueError(f"learning_rate must be above 0 at update 0, not {start}")
    return at_steps(_sync_steps(lambda step: first * start / max(rate(step), start * first / total_steps), total_steps))


def is_sync(schedule: SyncSchedule, step: jax.Array) -> jax.typing.ArrayLike:
    """Asks a schedule whether update number ``step`` syncs.

    Raises:
      TypeError: if it returns anything but a bool, as a schedule of Optax does.
    """
    due: Any = schedule(step)
    is_bool = isinstance(due, bool) or (
        isinstance(due, (np.generic, np.ndarray, jax.Array)) and due.dtype == bool and due.shape == ()
    )
    if not is_bool:
        raise TypeError(
            f"a sync schedule returns a bool of shape (), whether update number `step` syncs, and this one returned "
            f"{due!r}; for a constant period pass the int itself, as in sync_period=100"
        )
    return due


@functools.partial(jax.jit, static_argnames="period", inline=True)
def _is_multiple(step: jax.Array, period: int) -> jax.Array:
    return step % period == 0


def _sync_steps(period: Callable[[int], float], total_steps: int) -> Iterator[int]:
    step = 0
    while (step := step + max(1, round(period(step)))) <= total_steps:
        yield step


def _as_int(value: Any) -> int | None:
    """Converts an integer of Python, NumPy or JAX; returns None for anything else, bools and tracers among it."""
    if isinstance(value, bool | jax.core.Tracer):
        return None
    try:
        return operator.index(jax.device_get(value))
    except TypeError:
        return None


def _update_numbers(steps: Iterable[int]) -> set[int]:
    if isinstance(steps, jax.Array) and not isinstance(steps, jax.core.Tracer):
        steps = jax.device_get(steps)  # one transfer instead of one for each element
    try:
        steps = list(steps)
    except TypeError:
        raise TypeError(f"at_steps takes a list of update numbers, as in at_steps([1000]), not {steps!r}") from None
    result = set()
    for step in steps:
        number = _as_int(step)
        if number is None:
            raise TypeError(f"updates are numbered by ints, and at_steps was given {step!r}")
        if not 1 <= number <= _MAX_COUNT:
            raise ValueError(f"updates are numbered from 1 to {_MAX_COUNT}; there is no update {number}")
        result.add(number)
    return result


def _period(name: str, value: Any) -> float:
    try:
        period = float("" if isinstance(value, bool | str) else jax.device_get(value))
    except (TypeError, ValueError):
        raise TypeError(f"{name} is a period in updates, a number of 1 or more, not {value!r}") from None
    if not 1 <= period < math.inf:
        raise ValueError(f"{name} is a period in updates and must be 1 or more and finite, not {value!r}")
    return period


def _total_steps(value: Any) -> int:
    number = _as_int(value)
    if number is None:
        raise TypeError(f"total_steps is the number of updates in the run, an int, not {value!r}")
    if number < 1:
        raise ValueError(f"total_steps must be 1 or more, not {number}")
    return number
