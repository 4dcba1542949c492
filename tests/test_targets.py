"""What a sync needs of memory: the temporary arrays of one parameter, however many there are."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax import lax

from laperm_jax import _targets, laperm
from tests.steps import METHODS

pytestmark = pytest.mark.optimized

SHAPE, COUNT = (576, 64), 12
LEAF = 4 * 576 * 64  # bytes
PARAMS = {f"{number:02}": jax.ShapeDtypeStruct(SHAPE, jnp.float32) for number in range(COUNT)}


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Pretends that there is one CPU device; the tests have several."""
    monkeypatch.setattr(jax, "device_count", lambda *_: 1)


def temporaries(function, *arguments, donate=()):
    """Temporary memory of the compiled function, in leaves."""
    compiled = jax.jit(function, donate_argnums=donate).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes / LEAF


def loop(method, tx):
    """A loop on the device whose gradients are computed leaf by leaf, as fast as they are used."""
    step = lambda carry: METHODS[method](tx, jax.tree.map(jnp.sin, carry[0]), carry[1], carry[0])
    return lambda carry: lax.scan(lambda carry, _: (step(carry), None), carry, length=5)[0]


def measure(method, **options):
    tx = laperm(optax.adam(1e-3), 100, **options)
    return temporaries(loop(method, tx), (PARAMS, jax.eval_shape(tx.init, PARAMS)), donate=0)


def test_temporaries_of_apply_gradients():
    assert measure("apply_gradients") <= 3


def test_temporaries_of_apply_gradients_with_error_feedback():
    assert measure("apply_gradients", error_feedback=True) <= 4.5


def test_temporaries_of_update_are_the_updates_and_those_of_one_parameter():
    assert measure("update") <= COUNT + 4.5


def test_temporaries_of_reconnected_params():
    tx = laperm(optax.adam(1e-3), 100)
    assert temporaries(tx.reconnected_params, jax.eval_shape(tx.init, PARAMS), PARAMS) <= 3


@pytest.mark.parametrize("method", METHODS)
def test_tokens_are_what_bounds_the_temporaries(method, monkeypatch):
    """Without them every parameter is sorted at once: what these tests would find if an order got lost."""
    reconnect_after = _targets.reconnect_after
    monkeypatch.setattr(_targets, "after", lambda token, array: array)
    monkeypatch.setattr(
        _targets,
        "reconnect_after",
        lambda token, *args: (reconnect_after(_targets.first_token(), *args)[0], _targets.first_token()),
    )
    assert measure(method) > 10 + (COUNT if method == "update" else 0)
