"""The implementations of a sync against the reference, bit for bit, and their temporary memory."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from laperm_jax import sort_vectors
from laperm_jax.sync import _dispatch, _reference, _sharded, _xla_cpu, implementation, native
from laperm_jax.sync._reconnect import first_token, reconnect_after
from tests import reference

pytestmark = pytest.mark.usefixtures("strict")

ZERO = np.int32(0)
ARRAYS = [
    ((1,), (0,)),
    ((100_000,), (0,)),
    ((1, 7), (0,)),
    ((2, 5), (0,)),
    ((5, 64), (0,)),
    ((33, 65), (0,)),
    ((700, 130), (0,)),  # blocks of several sorts, and one that overlaps
    ((70_000, 3), (0,)),  # positions that need more than 16 bits
    ((130, 40), (1,)),
    ((3, 3, 20, 70), (0, 1, 2)),
    ((4, 50, 3), (1,)),
    ((6, 5), ()),
]


def draw(shape, dtype, kind):
    """Initial and current weights: without ties, with ties, of two values, or with non-finite vectors."""
    rng = np.random.default_rng(sum(shape))
    initial, weights = rng.normal(size=(2, *shape)).astype(dtype)
    if kind == "ties":
        initial, weights = np.round(initial), np.round(weights * np.array(1.5, dtype))
        assert (np.signbit(weights) & (weights == 0)).any() or weights.size < 10
    if kind == "shared value":
        initial = np.where(rng.random(shape) < 0.5, np.array(0.08, dtype), np.array(0, dtype))
    if kind == "non-finite":
        weights = np.where(rng.random(shape) < 1 / shape[0], rng.choice([np.nan, np.inf, -np.inf], shape), weights)
        weights = weights.astype(dtype)
    return initial, weights


@pytest.mark.parametrize("kind", ["no ties", "ties", "shared value", "non-finite"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("shape", "axes"), ARRAYS)
def test_place_has_the_bits_of_the_reference(shape, axes, dtype, kind):
    initial, weights = draw(shape, jnp.dtype(dtype), kind)
    sorted_init = sort_vectors(initial, axes)
    slow, *others = (
        jax.jit(function, static_argnames="axes")(weights, sorted_init, ZERO, axes=axes)
        for function in (_reference.place, _xla_cpu.place, _sharded.place)
    )
    for placed, token in others:
        np.testing.assert_array_equal(reference.bits(np.asarray(placed)), reference.bits(np.asarray(slow[0])))
        assert token == slow[1] == 0
        assert placed.dtype == slow[0].dtype == dtype
    if weights.size <= 5_000:  # the NumPy reference is slow
        expected = reference.reconnect(weights, initial, axes)
        np.testing.assert_array_equal(reference.bits(np.asarray(slow[0])), reference.bits(expected))


@pytest.mark.parametrize("kind", ["no ties", "ties", "non-finite"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("shape", "axes"), ARRAYS)
def test_sort_has_the_bits_of_the_reference(shape, axes, dtype, kind):
    _, weights = draw(shape, jnp.dtype(dtype), kind)
    slow, *others = (
        jax.jit(function, static_argnames="axes")(weights, ZERO, axes=axes)[0]
        for function in (_reference.sort, _xla_cpu.sort, _sharded.sort)
    )
    for result in others:
        np.testing.assert_array_equal(reference.bits(np.asarray(result)), reference.bits(np.asarray(slow)))
    if weights.size <= 5_000 and kind != "non-finite":
        expected = reference.sort_vectors(weights, axes)
        np.testing.assert_array_equal(reference.bits(np.asarray(slow)), reference.bits(expected))


def test_xla_cpu_place_under_vmap_and_scan():
    initial, weights = np.random.default_rng(0).normal(size=(2, 4, 30, 9)).astype(np.float32)
    sorted_init = sort_vectors(initial, (1,))
    one = lambda weights, sorted_init: _xla_cpu.place(weights, sorted_init, jnp.int32(0), axes=(0,))[0]
    expected = reference.reconnect(weights, initial, (1,))
    np.testing.assert_array_equal(jax.jit(jax.vmap(one))(weights, sorted_init), expected)
    scanned = lax.scan(lambda carry, arrays: (carry, one(*arrays)), None, (weights, sorted_init))[1]
    np.testing.assert_array_equal(scanned, expected)


@pytest.fixture
def one_device(monkeypatch):
    """Pretends that there is one CPU device; the tests have several."""
    monkeypatch.setattr(jax, "device_count", lambda *_: 1)


@pytest.mark.parametrize("on", ["1", "0"])
@pytest.mark.usefixtures("one_device")
def test_dispatch_on_one_cpu_device(monkeypatch, on):
    monkeypatch.setenv("LAPERM_NATIVE", on)
    weights = jnp.ones((300, 70))
    place = lambda weights, token: _dispatch.place(weights, weights, token, (0,))
    text = jax.jit(place).lower(weights, ZERO).compile().as_text()
    assert implementation() == ("xla_cpu" if native.status() else "native")
    assert re.search(r"= u64\S+ sort\(" if native.status() else r"custom-call\(.*laperm_place", text)
    assert "conditional(" not in text  # chosen when compiled, not when run


@pytest.mark.usefixtures("one_device")
def test_reconnect_after_a_token_shares_temporary_memory():
    shape, count = (576, 64), 12
    leaves = [jax.ShapeDtypeStruct(shape, jnp.float32) for _ in range(count)]

    def sync(weights, sorted_init):
        token, placed = first_token(), []
        for leaf, values in zip(weights, sorted_init, strict=True):
            result, token = reconnect_after(token, leaf, values, (0,))
            placed.append(result)
        return placed

    temporary = jax.jit(sync).lower(leaves, leaves).compile().memory_analysis().temp_size_in_bytes
    assert temporary <= 3 * 4 * 576 * 64
