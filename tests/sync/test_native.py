"""The native kernel against the reference, bit for bit, and under JAX's transformations."""

import functools
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from laperm_jax.sync import _dispatch, _reference, native
from tests import reference

pytestmark = pytest.mark.usefixtures("strict")
needs_library = pytest.mark.skipif(native.status() is not None, reason=f"native kernel: {native.status()}")

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
        sorted_init = jax.jit(native.sort, static_argnames="axes")(initial, axes=axes)
        np.testing.assert_array_equal(reference.bits(sorted_init), numpy_sync(initial, None, axes))
        placed = jax.jit(native.place, static_argnames="axes")(weights, sorted_init, axes=axes)
        np.testing.assert_array_equal(reference.bits(placed), numpy_sync(weights, np.asarray(sorted_init), axes))
        again = jax.jit(native.sort, static_argnames="axes")(weights, axes=axes)
        np.testing.assert_array_equal(reference.bits(again), numpy_sync(weights, None, axes))


LAYOUTS = {  # of arrays with vectors of a length: (shape, axes of one vector)
    "columns": lambda length: ((length, 37), (0,)),
    "rows": lambda length: ((5, length), (1,)),
    "middle": lambda length: ((2, length, 3), (1,)),
    "apart": lambda length: ((length, 3, 2, 2), (0, 2)),
    "whole": lambda length: ((length,), (0,)),
    "single weights": lambda length: ((length, 2), ()),
}
# Lengths on both sides of each choice of an algorithm.
CASES = [
    *((length, "columns") for length in (1, 2, 9, 64, 65, 300)),
    *((length, "rows") for length in (1, 33, 64, 700)),
    (40, "middle"),
    (100, "apart"),
    (2305, "whole"),
    (7, "single weights"),
]


@needs_library
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_native_has_the_bits_of_the_reference(dtype, kind):
    rng = np.random.default_rng(0)
    for length, layout in CASES:
        check(*LAYOUTS[layout](length), DTYPES[dtype], kind, rng)


@pytest.mark.nightly
@needs_library
@pytest.mark.parametrize(("length", "layout"), [(65_536, "middle"), (65_537, "middle"), (100_000, "whole")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_native_long_vectors(dtype, length, layout):
    for kind in ("ties", "any bits", "non-finite"):
        check(*LAYOUTS[layout](length), DTYPES[dtype], kind, np.random.default_rng(length))


@needs_library
@pytest.mark.nightly
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_native_over_all_lengths(dtype, layout):
    rng = np.random.default_rng(1)
    lengths = [*range(1, 300), 1023, 1024, 1025, 4608, 16_384, 16_385, 65_535, 65_536, 65_537, 100_000, 1_100_000]
    for length in lengths:
        for kind in KINDS if length < 70 or length > 1000 else ("normal", "ties"):
            check(*LAYOUTS[layout](length), DTYPES[dtype], kind, rng)


@needs_library
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_native_agrees_with_the_reference_in_jax(dtype):
    rng = np.random.default_rng(2)
    weights, initial = (draw(kind, (3, 3, 20, 7), DTYPES[dtype], rng) for kind in ("signed zeros", "ties"))

    @functools.partial(jax.jit, static_argnums=0)
    def sync(module):
        sorted_init = module.sort(initial, (0, 1, 2))
        return sorted_init, module.place(weights, sorted_init, (0, 1, 2))

    for mine, expected in zip(sync(native), sync(_reference), strict=True):
        np.testing.assert_array_equal(reference.bits(mine), reference.bits(expected))


SHAPE, AXES = (70, 33), (0,)


def place(weights, sorted_init):
    return native.place(weights, sorted_init, AXES)


def move(weights):  # between two syncs
    return weights + 0.1 * jnp.sin(30 * weights)


@pytest.fixture(scope="module")
def arrays():
    weights, initial = np.random.default_rng(3).normal(size=(2, *SHAPE)).astype(np.float32)
    return jnp.asarray(weights), jnp.sort(initial, axis=0)


@needs_library
def test_native_in_cond(arrays):
    step = jax.jit(lambda sync, weights, values: lax.cond(sync, place, lambda weights, _: weights, weights, values))
    np.testing.assert_array_equal(step(True, *arrays), numpy_sync(*map(np.asarray, arrays), AXES).view(np.float32))
    np.testing.assert_array_equal(step(False, *arrays), arrays[0])


@needs_library
def test_native_in_scan_and_while_loop(arrays):
    def step(number, weights):
        return lax.cond(number % 2 == 0, lambda w: place(w, arrays[1]), move, weights)

    expected = arrays[0]
    for number in range(5):
        expected = place(expected, arrays[1]) if number % 2 == 0 else jax.jit(move)(expected)
    scanned, _ = lax.scan(lambda weights, number: (step(number, weights), None), arrays[0], jnp.arange(5))
    looped = lax.fori_loop(jnp.int32(0), jnp.int32(5), step, arrays[0])  # a while_loop: the bounds are arrays
    np.testing.assert_array_equal(scanned, expected)
    np.testing.assert_array_equal(looped, expected)


@needs_library
@pytest.mark.parametrize("in_axes", [(0, 0), (2, 1), (0, None), (None, 0)])
def test_native_under_vmap_equals_a_loop(arrays, in_axes):
    batches, expected = [], [[array] * 4 for array in arrays]
    for number, (array, axis) in enumerate(zip(arrays, in_axes, strict=True)):
        batch = [array, move(array), -array, 2 * array]
        batch = [jnp.sort(one, axis=0) for one in batch] if number else batch
        if axis is not None:
            expected[number] = batch
        batches.append(array if axis is None else jnp.stack(batch, axis))
    result = jax.jit(jax.vmap(place, in_axes))(*batches)
    np.testing.assert_array_equal(result, [place(*pair) for pair in zip(*expected, strict=True)])


@needs_library
@pytest.mark.parametrize("operation", ["place", "sort"])
def test_native_gradients_are_those_of_the_reference(arrays, operation):
    def loss(module, weights, values):
        weights = weights.at[0, 0].set(jnp.nan)  # the first vector comes back as it is
        result = module.place(weights, values, AXES) if operation == "place" else module.sort(weights * values, AXES)
        return jnp.nansum(result**2 * jnp.arange(result.size, dtype=jnp.float32).reshape(result.shape))

    gradients = lambda module: jax.jit(jax.grad(lambda *arrays: loss(module, *arrays), (0, 1)))(*arrays)
    for mine, expected in zip(gradients(native), gradients(_reference), strict=True):
        np.testing.assert_array_equal(mine, expected)


@needs_library
def test_native_works_in_place_on_a_donated_buffer(arrays):
    compiled = jax.jit(place, donate_argnums=0).lower(*arrays).compile()
    assert compiled.memory_analysis().temp_size_in_bytes == 0
    weights = arrays[0] + 0
    pointer = weights.unsafe_buffer_pointer()
    result = compiled(weights, arrays[1])
    assert result.unsafe_buffer_pointer() == pointer
    np.testing.assert_array_equal(result, place(*arrays))


@needs_library
def test_native_leaves_other_arrays_alone(arrays):
    before = [np.array(array) for array in arrays]
    place(*arrays)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@needs_library
def test_native_in_shard_map():
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    rng = np.random.default_rng(4)
    weights, initial = rng.normal(size=(2, 20, 4 * devices)).astype(np.float32)
    sorted_init = np.sort(initial, axis=0)
    spec = PartitionSpec(None, "x")
    for specs in ((spec, spec), (spec, PartitionSpec()), (PartitionSpec(), spec)):
        take = lambda array, one: array if one == spec else array[:, :4]
        pair = [take(array, one) for array, one in zip((weights, sorted_init), specs, strict=True)]
        sync = jax.shard_map(lambda *pair: _dispatch.place(*pair, (0,)), mesh=mesh, in_specs=specs, out_specs=spec)
        compiled = jax.jit(sync).lower(*pair).compile()
        assert "laperm_place" in compiled.as_text()
        whole = [array if one == spec else np.tile(array, devices) for array, one in zip(pair, specs, strict=True)]
        np.testing.assert_array_equal(reference.bits(compiled(*pair)), numpy_sync(*whole, (0,)))


def syncs_in_threads(threads, calls, shape):
    """Runs compiled loops of syncs from several Python threads, and returns whether all results are right."""
    rng = np.random.default_rng(5)
    weights, initial = rng.normal(size=(2, *shape)).astype(np.float32)
    sorted_init = np.sort(initial, axis=0)
    expected = numpy_sync(weights, sorted_init, (0,))
    sync = jax.jit(lambda weights, values: native.place(weights, values, (0,)))
    sync(weights, sorted_init)

    def work(_):
        results = [sync(weights, sorted_init) for _ in range(calls)]
        return all(np.array_equal(reference.bits(result), expected) for result in results)

    with ThreadPoolExecutor(threads) as pool:
        return all(pool.map(work, range(threads), timeout=600))


@needs_library
def test_native_from_several_threads():
    assert syncs_in_threads(threads=6, calls=20, shape=(300, 80))


@needs_library
@pytest.mark.nightly
def test_ten_thousand_syncs_do_not_hang():
    assert syncs_in_threads(threads=8, calls=1250, shape=(300, 80))


@needs_library
def test_jax_export_refuses_the_native_kernel_and_takes_the_others(monkeypatch):
    weights = jnp.ones((40, 3))
    monkeypatch.setattr(jax, "device_count", lambda *_: 1)
    sync = lambda weights: _dispatch.place(weights, weights, (0,))
    platforms = ("cpu", "cuda", "tpu")
    with pytest.raises(ValueError, match="laperm_place"):
        jax.export.export(jax.jit(sync), platforms=platforms)(weights)
    monkeypatch.setenv("LAPERM_NATIVE", "0")
    exported = jax.export.export(jax.jit(lambda weights: sync(weights)), platforms=platforms)(weights)
    np.testing.assert_array_equal(exported.call(weights), weights)
