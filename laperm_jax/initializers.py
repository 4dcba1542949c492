"""Sparse, shared-value and equidistant starts, in the form of ``jax.nn.initializers``, for a Flax layer's kernel."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer, constant


def sparse(initializer: Initializer, keep: float) -> Initializer:
    """Draws from ``initializer`` and keeps each weight with probability ``keep``; the others are zero.

    The zeros take part in the permutation: a sync moves connections (Qiu & Suda, 2020, sparse networks).

    Args:
      initializer: a function of ``(key, shape, dtype)``, such as ``jax.nn.initializers.he_uniform()``.
      keep: probability in (0, 1].

    Returns:
      An initializer.

    Raises:
      ValueError: if ``keep`` is not in (0, 1].

    Example:
      >>> import jax
      >>> from laperm_jax.initializers import sparse
      >>> kernel = sparse(jax.nn.initializers.he_uniform(), keep=0.25)(jax.random.key(0), (100, 100))
      >>> round(float((kernel != 0).mean()), 2)
      0.25
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be greater than 0 and at most 1, not {keep}")

    def init(key: jax.Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        value_key, mask_key = jax.random.split(key)
        # Flax calls initializers with three arguments, and not every initializer takes a sharding.
        sharding = {} if out_sharding is None else {"out_sharding": out_sharding}
        values = initializer(value_key, shape, dtype, **sharding)
        kept = jax.random.bernoulli(mask_key, keep, shape, **sharding)
        return jnp.where(kept, values, jnp.zeros_like(values))

    return init


def shared_value(value: float, keep: float = 1.0) -> Initializer:
    """Sets each weight to ``value`` with probability ``keep``, and to zero otherwise.

    The paper's weight agnostic networks: F1 has value 0.08 and keep 4/7.

    Args:
      value: the one value.
      keep: probability in (0, 1].

    Returns:
      An initializer.

    Raises:
      ValueError: if ``keep`` is not in (0, 1].

    Example:
      >>> import jax
      >>> from laperm_jax.initializers import shared_value
      >>> shared_value(0.5, keep=0.5)(jax.random.key(0), (8,)).tolist()
      [0.5, 0.5, 0.0, 0.5, 0.5, 0.5, 0.5, 0.0]
    """
    return sparse(constant(value), keep)


def equidistant(limit: float) -> Initializer:
    """Gives each weight vector evenly spaced values from ``-limit`` to ``limit``, in random order.

    All vectors then share one profile, a straight line (Cai, Chen & Qiao, arXiv 2407.01033, use such values).

    Args:
      limit: the largest value.

    Returns:
      An initializer of kernels whose last axis numbers the output units.

    Example:
      >>> import jax
      >>> from laperm_jax.initializers import equidistant
      >>> kernel = equidistant(1.0)(jax.random.key(0), (5, 3))
      >>> jax.numpy.sort(kernel, axis=0)[:, 0].tolist()
      [-1.0, -0.5, 0.0, 0.5, 1.0]
    """

    def init(key: jax.Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        fan_in, vectors = math.prod(shape[:-1]), shape[-1]
        values = jnp.broadcast_to(jnp.linspace(-limit, limit, fan_in, dtype=dtype)[:, None], (fan_in, vectors))
        kernel = jax.random.permutation(key, values, independent=True).reshape(shape)
        return kernel if out_sharding is None else jax.lax.with_sharding_constraint(kernel, out_sharding)

    return init
