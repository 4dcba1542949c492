"""Initializers, alone and as the kernel_init of Flax layers."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.nn.initializers import he_uniform, lecun_normal, zeros
from jax.sharding import NamedSharding, PartitionSpec

from laperm_jax.initializers import Recipe, equidistant, levels, shared_value, sparse, symmetric_uniform
from laperm_jax.sync._vectors import canonical_axes, weight_vectors

pytestmark = pytest.mark.usefixtures("strict")

KEY = jax.random.key(0)


@pytest.mark.parametrize("keep", [0.01, 0.3, 1.0])
def test_sparse_keeps_that_share_of_the_weights(keep):
    kernel = np.asarray(sparse(lecun_normal(), keep)(KEY, (400, 500)))
    n = kernel.size
    assert abs(np.sum(kernel != 0) - keep * n) <= 5 * np.sqrt(n * keep * (1 - keep))


def test_sparse_keeps_the_values_of_its_initializer():
    dense, kernel = sparse(he_uniform(), 1.0)(KEY, (60, 70)), sparse(he_uniform(), 0.5)(KEY, (60, 70))
    np.testing.assert_array_equal(kernel, np.where(kernel == 0, 0, dense))
    limit = np.sqrt(6 / 60)
    assert -limit <= dense.min() < -0.9 * limit
    assert 0.9 * limit < dense.max() <= limit


def test_sparse_mask_does_not_depend_on_the_values():
    kernel = np.asarray(sparse(jax.nn.initializers.normal(), 0.5)(KEY, (100_000,)))
    assert abs(kernel[kernel != 0].mean()) < 0.01 * 5 / np.sqrt(0.5)
    assert np.mean(kernel[kernel != 0] > 0) == pytest.approx(0.5, abs=0.02)


def test_shared_value_has_two_values():
    kernel = shared_value(0.08, 4 / 7)(KEY, (784, 10), jnp.bfloat16)
    assert set(np.unique(np.asarray(kernel, np.float32))) == {0.0, np.float32(jnp.bfloat16(0.08))}
    assert shared_value(-2.0)(KEY, (3,)).tolist() == [-2.0, -2.0, -2.0]


def test_symmetric_uniform_is_the_distribution_it_names():
    kernel = np.asarray(symmetric_uniform(0.3)(KEY, (400, 500)))
    assert -0.3 <= kernel.min() < -0.299
    assert 0.299 < kernel.max() <= 0.3
    assert kernel.std() == pytest.approx(0.3 / 3**0.5, rel=0.01)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("he_normal", keep=0.3),
        Recipe("he_uniform", keep=0.3, rescale=True),
        Recipe("equidistant", args=(0.1,)),
        Recipe("levels", args=(4.0,)),
        Recipe("levels", args=(3, 0.05), keep=0.7, rescale=True),
        Recipe("levels", args=(31.0,)),
    ],
)
def test_a_recipe_draws_what_its_initializer_does(recipe):
    recipe = recipe._replace(key=tuple(jax.random.key_data(KEY).tolist()))
    drawn = jax.jit(lambda key: recipe.make()(key, (20, 30), jnp.float32))(KEY)
    np.testing.assert_array_equal(recipe.draw((20, 30), jnp.float32), drawn)
    assert (recipe._replace(key=(0, 1)).draw((20, 30), jnp.float32) != drawn).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"args": [2]}, r"args must be a tuple, not \[2\]"),
        ({"args": (2, None, [0])}, "unhashable type"),
        ({"args": (2,), "shape": [4, 4]}, r"shape must be a tuple, not \[4, 4\]"),
        ({"args": (2,), "rescale": "no"}, "rescale must be True or False, not 'no'"),
        ({"args": (2,), "keep": 0.5, "rescale": 1}, "rescale must be True or False, not 1"),
        ({"args": (2,), "keep": "half"}, "keep must be greater than 0 and at most 1, not half"),
    ],
)
def test_a_recipe_of_other_types_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Recipe("levels", key=(0, 0), **fields).draw((4, 4), jnp.float32)


def test_a_recipe_takes_a_list_for_the_shape_of_its_draw():
    recipe = Recipe("levels", args=(2,), key=(0, 0))
    np.testing.assert_array_equal(recipe.draw([4, 4], jnp.float32), recipe.draw((4, 4), jnp.float32))


@pytest.mark.parametrize("initializer", [sparse(zeros, 0.5), shared_value(0.5, 0.5), symmetric_uniform(0.5)])
def test_dtype_and_shape(initializer):
    assert initializer(KEY, (), jnp.float16).dtype == jnp.float16
    assert initializer(KEY, (0, 3)).shape == (0, 3)


@pytest.mark.nightly
@pytest.mark.eight_devices
@pytest.mark.parametrize(
    "initializer",
    [sparse(zeros, 0.5), shared_value(0.5, 0.5), symmetric_uniform(0.5), levels(2), equidistant(0.5), levels(16)],
)
def test_out_sharding_on_an_explicit_mesh(initializer):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    sharding = NamedSharding(mesh, PartitionSpec(None, "x"))
    with jax.set_mesh(mesh):
        kernel = initializer(KEY, (4, 8), jnp.float32, out_sharding=sharding)
    assert kernel.sharding == sharding
    np.testing.assert_array_equal(jax.device_get(kernel), initializer(KEY, (4, 8), jnp.float32))


@pytest.mark.eight_devices
@pytest.mark.parametrize("initializer", [levels(2), equidistant(0.5)])
def test_out_sharding_on_an_automatic_mesh(initializer):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec(None, "x"))
    with jax.set_mesh(mesh):
        assert initializer(KEY, (4, 8), jnp.float32, out_sharding=sharding).sharding == sharding


@pytest.mark.parametrize("initializer", [sparse(he_uniform(), 0.5), shared_value(0.5, 0.5)])
def test_fits_flax_layers(initializer):
    linear = nnx.Linear(64, 32, kernel_init=initializer, rngs=nnx.Rngs(0))
    conv = nn.Conv(16, (3, 3), kernel_init=initializer).init(KEY, jnp.ones((1, 8, 8, 4)))
    for kernel in (linear.kernel[...], conv["params"]["kernel"]):
        assert 0.3 < float((kernel == 0).mean()) < 0.7


@pytest.mark.parametrize("number", [2, 3, 16])
def test_levels_are_evenly_spaced_and_balanced_in_each_vector(number):
    kernel = np.asarray(levels(number)(KEY, (3, 32, 20)).reshape(96, 20))
    values, counts = np.unique(kernel, return_counts=True)
    assert set(counts) == {kernel.size // number}
    np.testing.assert_allclose(np.diff(values), np.diff(values)[0], rtol=1e-5)
    np.testing.assert_allclose(values, -values[::-1], atol=1e-7)
    assert kernel.var() == pytest.approx(2 / 96, rel=1e-5)
    assert (kernel[:, 0] != kernel[:, 1]).any()
    np.testing.assert_array_equal(np.sort(kernel, axis=0), np.sort(kernel[:, :1], axis=0).repeat(20, axis=1))


@pytest.mark.parametrize("number", [3, 49, 99, 187, 999])
def test_levels_are_symmetric_bit_for_bit(number):
    values = np.unique(np.asarray(levels(number)(KEY, (number, 1))))
    np.testing.assert_array_equal(values, -values[::-1])


@pytest.mark.parametrize("number", [2, 3, 16])
@pytest.mark.parametrize("fan_in", [1, 7, 50])
def test_levels_of_any_fan_in(number, fan_in):
    """Counts differ by one in a vector; over the kernel, vectors shorter than the levels are balanced, too."""
    kernel = np.asarray(levels(number)(KEY, (fan_in, 240)))
    values, counts = np.unique(kernel, return_counts=True)
    assert len(values) == number
    np.testing.assert_allclose(values, -values[::-1], atol=1e-6)
    np.testing.assert_allclose(np.diff(values), np.diff(values)[0], rtol=1e-4)
    in_vector = (kernel[:, :, None] == values).sum(axis=0)
    assert (in_vector.max(axis=1) - in_vector.min(axis=1)).max() <= 1
    if fan_in < number:
        assert counts.max() - counts.min() <= 1
    assert kernel.var() == pytest.approx(2 / fan_in, rel=0.02)


@pytest.mark.parametrize("fan_in", [1, 7, 50])
def test_levels_with_a_standard_deviation_are_the_same_in_every_kernel(fan_in):
    kernel = np.asarray(levels(4, std=0.05)(KEY, (fan_in, 240)))
    np.testing.assert_allclose(np.unique(kernel), 0.05 * np.array([-3, -1, 1, 3]) / 5**0.5, rtol=1e-6)


@pytest.mark.parametrize("make", [lambda axes: levels(3, axes=axes), lambda axes: equidistant(1.0, axes=axes)])
@pytest.mark.parametrize(
    ("shape", "axes"), [((12, 2, 5), (0,)), ((2, 6, 5), (0, 1)), ((2, 6, 5), (-3, 1)), ((5, 12), (1,))]
)
def test_axes_of_one_vector(make, shape, axes):
    """The layouts of attention, and of libraries that put the output axis first."""
    kernel = np.asarray(make(axes)(KEY, shape))
    vectors = weight_vectors(kernel, canonical_axes(axes, len(shape)))
    assert (np.sort(vectors, axis=1) == np.sort(vectors[0])).all()
    assert (vectors[0] != vectors[1]).any()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 0)])
def test_levels_of_nothing(shape):
    assert levels(2)(KEY, shape).shape == shape


def test_levels_in_attention():
    """Flax draws its kernels as matrices."""
    layer = nnx.MultiHeadAttention(2, 8, kernel_init=levels(2, 0.5), decode=False, rngs=nnx.Rngs(0))
    for kernel, axes in ((layer.query.kernel, 0), (layer.out.kernel, (0, 1))):
        assert (np.sum(np.asarray(kernel[...]) > 0, axis=axes) == 4).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        *((lambda n=n: levels(n), ValueError, "must be a whole number from 2 to 65,536, not") for n in (1, 0, -3, 2.5)),
        *((lambda n=n: levels(n), ValueError, "must be a whole number from 2 to 65,536, not") for n in (65_537, 1e300)),
        *((lambda n=n: levels(n), ValueError, f"from 2 to 65,536, not {n}") for n in (np.inf, np.nan, -np.inf)),
        *((lambda x=x: levels(2, x), ValueError, "std must be greater than 0") for x in (0, -0.1)),
        *((lambda x=x: levels(2, x), ValueError, "std must be finite, not") for x in (np.inf, np.nan)),
        *((lambda x=x: equidistant(x), ValueError, "limit must be greater than 0, not") for x in (0, -1)),
        *((lambda x=x: symmetric_uniform(x), ValueError, "limit must be greater than 0, not") for x in (0, -1)),
        (lambda: symmetric_uniform(np.nan), ValueError, "limit must be finite, not nan"),
        (lambda: equidistant(np.inf), ValueError, "limit must be finite, not inf"),
        (lambda: shared_value(np.inf), ValueError, "value must be finite, not inf"),
        *((lambda f=f: f(1j), TypeError, "must be a real number, not 1j") for f in (levels, equidistant, shared_value)),
        (lambda: levels(2, 1j), TypeError, "std must be a real number, not 1j"),
        *((lambda n=n: levels(n), TypeError, f"must be a real number, not '{n}'") for n in ("a few", "2")),
        *(
            (lambda x=x: sparse(zeros, 0.5, x), TypeError, "rescale must be True or False, not")
            for x in ("no", 1, None)
        ),
        (lambda: levels(10**400), TypeError, "must be a real number, not 1000"),
    ],
)
def test_numbers_out_of_range_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("initializer", "dtype", "error", "message"),
    [
        (levels(2, 1e6), jnp.float16, ValueError, "is infinite in float16"),
        (equidistant(1e39), jnp.float32, ValueError, "limit 1e.39 is infinite in float32"),
        (symmetric_uniform(1e39), jnp.float32, ValueError, "limit 1e.39 is infinite in float32"),
        (shared_value(1e39), jnp.float32, ValueError, "value 1e.39 is infinite in float32"),
        (levels(2), jnp.int32, TypeError, "must be floating-point, not int32"),
        (levels(2, 1e-9), jnp.float16, ValueError, "is zero in float16"),
        (equidistant(1e-50), jnp.float32, ValueError, "limit 1e-50 is zero in float32"),
        (sparse(jax.nn.initializers.constant(3), 0.5, True), jnp.int32, TypeError, "must be floating-point, not int32"),
        (sparse(zeros, 1e-80, True), jnp.float32, ValueError, "keep .* 1e.40 is infinite in float32"),
        (equidistant(1.0), jnp.complex64, TypeError, "must be floating-point, not complex64"),
        (sparse(levels(2, 1e4), 0.01, True), jnp.float16, ValueError, "a weight times keep .* is infinite in float16"),
        (levels(2, axes=0), jnp.float32, TypeError, r"axes must be a tuple of ints such as \(0,\), not 0"),
        (equidistant(1.0, axes=(0.0,)), jnp.float32, TypeError, r"axes must be a tuple of ints .*, not \(0.0,\)"),
    ],
)
def test_dtypes_and_axes_that_do_not_fit_are_refused(initializer, dtype, error, message):
    with pytest.raises(error, match=message):
        initializer(KEY, (4, 4), dtype)


def test_a_scalar_has_no_levels():
    with pytest.raises(ValueError, match="a scalar has no weight vectors"):
        levels(2)(KEY, ())


@pytest.mark.parametrize("keep", [0, -0.1, 1.01, float("nan"), 1j, "half", True, np.array([0.5, 0.5])])
def test_keep_out_of_range_is_refused(keep):
    for make in (lambda: sparse(zeros, keep), lambda: shared_value(1.0, keep)):
        with pytest.raises(ValueError, match=f"greater than 0 and at most 1, not {re.escape(str(keep))}"):
            make()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_sparse_rescale_multiplies_the_kept_weights(dtype):
    plain = sparse(he_uniform(), 0.25)(KEY, (60, 70), dtype)
    rescaled = sparse(he_uniform(), 0.25, rescale=True)(KEY, (60, 70), dtype)
    of_numpy = sparse(he_uniform(), np.float64(0.25), rescale=True)(KEY, (60, 70), dtype)
    assert rescaled.dtype == of_numpy.dtype == dtype
    np.testing.assert_array_equal(rescaled, 2 * plain)
    np.testing.assert_array_equal(of_numpy, rescaled)


def test_sparse_rescale_restores_the_variance():
    kernel = np.asarray(sparse(he_uniform(), 0.3, rescale=True)(KEY, (400, 500)))
    assert kernel.var() == pytest.approx(2 / 400, rel=0.03)
