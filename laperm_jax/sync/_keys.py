"""Order keys: integers that sort as the floats do, and what else works on the bits of floats.

All implementations compare integers, not floats: some XLA backends flush subnormal numbers to zero, and a sort of
floats then ranks them differently. They move integers, too: XLA:CPU computes some operations on half-precision floats
in float32, which turns signalling NaNs into quiet ones.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
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
    return _flip_negative(bits(array))


def from_bit_keys(keys: Array, dtype: np.dtype) -> Array:
    """The inverse of :func:`bit_keys`: floats of ``dtype``."""
    return _flip_negative(keys).view(dtype)


def bits(array: Array) -> Array:
    """The bits of floats, as signed integers; ``array.view(dtype)`` is the inverse."""
    return array.view(np.dtype(f"int{8 * array.dtype.itemsize}"))


def where(condition: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """``jnp.where`` of two arrays of one dtype, bit for bit."""
    return jnp.where(condition, bits(x), bits(y)).view(x.dtype)


def _flip_negative(integers: Array) -> Array:
    """Flips all bits but the sign of negative integers; its own inverse."""
    dtype = integers.dtype
    return integers ^ ((integers >> (8 * dtype.itemsize - 1)) & np.iinfo(dtype).max)
