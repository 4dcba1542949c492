"""The implementations of a sync against the reference, bit for bit, and their temporary memory."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from laperm_jax import sort_vectors
from laperm_jax.sync import _dispatch, _reference, _sharded, _tpu, _xla_cpu, implementation, native
from tests import reference

pytestmark = pytest.mark.usefixtures("strict")

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
DTYPES = ["float32", "bfloat16", "float16", "float64"]
ALWAYS = [(*ARRAYS[5], "bfloat16"), (*ARRAYS[6], "float32")]  # the others nightly
CASES = [
    pytest.param(*case, marks=() if case in ALWAYS else pytest.mark.nightly)
    for case in ((*array, dtype) for array in ARRAYS for dtype in DTYPES)
]
KINDS = ["no ties", "ties", "shared value", "non-finite"]


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(reference.bits(actual), reference.bits(expected))


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


JITTED = {
    (module, operation): jax.jit(getattr(module, operation), static_argnames="axes")
    for module in (_reference, _sharded, _tpu, _xla_cpu)
    for operation in ("place", "sort")
}


def by_each(operation, *arrays, axes):
    """Results of all implementations for the dtype of the arrays, the reference's first."""
    modules = [_reference, _sharded, _tpu, *([_xla_cpu] if arrays[0].dtype.itemsize < 8 else [])]
    return [np.asarray(JITTED[module, operation](*arrays, axes=axes)) for module in modules]


@pytest.mark.parametrize(("shape", "axes", "dtype"), CASES)
def test_place_has_the_bits_of_the_reference(shape, axes, dtype):
    with jax.enable_x64(dtype == "float64"):
        for kind in KINDS:
            initial, weights = draw(shape, jnp.dtype(dtype), kind)
            first, *others = by_each("place", weights, sort_vectors(initial, axes), axes=axes)
            for placed in others:
                assert_same_bits(placed, first)
            if weights.size <= 5_000:  # the NumPy reference is slow
                assert_same_bits(first, reference.reconnect(weights, initial, axes))


@pytest.mark.parametrize(("shape", "axes", "dtype"), CASES)
def test_sort_has_the_bits_of_the_reference(shape, axes, dtype):
    with jax.enable_x64(dtype == "float64"):
        for kind in KINDS:
            _, weights = draw(shape, jnp.dtype(dtype), kind)
            first, *others = by_each("sort", weights, axes=axes)
            for result in others:
                assert_same_bits(result, first)
            if weights.size <= 5_000 and kind != "non-finite":
                assert_same_bits(first, reference.sort_vectors(weights, axes))
            assert_same_bits(*(np.sort(reference.bits(array), axis=None) for array in (first, weights)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_place_keeps_every_bit_of_a_signalling_nan(dtype):
    dtype = jnp.dtype(dtype)
    initial, weights = draw((300, 5), dtype, "no ties")
    infinity = np.array(np.inf, dtype).view(f"u{dtype.itemsize}")
    for column, nan in [(1, infinity + 1), (3, infinity + 1 | 1 << (8 * dtype.itemsize - 1))]:
        weights.view(infinity.dtype)[7, column] = nan
    with jax.enable_x64(dtype.itemsize == 8):
        for placed in by_each("place", weights, sort_vectors(initial, (0,)), axes=(0,)):
            assert_same_bits(placed[:, [1, 3]], weights[:, [1, 3]])
            assert reference.is_permutation(placed[:, [0, 2, 4]], initial[:, [0, 2, 4]], (0,))


def test_xla_cpu_place_under_vmap_and_scan():
    initial, weights = np.random.default_rng(0).normal(size=(2, 4, 30, 9)).astype(np.float32)
    sorted_init = sort_vectors(initial, (1,))
    one = lambda weights, sorted_init: _xla_cpu.place(weights, sorted_init, axes=(0,))
    expected = reference.reconnect(weights, initial, (1,))
    np.testing.assert_array_equal(jax.jit(jax.vmap(one))(weights, sorted_init), expected)
    scanned = lax.scan(lambda carry, arrays: (carry, one(*arrays)), None, (weights, sorted_init))[1]
    np.testing.assert_array_equal(scanned, expected)


@pytest.mark.parametrize("on", ["1", "0"])
def test_a_program_for_one_of_several_devices_takes_the_implementation_for_one(monkeypatch, on):
    monkeypatch.setenv("LAPERM_NATIVE", on)
    weights = jax.device_put(jnp.ones((300, 70)), jax.devices()[-1])
    text = jax.jit(lambda weights: _dispatch.place(weights, weights, (0,))).lower(weights).compile().as_text()
    assert re.search(r"= s64\S+ sort\(" if native.status() else r"custom-call\(.*laperm_place", text)
    assert "conditional(" not in text  # chosen when compiled, not when run
    monkeypatch.setattr(jax, "device_count", lambda *_: 1)
    assert implementation() == ("xla_cpu" if native.status() else "native")


def test_place_under_vmap_without_jit():
    """Each call of a primitive then runs on its own."""
    initial, weights = np.random.default_rng(0).normal(size=(2, 30, 9)).astype(np.float32)
    sorted_init = sort_vectors(initial, (0,))
    with jax.disable_jit():
        placed = jax.vmap(lambda *pair: _dispatch.place(*pair, (0,)), (1, None), 1)(weights, sorted_init[:, 0])
    expected = _reference.place(weights, np.repeat(sorted_init[:, :1], 9, axis=1), (0,))
    np.testing.assert_array_equal(placed, expected)
