"""Transformers: what sees what, which initializer goes where, and that nothing has a bias."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.nn.initializers import constant, lecun_normal

from laperm_jax import flax_fan_in
from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.models.transformers import LanguageModel, Size, VisionTransformer

SIZE = Size(layers=2, features=8, heads=2)


def language_model(kernel_inits=None, size=SIZE):
    inits = kernel_inits or itertools.repeat(lecun_normal())
    return nnx.jit(lambda: LanguageModel(11, 6, size, inits, nnx.Rngs(0)))()


def vision_transformer(patch=2):
    inits = itertools.repeat(lecun_normal())
    return nnx.jit(lambda: VisionTransformer((4, 6, 3), 10, patch, SIZE, inits, nnx.Rngs(0)))()


apply = nnx.jit(lambda model, inputs: model(inputs))


def params(model):
    return leaves_by_path(nnx.to_pure_dict(nnx.state(model, nnx.Param)))


@pytest.mark.nightly
def test_a_character_sees_those_before_it_and_none_after_it():
    model = language_model()
    tokens = jnp.array([[1, 2, 3, 4, 5, 6]])
    logits, changed = apply(model, tokens), apply(model, tokens.at[0, 3].set(9))
    np.testing.assert_array_equal(logits[:, :3], changed[:, :3])
    assert all((logits[0, place] != changed[0, place]).any() for place in (3, 4, 5))
    np.testing.assert_allclose(apply(model, tokens[:, :4]), logits[:, :4], atol=1e-6)


@pytest.mark.nightly
def test_places_matter():
    logits = apply(language_model(), jnp.array([[1, 1, 1]]))
    assert (logits[0, 0] != logits[0, 2]).any()


def test_each_kernel_takes_the_next_initializer_in_network_order():
    found = params(language_model(map(constant, itertools.count(1))))
    kernels = {path: float(leaf.ravel()[0]) for path, leaf in found.items() if path.endswith("kernel")}
    block = ("attention/query", "attention/key", "attention/value", "attention/out", "up", "down")
    order = [*(f"blocks/{number}/{name}/kernel" for number in (0, 1) for name in block), "output/kernel"]
    assert sorted(kernels, key=kernels.__getitem__) == order
    assert sorted(kernels.values()) == list(range(1, 14))


@pytest.mark.nightly
def test_kernels_are_reordered_and_embeddings_and_norms_are_not():
    axes = {path: flax_fan_in(path, leaf) for path, leaf in params(language_model()).items()}
    assert not [path for path in axes if "bias" in path]
    assert {path for path, of_leaf in axes.items() if of_leaf is None} == {
        *("tokens/embedding", "positions/embedding", "norm/scale"),
        *(f"blocks/{number}/norm{which}/scale" for number in (0, 1) for which in (1, 2)),
    }
    assert axes["blocks/0/attention/query/kernel"] == (0,)
    assert axes["blocks/0/attention/out/kernel"] == (0, 1)


@pytest.mark.nightly
def test_activations_of_sixteen_bits_leave_parameters_and_logits_at_thirty_two():
    model, exact = language_model(size=SIZE._replace(dtype="bfloat16")), language_model()
    assert {leaf.dtype for leaf in params(model).values()} == {jnp.dtype("float32")}
    tokens = jnp.array([[1, 2, 3]])
    logits, expected = apply(model, tokens), apply(exact, tokens)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, atol=0.1)
    assert (logits != expected).any()


@pytest.mark.nightly
def test_patches_are_those_of_a_convolution():
    model = vision_transformer()
    images = jax.random.normal(jax.random.key(1), (5, 4, 6, 3))
    kernel = params(model)["patches/kernel"].reshape(2, 2, 3, 8)
    expected = jax.lax.conv_general_dilated(images, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    patches = nnx.jit(lambda model: model.patches(model.cut(images)))(model)
    np.testing.assert_allclose(patches, expected.reshape(5, 6, 8), atol=1e-5)
    assert apply(model, images).shape == (5, 10)


def test_patches_that_do_not_tile_the_image_are_refused():
    with pytest.raises(ValueError, match="vit: patches of 4 x 4 do not tile images of 4 x 6"):
        vision_transformer(patch=4)
