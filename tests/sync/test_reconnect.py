"""sort_vectors and reconnect against the NumPy reference, bit for bit."""

import itertools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from laperm_jax import reconnect, sort_vectors
from tests import reference
from tests.cases import ARRAYS, DTYPES, NON_FINITE, finite_arrays, with_non_finite

pytestmark = pytest.mark.usefixtures("strict")

CASES = list(itertools.product(ARRAYS, DTYPES))


def assert_same_bits(actual, expected):
    actual = np.asarray(actual)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(reference.bits(actual), reference.bits(expected))


@given(st.data())
def test_sort_vectors_has_the_bits_of_the_reference(data):
    (shape, axes), dtype = data.draw(st.sampled_from(CASES))
    weights = data.draw(finite_arrays(shape, dtype))
    assert_same_bits(sort_vectors(weights, axes), reference.sort_vectors(weights, axes))


@given(st.data())
def test_reconnect_has_the_bits_of_the_reference(data):
    (shape, axes), dtype = data.draw(st.sampled_from(CASES))
    initial = data.draw(finite_arrays(shape, dtype))
    weights = data.draw(with_non_finite(finite_arrays(shape, dtype)))
    result = reconnect(weights, sort_vectors(initial, axes), axes)
    assert_same_bits(result, reference.reconnect(weights, initial, axes))


@given(st.data())
def test_reconnect_any_shape_and_axes(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=4)))
    axes = tuple(data.draw(st.permutations(data.draw(st.lists(st.integers(0, 3), unique=True).map(sorted)))))
    axes = tuple(axis for axis in axes if axis < len(shape))
    initial, weights = data.draw(finite_arrays(shape, np.float32)), data.draw(finite_arrays(shape, np.float32))
    result = reconnect(weights, sort_vectors(initial, axes), axes)
    assert_same_bits(result, reference.reconnect(weights, initial, axes))


@pytest.mark.parametrize(("shape", "axes"), ARRAYS)
def test_reconnect_float64(shape, axes):
    rng = np.random.default_rng(0)
    initial, weights = np.where(rng.random((2, *shape)) < 0.3, 0.0, rng.normal(size=(2, *shape)))
    initial, weights = np.asarray(initial), np.asarray(weights)  # rank 0 gives scalars
    with jax.enable_x64(True):
        assert_same_bits(
            reconnect(weights, sort_vectors(initial, axes), axes), reference.reconnect(weights, initial, axes)
        )


def test_reconnect_initial_weights_changes_nothing():
    weights = jax.random.normal(jax.random.key(0), (50, 20))
    assert_same_bits(reconnect(weights, sort_vectors(weights, (0,)), (0,)), np.asarray(weights))


def test_reconnect_ranks_ties_by_position():
    """A sparse vector: the zeros of the initial weights go to the places of the smallest weights, in order."""
    initial = jnp.array([0.0, 0.0, 3.0, -3.0])
    weights = jnp.array([1.0, 0.0, -0.0, 0.0])
    assert reconnect(weights, sort_vectors(initial, (0,)), (0,)).tolist() == [3.0, -3.0, 0.0, 0.0]


def test_reconnect_ranks_ties_of_a_filter_in_c_order():
    initial = jnp.arange(12.0).reshape(2, 3, 2)
    expected = reconnect(jnp.zeros((2, 3, 2)), sort_vectors(initial, (0, 1)), (0, 1))
    np.testing.assert_array_equal(expected, initial)
    np.testing.assert_array_equal(reconnect(jnp.zeros((2, 3, 2)), sort_vectors(initial, (-2, 0)), (1, 0)), initial)


def test_signed_zeros_are_equal_and_keep_their_bits():
    initial = np.array([0.0, -0.0, -0.0, 0.0, -1.0], np.float32)
    assert_same_bits(sort_vectors(initial, (0,)), np.array([-1.0, 0.0, -0.0, -0.0, 0.0], np.float32))
    weights = np.array([-0.0, 0.0, -0.0, 5.0, 0.0], np.float32)
    placed = reconnect(weights, sort_vectors(initial, (0,)), (0,))
    assert_same_bits(placed, np.array([-1.0, 0.0, -0.0, 0.0, -0.0], np.float32))


def test_sort_vectors_ranks_subnormals():
    tiny = np.array([3e-45, 0.0, -1e-45, 1e-45], np.float32)
    assert_same_bits(sort_vectors(tiny, (0,)), np.sort(tiny))


def test_reconnect_keeps_the_count_of_a_shared_value():
    initial = np.where(np.random.default_rng(0).random((30, 8)) < 4 / 7, np.float32(0.08), np.float32(0))
    weights = np.random.default_rng(1).normal(size=(30, 8)).astype(np.float32)
    placed = np.asarray(reconnect(weights, sort_vectors(initial, (0,)), (0,)))
    assert reference.is_permutation(placed, initial, (0,))
    for column in range(8):  # the largest weights have the value
        n_zero = np.sum(initial[:, column] == 0)
        np.testing.assert_array_equal(placed[np.argsort(weights[:, column])[:n_zero], column], 0)


@pytest.mark.parametrize("bad", NON_FINITE)
def test_reconnect_leaves_a_non_finite_vector_alone(bad):
    rng = np.random.default_rng(0)
    initial, weights = rng.normal(size=(2, 4, 3)).astype(np.float32)
    weights[2, 1] = bad
    placed = np.asarray(reconnect(weights, sort_vectors(initial, (0,)), (0,)))
    assert_same_bits(placed[:, 1], weights[:, 1])
    assert reference.is_permutation(placed[:, [0, 2]], initial[:, [0, 2]], (0,))


def test_sort_vectors_and_reconnect_reject_wrong_arguments():
    floats, other = jnp.ones((3, 2)), jnp.ones((2, 3))
    with pytest.raises(TypeError, match="floating-point, not int32"):
        sort_vectors(jnp.ones(3, jnp.int32), (0,))
    with pytest.raises(TypeError, match="floating-point, not complex64"):
        sort_vectors(jnp.ones(3, jnp.complex64), (0,))
    with pytest.raises(ValueError, match=r"\(2,\) are out of range for an array of rank 2"):
        sort_vectors(floats, (2,))
    with pytest.raises(ValueError, match="twice"):
        sort_vectors(floats, (0, -2))
    with pytest.raises(ValueError, match=r"weights \(3, 2\) and sorted_init \(2, 3\)"):
        reconnect(floats, other, (0,))
    with pytest.raises(TypeError, match=r"float32.*bfloat16"):
        reconnect(floats, floats.astype(jnp.bfloat16), (0,))
