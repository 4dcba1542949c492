"""Sync schedules and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laperm_jax import at_steps, every

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
