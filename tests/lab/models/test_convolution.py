"""conv_by_matmul against XLA's convolution."""

import itertools

import jax
import numpy as np
import pytest
from jax import lax

from laperm_jax.lab.models.convolution import SIDE_BY_SIDE, conv_by_matmul, convolve

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


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("side_by_side", [False, True])
def test_xla_convolves_for_one_network_on_an_accelerator(monkeypatch, backend, side_by_side):
    images, kernels = np.ones((2, 1, 5, 5, 3), np.float32), np.ones((2, 3, 3, 3, 4), np.float32)

    def loss(kernel, images):
        return convolve(images, kernel, (1, 1), "SAME", dimension_numbers=NHWC).sum()

    step = jax.jit(jax.grad(loss))
    many = jax.vmap(step, axis_name=SIDE_BY_SIDE if side_by_side else "batch")
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    program = str(jax.make_jaxpr(many)(kernels, images))
    assert ("conv_general_dilated" in program) == (backend == "gpu" and not side_by_side)
