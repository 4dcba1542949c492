"""conv_by_matmul against XLA's convolution."""

import itertools

import jax
import numpy as np
import pytest
from jax import lax

from laperm_jax.lab.models.convolution import conv_by_matmul

NHWC = ("NHWC", "HWIO", "NHWC")


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    list(itertools.product([3, 1, 4, 5], [1, 2], ["SAME", "VALID", ((2, 0), (1, 3))])),
)
def test_same_as_xla_with_gradients(size, stride, padding):
    images = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 4))

    def value_and_grads(convolve):
        apply = lambda images, kernel: convolve(images, kernel, (stride, stride), padding, dimension_numbers=NHWC)
        outputs, pull_back = jax.vjp(apply, images, kernel)
        return outputs, *pull_back(jax.numpy.cos(outputs))

    for ours, theirs in zip(value_and_grads(conv_by_matmul), value_and_grads(lax.conv_general_dilated), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("option", [{"lhs_dilation": (2, 1)}, {"rhs_dilation": (2, 2)}, {"feature_group_count": 3}])
def test_what_it_cannot_do_is_refused(option):
    with pytest.raises(NotImplementedError, match="neither dilation nor feature groups"):
        conv_by_matmul(np.ones((1, 5, 5, 3)), np.ones((3, 3, 3, 3)), (1, 1), "SAME", **option)
