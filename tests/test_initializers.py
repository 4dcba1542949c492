"""sparse and shared_value, alone and as the kernel_init of Flax layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.nn.initializers import he_uniform, lecun_normal, zeros
from jax.sharding import NamedSharding, PartitionSpec

from laperm_jax.initializers import Recipe, levels, shared_value, sparse, symmetric_uniform

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


@pytest.mark.parametrize(
    "recipe", [Recipe("he_normal", keep=0.3), Recipe("equidistant", args=(0.1,)), Recipe("levels", args=(4.0,))]
)
def test_a_recipe_draws_what_its_initializer_does(recipe):
    recipe = recipe._replace(key=tuple(jax.random.key_data(KEY).tolist()))
    drawn = jax.jit(lambda key: recipe.make()(key, (20, 30), jnp.float32))(KEY)
    np.testing.assert_array_equal(recipe.draw((20, 30), jnp.float32), drawn)
    assert (recipe._replace(key=(0, 1)).draw((20, 30), jnp.float32) != drawn).any()


@pytest.mark.parametrize("initializer", [sparse(zeros, 0.5), shared_value(0.5, 0.5), symmetric_uniform(0.5)])
def test_dtype_shape_and_sharding(initializer):
    assert initializer(KEY, (), jnp.float16).dtype == jnp.float16
    assert initializer(KEY, (0, 3)).shape == (0, 3)
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
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
def test_levels_are_as_many_evenly_spaced_and_equally_often(number):
    kernel = np.asarray(levels(number)(KEY, (3, 32, 20)).reshape(96, 20))
    values, counts = np.unique(kernel, return_counts=True)
    assert set(counts) == {kernel.size // number}
    np.testing.assert_allclose(np.diff(values), np.diff(values)[0], rtol=1e-5)
    np.testing.assert_allclose(values, -values[::-1], atol=1e-7)
    assert kernel.var() == pytest.approx(2 / 96, rel=1e-5)
    assert (kernel[:, 0] != kernel[:, 1]).any()
    np.testing.assert_array_equal(np.sort(kernel, axis=0), np.sort(kernel[:, :1], axis=0).repeat(20, axis=1))


@pytest.mark.parametrize("number", [1, 0, -3, 2.5])
def test_a_number_of_levels_that_makes_no_sense(number):
    with pytest.raises(ValueError, match=f"a whole one, 2 or more, not {number}"):
        levels(number)


@pytest.mark.parametrize("keep", [0, -0.1, 1.01, float("nan")])
def test_keep_out_of_range(keep):
    for make in (lambda: sparse(zeros, keep), lambda: shared_value(1.0, keep)):
        with pytest.raises(ValueError, match=f"greater than 0 and at most 1, not {keep}"):
            make()
