"""Order keys and vector views, the same in JAX and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laperm_jax.sync._keys import bit_keys, from_bit_keys, order_keys
from laperm_jax.sync._vectors import as_columns, from_columns, from_vectors, weight_vectors
from tests import reference
from tests.cases import ARRAYS

DTYPES = ["float16", "bfloat16", "float32", "float64"]


def all_kinds(dtype):
    """Every 16-bit float that is no NaN, and as many of the wider ones."""
    with np.errstate(all="ignore"):
        values = np.arange(2**16, dtype=np.uint16).view("float16" if dtype == "float64" else jnp.dtype("bfloat16"))
        values = values.astype(np.float64).astype(jnp.dtype(dtype))
    return values[~np.isnan(values)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_keys_are_in_the_order_of_the_floats(dtype):
    values = all_kinds(dtype)
    np.random.default_rng(0).shuffle(values)
    for keys in (order_keys(values), bit_keys(values)):
        assert keys.dtype == f"int{8 * values.itemsize}"
        ascending = values[np.argsort(keys)]
        assert (ascending[:-1] <= ascending[1:]).all()
    zeros = np.array([-0.0, 0.0], jnp.dtype(dtype))
    assert np.diff(order_keys(zeros)) == 0
    assert np.diff(bit_keys(zeros)) == 1
    np.testing.assert_array_equal(np.unique(values).size, np.unique(order_keys(values)).size)


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_bit_keys_is_the_inverse_of_bit_keys(dtype):
    bits = np.random.default_rng(0).integers(2**16, size=1000).astype(f"u{jnp.dtype(dtype).itemsize}")
    values = bits.view(jnp.dtype(dtype))  # NaNs among them
    np.testing.assert_array_equal(reference.bits(from_bit_keys(bit_keys(values), values.dtype)), bits)


@pytest.mark.parametrize("dtype", DTYPES)
def test_keys_are_the_same_in_jax_and_numpy(dtype):
    values = all_kinds(dtype)
    with jax.enable_x64(True):
        for function in (order_keys, bit_keys):
            keys = jax.jit(function)(values)
            np.testing.assert_array_equal(keys, function(values))
            assert keys.dtype == function(values).dtype


@pytest.mark.parametrize("asarray", [np.asarray, jnp.asarray])
@pytest.mark.parametrize(("shape", "axes"), ARRAYS)
def test_views_are_the_vectors_of_the_reference(shape, axes, asarray):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    rows = weight_vectors(asarray(array), axes)
    columns = as_columns(asarray(array), axes)
    expected = [vector for _, vector in reference.vectors(array, axes)]
    assert rows.shape == (reference.count_vectors(shape, axes), np.prod([shape[axis] for axis in axes], dtype=int))
    np.testing.assert_array_equal(rows, np.reshape(expected, rows.shape))
    np.testing.assert_array_equal(columns, np.asarray(rows).T)
    np.testing.assert_array_equal(from_vectors(rows, shape, axes), array)
    np.testing.assert_array_equal(from_columns(columns, shape, axes), array)
