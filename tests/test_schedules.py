"""Sync schedules and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laperm_jax import at_steps, every, growing, laperm, shrinking, with_learning_rate
from laperm_jax._schedules import is_sync

pytestmark = pytest.mark.usefixtures("strict")

STEPS = np.arange(1, 31, dtype=np.int32)
PARAMS = {"kernel": np.arange(6, dtype=np.float32).reshape(3, 2)}
CONSTANT = optax.constant_schedule(0.1)


def syncs(schedule):
    return STEPS[jax.jit(jax.vmap(schedule))(STEPS)].tolist()


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, jnp.int32, np.array])
@pytest.mark.parametrize("period", [1, 7, 30, 31])
def test_every(period, kind):
    assert syncs(every(kind(period))) == [step for step in range(1, 31) if step % period == 0]


def test_every_with_a_traced_period():
    due = jax.jit(lambda step, period: every(period)(step))
    assert [due(jnp.int32(6), jnp.int32(period)) for period in (3, 4)] == [True, False]


@pytest.mark.parametrize(
    "period", [0, -3, 2**31, np.int64(0), np.int8(-3), np.uint32(2**31), jnp.int32(0), np.array(0)]
)
def test_every_refuses_a_period_out_of_range(period):
    with pytest.raises(ValueError, match=f"from 1 to 2147483647, not {period}"):
        every(period)
    with pytest.raises(ValueError, match=f"from 1 to 2147483647, not {period}"):
        laperm(optax.sgd(0.1), period)


@pytest.mark.parametrize(
    "period",
    [None, True, 2.0, "5", [3], np.bool_(True), np.array([3]), jnp.array(True), jnp.float32(3), jnp.array([3])],
)
def test_every_refuses_what_is_not_an_integer(period):
    with pytest.raises(TypeError, match="must be an int, an integer array or a schedule"):
        every(period)
    with pytest.raises(TypeError, match="must be an int, an integer array or a schedule"):
        laperm(optax.sgd(0.1), period)


@pytest.mark.parametrize(
    "steps",
    [
        [30, 1, 8, 100, 8],
        iter([30, 1, 8]),
        (step for step in (1, 8, 30)),
        {1, 8, 30},
        np.array([30, 1, 8]),
        jnp.array([30, 1, 8]),
        [np.int64(1), jnp.int32(8), 30],
    ],
    ids=["list", "iterator", "generator", "set", "numpy", "jax", "mixed"],
)
def test_at_steps(steps):
    assert syncs(at_steps(steps)) == [1, 8, 30]


@pytest.mark.parametrize("steps", [range(10, 31, 10), np.arange(10, 31, 10), jnp.arange(10, 31, 10)])
def test_at_steps_of_a_range(steps):
    assert syncs(at_steps(steps)) == [10, 20, 30]


def test_at_steps_of_nothing():
    assert syncs(at_steps([])) == []


@pytest.mark.parametrize("step", [0, -1, 2**31])
def test_at_steps_refuses_numbers_that_no_update_has(step):
    for steps in ([3, step], np.array([3, step])):
        with pytest.raises(ValueError, match=f"there is no update {step}"):
            at_steps(steps)


@pytest.mark.parametrize("steps", [[3, 1.0], np.array([1.0, 2.0]), jnp.ones(2), [True], ["1"], "12", [[1, 2]], [None]])
def test_at_steps_refuses_what_is_not_an_integer(steps):
    with pytest.raises(TypeError, match="updates are numbered by ints"):
        at_steps(steps)


@pytest.mark.parametrize("steps", [5, None, np.array(5), jnp.int32(5), 2.5])
def test_at_steps_refuses_what_is_not_a_list(steps):
    with pytest.raises(TypeError, match="takes a list of update numbers"):
        at_steps(steps)


def test_growing_and_shrinking():
    assert syncs(growing(3, 3, 30)) == syncs(growing(jnp.float32(3), np.int64(3), np.int64(30))) == syncs(every(3))
    grown = np.diff(syncs(growing(1, 8, 30)))
    assert (np.diff(grown) >= 0).all()
    assert grown[0] == 1
    assert grown[-1] > 4
    shrunk = np.diff(syncs(growing(8, 1, 30)))
    assert (np.diff(shrunk) <= 0).all()
    assert shrunk[-1] == 1


def test_shrinking_needs_no_period():
    assert syncs(shrinking(30)) == syncs(growing(3, 1, 30))
    assert syncs(shrinking(3)) == [1, 2, 3]
    steps = np.arange(1, 1001, dtype=np.int32)
    steps = steps[jax.jit(jax.vmap(shrinking(1000)))(steps)]
    assert steps[0] == 100
    assert set(np.diff(steps)[-20:]) <= {2, 3}


def test_with_learning_rate():
    decayed = lambda boundaries: optax.piecewise_constant_schedule(0.1, boundaries)
    assert syncs(with_learning_rate(3, CONSTANT, 30)) == syncs(every(3))
    assert syncs(with_learning_rate(3, decayed({12: 0.5}), 30)) == [3, 6, 9, 12, 18, 24, 30]
    assert syncs(with_learning_rate(5, decayed({10: 0.0}), 30)) == [5, 10]


PERIOD_TAKERS = [
    lambda period: growing(period, 5, 30),
    lambda period: growing(5, period, 30),
    lambda period: with_learning_rate(period, CONSTANT, 30),
]


@pytest.mark.parametrize("period", [0, 0.5, -3, np.inf, -np.inf, np.nan, jnp.float32(jnp.nan)])
def test_a_period_that_is_below_one_or_not_finite_is_refused(period):
    for make in PERIOD_TAKERS:
        with pytest.raises(ValueError, match="must be 1 or more and finite"):
            make(period)


@pytest.mark.parametrize("period", [None, "5", True, [5], CONSTANT])
def test_a_period_that_is_not_a_number_is_refused(period):
    for make in PERIOD_TAKERS:
        with pytest.raises(TypeError, match="a number of 1 or more"):
            make(period)


@pytest.mark.parametrize(
    ("total_steps", "error"),
    [(0, ValueError), (-5, ValueError), (30.0, TypeError), (np.inf, TypeError), (None, TypeError)],
)
def test_total_steps_that_are_not_a_positive_int_are_refused(total_steps, error):
    makers = (shrinking, lambda total: growing(5, 5, total), lambda total: with_learning_rate(5, CONSTANT, total))
    for make in makers:
        with pytest.raises(error, match="total_steps"):
            make(total_steps)


@pytest.mark.parametrize("rate", [0.0, -0.1, np.nan, np.inf])
def test_with_learning_rate_refuses_a_rate_that_does_not_start_above_zero(rate):
    with pytest.raises(ValueError, match="learning_rate must be"):
        with_learning_rate(5, lambda step: rate, 30)


def test_with_learning_rate_refuses_what_is_not_a_schedule_and_a_rate_that_diverges():
    with pytest.raises(TypeError, match=r"must be an Optax schedule, not 0\.1"):
        with_learning_rate(5, 0.1, 30)
    with pytest.raises(ValueError, match="is nan at update 5"):
        with_learning_rate(5, lambda step: 0.1 if step < 5 else np.nan, 30)


@pytest.mark.parametrize("due", [True, np.bool_(False), np.array(True), jnp.array(False)])
def test_a_schedule_may_return_any_bool(due):
    assert is_sync(lambda step: due, jnp.int32(1)) == due
    assert jax.jit(lambda step: is_sync(lambda step: due, step))(jnp.int32(1)) == due


NO_BOOLS = [
    100,
    0,
    0.0,
    None,
    "yes",
    np.int64(1),
    np.float32(1),
    jnp.int32(1),
    jnp.float32(0),
    np.ones(1, bool),
    jnp.ones(3, bool),
    [True],
]


@pytest.mark.parametrize("returned", NO_BOOLS, ids=repr)
@pytest.mark.parametrize("transform", [lambda function: function, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("method", ["update", "apply_gradients"])
def test_a_schedule_that_returns_no_bool_is_refused(returned, transform, method):
    tx = laperm(optax.identity(), lambda step: returned)
    opt_state = tx.init(PARAMS)
    with pytest.raises(TypeError, match="a sync schedule returns a bool"):
        transform(getattr(tx, method))(PARAMS, opt_state, PARAMS)


@pytest.mark.parametrize("schedule", [CONSTANT, optax.cosine_decay_schedule(1.0, 10), lambda step: step // 2])
def test_a_schedule_of_numbers_is_refused(schedule):
    tx = laperm(optax.identity(), schedule)
    with (
        jax.numpy_dtype_promotion("standard"),  # which Optax's schedules need
        pytest.raises(TypeError, match="a sync schedule returns a bool"),
    ):
        jax.jit(tx.update)(PARAMS, tx.init(PARAMS), PARAMS)
