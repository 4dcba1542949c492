"""The networks: sizes as in the paper, names, dropout, and images they do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.models import classifiers
from tests.cases import some_of

MNIST, CIFAR10 = (28, 28, 1), (32, 32, 3)


def build(name, image_shape, **options):
    return nnx.jit(lambda: classifiers.build(name, image_shape, rngs=nnx.Rngs(0), **options))()


def shapes(name, image_shape, **options):
    model = nnx.eval_shape(lambda: classifiers.build(name, image_shape, rngs=nnx.Rngs(0), **options))
    return {path: leaf.shape for path, leaf in leaves_by_path(nnx.state(model, nnx.Param)).items()}


@pytest.mark.parametrize(
    ("name", "image_shape", "kernels", "weights"),
    [
        ("mlp", MNIST, 3, 784 * 256 + 256 * 256 + 256 * 10),
        ("f1", MNIST, 1, 7_840),
        ("f2", MNIST, 3, 784 * 128 + 128 * 64 + 64 * 10),
        ("conv2", CIFAR10, 5, 4_300_992),
        ("conv4", CIFAR10, 7, 2_425_024),
        ("conv7", MNIST, 8, 325_152),
        ("conv13", CIFAR10, 15, 14_977_728),  # the paper's number
        pytest.param("resnet50", CIFAR10, 52, 754_736, marks=pytest.mark.nightly),
    ],
)
def test_numbers_of_kernels_and_weights(name, image_shape, kernels, weights):
    found = {path: np.prod(shape) for path, shape in shapes(name, image_shape).items() if path.endswith("kernel")}
    assert len(found) == kernels
    assert sum(found.values()) == weights


def test_the_layers_of_conv7():
    assert {path: shape for path, shape in shapes("conv7", MNIST).items() if path.endswith("kernel")} == {
        "conv1/kernel": (3, 3, 1, 32),
        "conv2/kernel": (3, 3, 32, 32),
        "conv3/kernel": (5, 5, 32, 32),
        "conv4/kernel": (3, 3, 32, 64),
        "conv5/kernel": (3, 3, 64, 64),
        "conv6/kernel": (5, 5, 64, 64),
        "conv7/kernel": (4, 4, 64, 128),
        "output/kernel": (128, 10),
    }


def test_f1_and_f2_have_no_biases_and_mlp_has_the_widths_asked_for():
    assert not any(path.endswith("bias") for name in ("f1", "f2") for path in shapes(name, MNIST))
    assert shapes("mlp", (8, 8, 1), widths=(5, 6, 7))["dense3/kernel"] == (6, 7)
    assert list(shapes("mlp", (8, 8, 1), widths=())) == ["output/bias", "output/kernel"]


@pytest.mark.nightly
def test_kernel_initializers_go_by_network_order():
    make = lambda number: jax.nn.initializers.constant(number)
    model = build("resnet50", CIFAR10, kernel_init=make)
    value = lambda kernel: int(kernel[...].ravel()[0])
    assert value(model.conv.kernel) == 0
    assert value(model.blocks[0].conv1.kernel) == 1
    first_of_stage_2 = model.blocks[8]  # two convolutions and the shortcut's
    kernels = [layer.kernel for layer in (first_of_stage_2.conv1, first_of_stage_2.conv2, first_of_stage_2.shortcut)]
    assert [value(kernel) for kernel in kernels] == [17, 18, 19]
    assert value(model.output.kernel) == 51


@pytest.mark.nightly
def test_initial_biases_are_keras_he_uniform_but_for_mlp_and_resnet():
    bias = build("conv7", MNIST).conv7.bias[...]
    limit = (6 / 128) ** 0.5
    assert 0.8 * limit < float(jnp.abs(bias).max()) <= limit
    assert not build("mlp", MNIST).dense1.bias[...].any()
    assert not build("resnet50", CIFAR10, kernel_init=lambda number: jax.nn.initializers.ones).conv.bias[...].any()


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["conv2", "conv7"])
def test_dropout_is_off_in_evaluation_and_on_in_training(name):
    model, images = build(name, MNIST), jax.random.uniform(jax.random.key(0), (4, *MNIST))
    evaluation = nnx.with_attributes(model, deterministic=True, use_running_average=True, raise_if_not_found=False)
    apply = nnx.jit(lambda model, seed: model(images, nnx.Rngs(jax.random.key(seed))))
    assert (apply(model, 0) != apply(model, 1)).any()
    np.testing.assert_array_equal(apply(evaluation, 0), apply(evaluation, 1))


@pytest.mark.parametrize(
    ("name", "image_shape"), some_of([("conv4", (8, 8, 1)), ("conv13", CIFAR10), ("resnet50", CIFAR10)], {0})
)
def test_logits(name, image_shape):
    model = nnx.eval_shape(lambda: classifiers.build(name, image_shape, rngs=nnx.Rngs(0)))
    logits = nnx.eval_shape(lambda model, images: model(images, nnx.Rngs(0)), model, jnp.zeros((2, *image_shape)))
    assert (logits.shape, logits.dtype) == ((2, 10), jnp.float32)


@pytest.mark.parametrize(
    ("name", "image_shape", "message"),
    [
        pytest.param(
            "conv13", (8, 8, 1), "conv13 does not fit images of 8 x 8 x 1: .* after pool4", marks=pytest.mark.nightly
        ),
        ("conv7", (8, 8, 1), "conv7 does not fit images of 8 x 8 x 1: nothing is left of the image after conv4"),
        pytest.param(
            "resnet50", MNIST, "resnet50 does not fit images of 28 x 28 x 1: .* 32 x 32", marks=pytest.mark.nightly
        ),
        ("vgg", MNIST, "there is no model 'vgg'; there are mlp, f1"),
    ],
)
def test_what_does_not_fit_is_refused(name, image_shape, message):
    with pytest.raises(ValueError, match=message):
        classifiers.build(name, image_shape, rngs=nnx.Rngs(0))
