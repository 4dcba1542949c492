"""Sync schedules and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laperm_jax import at_steps, every, growing, shrinking, with_learning_rate

pytestmark = pytest.mark.usefixtures("strict")

STEPS = np.arange(1, 31, dtype=np.int32)


def syncs(schedule):
    return STEPS[[bool(jax.jit(schedule)(step)) for step in STEPS]].tolist()


@pytest.mark.parametrize("period", [1, 7, 30, 31])
def test_every(period):
    expected = [step for step in range(1, 31) if step % period == 0]
    assert syncs(every(period)) == expected
    assert syncs(every(jnp.int32(period))) == expected


def test_at_steps():
    assert syncs(at_steps([])) == []
    assert syncs(at_steps([5])) == [5]
    assert syncs(at_steps(iter([30, 1, 8, 100]))) == [1, 8, 30]


@pytest.mark.parametrize("period", [0, -3, 2**31])
def test_every_refuses_a_period_out_of_range_and_names_it(period):
    with pytest.raises(ValueError, match=f"from 1 to 2147483647, not {period}"):
        every(period)


@pytest.mark.parametrize("period", [True, 2.0, jnp.array(True), jnp.float32(3)])
def test_every_refuses_what_is_no_integer(period):
    with pytest.raises(TypeError, match="must be an int, an integer array or a schedule"):
        every(period)


@pytest.mark.parametrize("step", [0, -1, 2**31])
def test_at_steps_refuses_numbers_that_no_update_has(step):
    with pytest.raises(ValueError, match=f"there is no update {step}"):
        at_steps([3, step])


def test_growing_and_shrinking():
    assert syncs(growing(3, 3, 30)) == syncs(every(3))
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
    steps = [step for step in range(1, 1001) if shrinking(1000)(np.int32(step))]
    assert steps[0] == 100
    assert set(np.diff(steps)[-20:]) <= {2, 3}
    with pytest.raises(ValueError, match="a run has 1 update or more, not 0"):
        shrinking(0)


def test_with_learning_rate():
    assert syncs(with_learning_rate(3, optax.constant_schedule(0.1), 30)) == syncs(every(3))
    assert syncs(with_learning_rate(3, optax.piecewise_constant_schedule(0.1, {12: 0.5}), 30)) == [
        3,
        6,
        9,
        12,
        18,
        24,
        30,
    ]
    assert syncs(with_learning_rate(5, optax.piecewise_constant_schedule(0.1, {10: 0.0}), 30)) == [5, 10]


@pytest.mark.parametrize("wrong", [(0, 5, 30), (5, 0.5, 30), (5, 5, 0)])
def test_growing_refuses_less_than_one(wrong):
    with pytest.raises(ValueError, match="must be 1 or more"):
        growing(*wrong)


@pytest.mark.parametrize(("first", "rate"), [(0, 0.1), (5, 0.0)])
def test_with_learning_rate_refuses_what_cannot_be(first, rate):
    with pytest.raises(ValueError, match="must be 1 or more and the first learning rate above 0"):
        with_learning_rate(first, optax.constant_schedule(rate), 30)
