"""Argsort, and its inverse, by sorts of integers that do not depend on stability.

XLA makes a sort stable by one more operand on most platforms. Here equal keys are ordered by a second key instead. Two
16-bit integers share one of 32 bits: a sort of one operand is the fastest that a platform has.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from laperm_jax.sync._keys import bits, order_keys


def argsort(vector: jax.Array) -> jax.Array:
    """Argsort of a vector of floats; equal ones by position.

    Returns:
      Positions ``(fan_in,)``: uint16 for 16-bit floats if there are at most 65,536, else int32.
    """
    return sort_by_key(order_keys(vector), positions(vector))


def put(order: jax.Array, values: jax.Array) -> jax.Array:
    """Returns ``result`` with ``result[order] = values``, where ``order`` comes from :func:`argsort` of such values."""
    if order.dtype == jnp.uint16:
        order = (order ^ jnp.uint16(2**15)).view(jnp.int16)
    return sort_by_key(order, bits(values), distinct=True).view(values.dtype)


def positions(vector: jax.Array) -> jax.Array:
    """The position of each weight in a vector: uint16 for 16-bit floats if there are at most 65,536, else int32."""
    return lax.iota(jnp.uint16 if share_an_integer(vector.dtype, vector.size) else jnp.int32, vector.size)


def share_an_integer(dtype: np.dtype, fan_in: int) -> bool:
    """Whether the key of a float and its position in the vector have room in one integer of 32 bits."""
    return dtype.itemsize == 2 and fan_in <= 2**16


def sort_by_key(keys: jax.Array, payload: jax.Array, distinct: bool = False) -> jax.Array:
    """Returns the payload in the order of the keys; equal keys in the (unsigned) order of the payload.

    Args:
      keys: signed integers ``(fan_in,)``.
      payload: integers ``(fan_in,)``.
      distinct: says that no two keys are equal: XLA:TPU compiles the comparison of one key in half the time.
    """
    if keys.dtype.itemsize == payload.dtype.itemsize == 2:
        return unpack(lax.sort(pack(keys, payload), is_stable=False), payload.dtype)
    return lax.sort((keys, payload), num_keys=1 if distinct else 2, is_stable=False)[1]


def pack(keys: jax.Array, payload: jax.Array) -> jax.Array:
    """Signed integers of twice the width: keys in the high bits, the payload in the low ones."""
    width = 8 * keys.dtype.itemsize
    dtype = jnp.dtype(f"int{2 * width}")
    return (keys.astype(dtype) << jnp.array(width, dtype)) | payload.view(f"uint{width}").astype(dtype)


def unpack(packed: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """The payload of :func:`pack`, of the type it had."""
    dtype = jnp.dtype(dtype)
    return packed.astype(f"uint{8 * dtype.itemsize}").view(dtype)  # the high bits are cut off
