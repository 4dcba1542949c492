"""The reference implementation: one stable argsort and one scatter for each vector."""

import jax
import jax.numpy as jnp

from laperm_jax.sync import _sorting
from laperm_jax.sync._keys import bits, order_keys, where
from laperm_jax.sync._vectors import Axes, over_vectors


def place(weights: jax.Array, sorted_init: jax.Array, axes: Axes) -> jax.Array:
    """Places the sorted initial values by the ranks of the weights."""

    def place_vector(vector: jax.Array, values: jax.Array) -> jax.Array:
        return where(jnp.isfinite(vector).all(), scatter(_argsort(vector), values), vector)

    return over_vectors(place_vector, axes, weights, sorted_init)


def sort(weights: jax.Array, axes: Axes) -> jax.Array:
    """Sorts every vector ascending."""
    return over_vectors(lambda vector: bits(vector)[_argsort(vector)].view(vector.dtype), axes, weights)


def scatter(order: jax.Array, values: jax.Array) -> jax.Array:
    """Returns ``result`` with ``result[order] = values``, where ``order`` is a permutation."""
    result = jnp.zeros_like(bits(values)).at[order].set(bits(values), unique_indices=True, mode="promise_in_bounds")
    return result.view(values.dtype)


def _argsort(vector: jax.Array) -> jax.Array:
    """Stable argsort ``(fan_in,)``, in a form that XLA:GPU hands to CUB: one operand, or one key and a payload."""
    if vector.dtype.itemsize == 2:
        return _sorting.argsort(vector).astype(jnp.int32)
    return jnp.argsort(order_keys(vector))
