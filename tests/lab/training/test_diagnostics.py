"""Diagnostics: which updates are watched, and what is measured."""

import numpy as np
import pytest

from laperm_jax import every
from laperm_jax.lab.training.diagnostics import Diagnostics
from laperm_jax.lab.training.method import Method
from tests.lab.training.helpers import small


@pytest.mark.parametrize(
    ("period", "first", "last", "expected"),
    [
        (10, 0, 19, (9, 10)),
        (10, 19, 38, (19, 30)),
        (10, 20, 38, (29, 30)),
        (10, 0, 9, (None, None)),
        (10, 20, 20, (None, None)),
        (5, 15, 17, (None, None)),
        (1, 0, 19, (None, 19)),
        (1000, 0, 19, (None, None)),
    ],
)
def test_steps_to_watch(period, first, last, expected):
    diagnostics = Diagnostics({"kernel": (0,)}, every(period))
    assert diagnostics.steps_to_watch(first, last) == expected


@pytest.mark.nightly
def test_measure_compares_with_the_last_sync():
    run = small()
    method: Method = run.training.method
    state, _ = run.updates(run.init_state(), 0, 3)
    metrics = Diagnostics(method.axes, method.sync_schedule).measure(state)
    assert set(metrics) == {"dense1/kernel", "output/kernel"}
    for name in ("dense1", "output"):
        ranks = lambda weights: np.asarray(weights).argsort(axis=0).argsort(axis=0)
        before, after = (ranks(params[name]["kernel"]) for params in (run.initial.variables.params, state.params))
        assert metrics[f"{name}/kernel"]["moved"] == pytest.approx((before != after).mean(), abs=1e-6)
