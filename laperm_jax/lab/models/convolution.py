"""Convolution as one matrix product: what makes convolutional networks trainable on a CPU.

XLA's own convolutions are slow on CPUs, and inside a loop (``lax.scan``) about twenty times slower still (jax issue
12868). Patches gathered by slices and multiplied by the kernel are faster than its convolution outside loops, and keep
their speed inside: ``benchmarks/convolution.py`` measures both.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def conv_by_matmul(
    inputs: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Any, **kwargs: Any
) -> jax.Array:
    """Does what ``lax.conv_general_dilated`` does for NHWC images, HWIO kernels, no dilation and no groups.

    Made for the argument ``conv_general_dilated`` of ``flax.nnx.Conv``.

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
