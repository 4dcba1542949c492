"""Order keys: integers that sort as the floats do.

All implementations compare integers, not floats: some XLA backends flush subnormal numbers to zero, and a sort of
floats then ranks them differently.
"""

from typing import TypeVar

import jax
import numpy as np

Array = TypeVar("Array", jax.Array, np.ndarray)


def order_keys(array: Array) -> Array:
    """Signed integers in the order of the floats, where -0 and +0 have the same key.

    Args:
      array: floats of any shape, in JAX or NumPy.

    Returns:
      Integers of the same shape and width: the magnitude's bits, negated for a negative float.

    Example:
      >>> import jax.numpy as jnp
      >>> order_keys(jnp.array([-0.0, 0.0, 1e-45, -1e-45])).tolist()
      [0, 0, 1, -1]
    """
    keys = bit_keys(array)
    return keys - (keys >> (8 * keys.dtype.itemsize - 1))  # plus one where negative


def bit_keys(array: Array) -> Array:
    """Like :func:`order_keys`, with a key of its own for each bit pattern: -0 comes before +0.

    Example:
      >>> import numpy as np
      >>> bit_keys(np.array([-0.0, 0.0, 1e-45, -1e-45], np.float32)).tolist()
      [-1, 0, 1, -2]
    """
    return _flip_negative(array.view(_signed(array.dtype)))


def from_bit_keys(keys: Array, dtype: np.dtype) -> Array:
    """The inverse of :func:`bit_keys`: floats of ``dtype``."""
    return _flip_negative(keys).view(dtype)


def _flip_negative(integers: Array) -> Array:
    """Flips all bits but the sign of negative integers; its own inverse."""
    dtype = integers.dtype
    return integers ^ ((integers >> (8 * dtype.itemsize - 1)) & np.iinfo(dtype).max)


def _signed(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"int{8 * dtype.itemsize}")
