"""Diagnostics: which updates are watched, and what is measured; the scale of initial kernels."""

import jax
import numpy as np
import pytest

from laperm_jax import every, flax_fan_in
from laperm_jax.lab.config import make_config, resolve
from laperm_jax.lab.models.networks import Network
from laperm_jax.lab.runs.console import gain_warning
from laperm_jax.lab.training.diagnostics import Diagnostics, initial_gain
from laperm_jax.lab.training.method import Method
from laperm_jax.rules._fan_in import vector_axes
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


@pytest.mark.parametrize(
    ("settings", "small"),
    [
        ({}, False),
        ({"init": "normal:0.01"}, True),
        ({"init": "truncated_normal:0.05"}, False),
        ({"keep": (0.05,)}, True),
        ({"keep": (0.05,), "keep_rescale": True}, False),
        ({"model": "vit", "init": "normal:0.01", "layers": 1, "features": 16, "heads": 2}, False),  # LayerNorm
    ],
)
def test_kernels_too_small_to_be_reordered_are_noted(settings, small):
    network = Network(resolve(make_config(**settings)), input_shape=(28, 28, 1), outputs=10)
    params = network.init(jax.random.key(0)).params
    gain = initial_gain(params, vector_axes(flax_fan_in, params))
    assert (gain_warning(gain) is not None) == small
