"""The native kernel against the reference, bit for bit, under JAX's transformations, and where it cannot be loaded."""

import jax
import ml_dtypes
import numpy as np
import pytest

from laperm_jax.sync import native
from tests import reference

pytestmark = pytest.mark.usefixtures("strict")
needs_library = pytest.mark.skipif(native.status() is not None, reason=f"native kernel: {native.status()}")

ZERO = np.int32(0)
DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float64": np.float64}
KINDS = ("normal", "ties", "sparse", "signed zeros", "any bits", "subnormal", "non-finite")


def draw(kind, shape, dtype, rng):
    """An array of one kind; ``any bits`` has NaN and inf where their bit patterns happen to be drawn."""
    dtype = np.dtype(dtype)
    integer = np.dtype(f"u{dtype.itemsize}")
    normal = rng.normal(size=shape)
    bits = rng.integers(0, np.iinfo(integer).max, shape, integer, endpoint=True)
    exponent = np.array(np.inf, dtype).view(integer)
    if kind == "ties":
        return np.round(normal).astype(dtype)
    if kind == "sparse":
        return np.where(rng.random(shape) < 0.8, 0, normal).astype(dtype)
    if kind == "signed zeros":
        return np.copysign(np.where(rng.random(shape) < 0.5, 0, normal), rng.normal(size=shape)).astype(dtype)
    if kind == "any bits":
        return bits.view(dtype)
    if kind == "subnormal":
        return (bits & ~exponent).view(dtype)
    if kind == "non-finite":  # few of them, with all kinds of payloads
        return np.where(rng.random(shape) < 0.02, bits | exponent, normal.astype(dtype).view(integer)).view(dtype)
    return normal.astype(dtype)


def numpy_sync(weights, sorted_init, axes):
    """The sync of a whole array by NumPy, quicker than ``tests.reference``; with None, the sorted vectors."""
    bits = reference.bits(weights)
    sign = bits.dtype.type(1) << bits.dtype.type(8 * bits.itemsize - 1)
    keys = np.where(bits & sign, -bits, bits | sign)
    rows = lambda array: np.moveaxis(array, axes, range(-len(axes), 0)).reshape(
        [size for axis, size in enumerate(array.shape) if axis not in axes] + [-1]
    )
    order = np.argsort(rows(keys), axis=-1, kind="stable")
    if sorted_init is None:
        result = np.take_along_axis(rows(bits), order, -1)
    else:
        result = np.empty_like(rows(bits))
        np.put_along_axis(result, order, rows(reference.bits(sorted_init)), -1)
        exponent = np.array(np.inf, weights.dtype).view(bits.dtype)
        finite = (rows(bits) & exponent != exponent).all(-1, keepdims=True)
        result = np.where(finite, result, rows(bits))
    outputs = [size for axis, size in enumerate(weights.shape) if axis not in axes]
    result = result.reshape(*outputs, *(weights.shape[axis] for axis in axes))
    return np.moveaxis(result, range(-len(axes), 0), axes)


def check(shape, axes, dtype, kind, rng):
    with jax.enable_x64(np.dtype(dtype).itemsize == 8):
        weights = draw(kind, shape, dtype, rng)
        initial = draw("normal" if kind in ("any bits", "non-finite") else kind, shape, dtype, rng)
        sorted_init = jax.jit(native.sort, static_argnames="axes")(initial, ZERO, axes=axes)[0]
        np.testing.assert_array_equal(reference.bits(sorted_init), numpy_sync(initial, None, axes))
        placed = jax.jit(native.place, static_argnames="axes")(weights, sorted_init, ZERO, axes=axes)[0]
        np.testing.assert_array_equal(reference.bits(placed), numpy_sync(weights, np.asarray(sorted_init), axes))
        again = jax.jit(native.sort, static_argnames="axes")(weights, ZERO, axes=axes)[0]
        np.testing.assert_array_equal(reference.bits(again), numpy_sync(weights, None, axes))


LENGTHS = (1, 2, 9, 64, 65, 300, 4608)
LAYOUTS = {  # of arrays with vectors of that length: (shape, axes of one vector)
    "columns": lambda length: ((length, 37), (0,)),
    "rows": lambda length: ((5, length), (1,)),
    "middle": lambda length: ((2, length, 3), (1,)),
    "apart": lambda length: ((length, 3, 2, 2), (0, 2)),
    "whole": lambda length: ((length,), (0,)),
}


@needs_library
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_native_has_the_bits_of_the_reference(dtype, kind):
    rng = np.random.default_rng(0)
    for number, length in enumerate(LENGTHS):
        layout = list(LAYOUTS.values())[(number + KINDS.index(kind)) % len(LAYOUTS)]
        check(*layout(length), DTYPES[dtype], kind, rng)


@needs_library
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("length", [65_536, 65_537, 100_000])
def test_native_long_vectors(dtype, length):
    for number, kind in enumerate(KINDS):
        layout = "whole" if number % 2 else "middle"
        check(*LAYOUTS[layout](length), DTYPES[dtype], kind, np.random.default_rng(length))
