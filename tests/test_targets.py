"""What a sync needs of memory: the temporary arrays of one parameter, however many there are."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax import lax

from laperm_jax import _targets, laperm
from laperm_jax.sync import native
from tests.steps import METHODS

pytestmark = pytest.mark.optimized

SHAPE, COUNT = (576, 64), 12
LEAF = 4 * 576 * 64  # bytes
PARAMS = {f"{number:02}": jax.ShapeDtypeStruct(SHAPE, jnp.float32) for number in range(COUNT)}


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Pretends that there is one CPU device, as the tests have several, and turns the native kernel off."""
    monkeypatch.setattr(jax, "device_count", lambda *_: 1)
    monkeypatch.setenv("LAPERM_NATIVE", "0")


@pytest.fixture
def with_native(monkeypatch):
    monkeypatch.setenv("LAPERM_NATIVE", "1")
    if native.status():
        pytest.skip(native.status())


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


@pytest.mark.usefixtures("with_native")
def test_the_native_kernel_needs_none():
    assert measure("apply_gradients") <= 0.1


@pytest.mark.nightly
@pytest.mark.parametrize("method", METHODS)
def test_temporaries_with_error_feedback(method):
    assert measure(method, error_feedback=True) <= 5 + (COUNT + 1 if method == "update" else 0)


@pytest.mark.nightly
def test_temporaries_of_update_are_the_updates_and_those_of_one_parameter():
    assert measure("update") <= COUNT + 5


def test_temporaries_of_reconnected_params():
    tx = laperm(optax.adam(1e-3), 100)
    assert temporaries(tx.reconnected_params, jax.eval_shape(tx.init, PARAMS), PARAMS) <= 3


@pytest.mark.nightly
@pytest.mark.parametrize("method", METHODS)
def test_the_order_is_what_bounds_the_temporaries(method, monkeypatch):
    """Without it every parameter is sorted at once: what these tests would find if the order got lost."""
    monkeypatch.setattr(_targets, "in_turn", lambda function, token, arrays: (function(arrays), token))
    assert measure(method) > 10 + (COUNT if method == "update" else 0)
