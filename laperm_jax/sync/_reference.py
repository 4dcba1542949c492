"""The reference implementation: one stable argsort and one scatter for each vector."""

import jax
import jax.numpy as jnp

from laperm_jax.sync._keys import order_keys
from laperm_jax.sync._vectors import Axes, over_vectors


def place(weights: jax.Array, sorted_init: jax.Array, token: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """Places the sorted initial values by the ranks of the weights; ``token`` is returned as it is."""

    def place_vector(vector: jax.Array, values: jax.Array) -> jax.Array:
        order = jnp.argsort(order_keys(vector))  # (fan_in,), order[r] is the position of rank r
        return jnp.where(jnp.isfinite(vector).all(), scatter(order, values), vector)

    return over_vectors(place_vector, axes, weights, sorted_init), token


def sort(weights: jax.Array, token: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """Sorts every vector ascending; ``token`` is returned as it is."""
    return over_vectors(lambda vector: vector[jnp.argsort(order_keys(vector))], axes, weights), token


def scatter(order: jax.Array, values: jax.Array) -> jax.Array:
    """Returns the array ``result`` with ``result[order] = values``, where ``order`` is a permutation."""
    return jnp.zeros_like(values).at[order].set(values, unique_indices=True, mode="promise_in_bounds")
