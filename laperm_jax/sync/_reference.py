"""The reference implementation: one stable argsort and one scatter for each vector."""

import jax
import jax.numpy as jnp

from laperm_jax.sync._keys import order_keys
from laperm_jax.sync._vectors import Axes, over_vectors


def place_by_argsort(
    weights: jax.Array, sorted_init: jax.Array, after: jax.Array, axes: Axes
) -> tuple[jax.Array, jax.Array]:
    """The reference: one stable argsort and one scatter. It waits for nothing: ``after`` comes back as it is."""

    def place_vector(vector: jax.Array, values: jax.Array) -> jax.Array:
        order = jnp.argsort(order_keys(vector))  # (fan_in,), order[r] is the place of rank r
        return jnp.where(jnp.isfinite(vector).all(), scatter(order, values), vector)

    return over_vectors(place_vector, axes, weights, sorted_init), after


def sort_by_argsort(weights: jax.Array, after: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """The reference for :func:`sort`."""
    return over_vectors(lambda vector: vector[jnp.argsort(order_keys(vector))], axes, weights), after


def scatter(order: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.zeros_like(values).at[order].set(values, unique_indices=True, mode="promise_in_bounds")
