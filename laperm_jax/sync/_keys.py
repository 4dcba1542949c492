"""Order keys: integers that sort as the floats do.

Every implementation compares integers, not floats: XLA flushes subnormal numbers to zero on some backends, where a sort
of floats would rank them differently.
"""

import jax
import jax.numpy as jnp
from jax import lax


def order_keys(weights: jax.Array) -> jax.Array:
    """Signed integers in the order of the floats; -0 and +0 have the same key.

    Floats are sign and magnitude: a negative one's bits are ``iinfo.min + magnitude``, and its key is ``-magnitude``.
    """
    dtype = jnp.dtype(f"int{8 * weights.dtype.itemsize}")
    bits = lax.bitcast_convert_type(weights, dtype)
    return jnp.where(bits < 0, jnp.iinfo(dtype).min - bits, bits)
