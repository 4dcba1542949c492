"""Inner optimisers and schedules by name."""

import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laperm_jax import laperm
from laperm_jax.lab.config import make_config, paper_preset
from laperm_jax.lab.config.names import InnerName
from laperm_jax.lab.training.optimizers import INNER, inner, learning_rate_schedule
from tests.reference import is_permutation


def test_every_name_has_an_optimizer():
    assert tuple(INNER) == typing.get_args(InnerName)


@pytest.mark.nightly
@pytest.mark.parametrize("name", INNER)
def test_each_lowers_a_loss_under_laperm(name):
    params = {"kernel": jax.random.normal(jax.random.key(0), (20, 6)), "bias": jnp.zeros(6)}
    inputs, targets = jax.random.normal(jax.random.key(1), (64, 20)), jax.random.normal(jax.random.key(2), (64, 6))
    loss = lambda params: jnp.mean((inputs @ params["kernel"] + params["bias"] - targets) ** 2)
    tx = laperm(INNER[name](optax.constant_schedule(0.05)), 10)
    trained, opt_state = params, tx.init(params)
    step = jax.jit(lambda params, opt_state: tx.apply_gradients(jax.grad(loss)(params), opt_state, params))
    for _ in range(40):
        trained, opt_state = step(trained, opt_state)
    assert is_permutation(np.asarray(trained["kernel"]), np.asarray(params["kernel"]), (0,))
    assert loss(trained) < loss(params)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [  # at epochs 0, 5, 10 and 20 of 20
        ({"schedule": "constant"}, [1, 1, 1, 1]),
        ({"schedule": "cosine"}, [1, (1 + 0.5**0.5) / 2, 0.5, 0]),
        ({"schedule": "exponential", "decay_rate": (0.9,)}, [1, 0.9**5, 0.9**10, 0.9**20]),
        ({"schedule": "step", "decay_rate": (0.6,), "decay_epochs": (10,)}, [1, 1, 0.6, 0.36]),
        ({"schedule": "step", "decay_rate": (0.1,), "decay_epochs": (5, 10)}, [1, 0.1, 0.01, 0.01]),
        ({"schedule": "step", "decay_rate": (0.1, 0.5), "decay_epochs": (5, 10)}, [1, 0.1, 0.05, 0.05]),
    ],
)
def test_schedules(settings, expected):
    schedule = learning_rate_schedule(make_config(learning_rate=1.0, **settings), 20 * 7, 7)
    np.testing.assert_allclose([schedule(7 * epoch) for epoch in (0, 5, 10, 20)], expected, atol=1e-6)


def test_the_papers_exponential_decay_is_constant_within_an_epoch():
    schedule = learning_rate_schedule(paper_preset("f1"), 4290, 429)
    assert schedule(428) == pytest.approx(1e-3)
    assert schedule(429) == pytest.approx(0.95e-3)


def test_others_have_a_learning_rate_of_their_own_and_frozen_ones_none():
    params = {"bias": jnp.zeros(2), "embedding": jnp.zeros(2), "kernel": jnp.zeros(2)}
    config = make_config(inner="sgd", learning_rate=0.5, others_learning_rate=0.125)
    others = {"bias": True, "embedding": True, "kernel": False}
    frozen = {"bias": False, "embedding": True, "kernel": False}
    tx = inner(config, optax.linear_schedule(0.5, 0, 2), others, frozen)
    state = tx.init(params)
    for factor in (1, 0.5):  # as both decay
        updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
        for name, rate in {"bias": 0.125, "embedding": 0, "kernel": 0.5}.items():
            np.testing.assert_allclose(updates[name], -rate * factor)
