"""Convolution as one matrix product: for a CPU, and for several networks side by side.

XLA's own convolutions are slow on CPUs, and inside a loop (``lax.scan``) about twenty times slower still (jax issue
12868). Patches gathered by slices and multiplied by the kernel are faster than its convolution outside loops, and keep
their speed inside: ``benchmarks/convolution.py`` measures both.

``jax.vmap`` over kernels makes grouped convolutions, which are slow on a GPU: on an H100 a step of three Conv2 side by
side took 3.6 ms with them, 1.7 ms with matrix products, and 1.0 ms for one network alone with XLA's convolution.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

SIDE_BY_SIDE = "side_by_side"  # name of the axis of jax.vmap over networks


def convolve(
    inputs: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Any, **kwargs: Any
) -> jax.Array:
    """:func:`conv_by_matmul` on a CPU and under ``jax.vmap(axis_name=SIDE_BY_SIDE)``, elsewhere XLA's convolution.

    Made for the argument ``conv_general_dilated`` of ``flax.nnx.Conv``, with the arguments of :func:`conv_by_matmul`.
    """
    by_matmul = jax.default_backend() == "cpu" or _is_side_by_side()
    implementation = conv_by_matmul if by_matmul else lax.conv_general_dilated
    return implementation(inputs, kernel, window_strides, padding, **kwargs)


def _is_side_by_side() -> bool:
    try:
        lax.axis_size(SIDE_BY_SIDE)
    except NameError:
        return False
    return True


def conv_by_matmul(
    inputs: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Any, **kwargs: Any
) -> jax.Array:
    """Does what ``lax.conv_general_dilated`` does for NHWC images, HWIO kernels, no dilation and no groups.

    Args:
      inputs: images ``(batch, height, width, in)``.
      kernel: ``(kernel height, kernel width, in, out)``.
      window_strides: two ints.
      padding: ``"SAME"``, ``"VALID"`` or pairs of ints.
      **kwargs: the other arguments; all but ``precision`` must have the values that ``flax.nnx.Conv`` gives by default.

    Returns:
      Array ``(batch, new height, new width, out)``.

    Raises:
      NotImplementedError: for dilated or grouped convolutions.
    """
    precision = kwargs.pop("precision", None)
    if kwargs.get("feature_group_count", 1) != 1 or any(
        factor != 1 for name in ("lhs_dilation", "rhs_dilation") for factor in kwargs.get(name) or ()
    ):
        raise NotImplementedError("conv_by_matmul knows neither dilation nor feature groups")
    size, (stride_y, stride_x) = kernel.shape[:2], window_strides
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(inputs.shape[1:3], size, window_strides, padding)
    inputs = jnp.pad(inputs, ((0, 0), *padding, (0, 0)))
    batch, padded_height, padded_width, channels = inputs.shape
    height, width = (padded_height - size[0]) // stride_y + 1, (padded_width - size[1]) // stride_x + 1

    def shifted(y: int, x: int) -> jax.Array:  # (batch, height, width, channels)
        stop = (batch, y + (height - 1) * stride_y + 1, x + (width - 1) * stride_x + 1, channels)
        return lax.slice(inputs, (0, y, x, 0), stop, (1, stride_y, stride_x, 1))

    patches = jnp.concatenate([shifted(y, x) for y in range(size[0]) for x in range(size[1])], axis=-1)
    rows = patches.reshape(batch * height * width, math.prod(kernel.shape[:3]))
    outputs = jnp.dot(rows, kernel.reshape(rows.shape[1], kernel.shape[3]), precision=precision)
    return outputs.reshape(batch, height, width, kernel.shape[3])
