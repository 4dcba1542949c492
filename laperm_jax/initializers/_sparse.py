"""Sparse initial weights: some are zero, and a sync moves the zeros like any other value."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer, constant

from laperm_jax.initializers._checks import check_in_range, real


def sparse(initializer: Initializer, keep: float, rescale: bool = False) -> Initializer:
    """Draws from ``initializer`` and keeps each weight with probability ``keep``; the others are zero.

    The zeros take part in the permutation: a sync moves connections (Qiu & Suda, 2020, sparse networks). With
    ``rescale`` the kept weights are multiplied by ``keep ** -0.5``, so that the variance of the kernel
    is that of ``initializer``.

    Args:
      initializer: a function of ``(key, shape, dtype)``, such as ``jax.nn.initializers.he_uniform()``.
      keep: probability in (0, 1].
      rescale: whether to restore the variance.

    Returns:
      An initializer.

    Raises:
      TypeError: if ``rescale`` is not a bool.
      ValueError: if ``keep`` is not in (0, 1]; by the initializer, outside ``jit``, if a rescaled weight is infinite in
        its dtype.

    Example:
      >>> import jax
      >>> from laperm_jax.initializers import sparse
      >>> kernel = sparse(jax.nn.initializers.he_uniform(), keep=0.25)(jax.random.key(0), (100, 100))
      >>> round(float((kernel != 0).mean()), 2)
      0.25
      >>> kernel = sparse(jax.nn.initializers.normal(1.0), keep=0.25, rescale=True)(jax.random.key(0), (100, 100))
      >>> round(float(kernel.std()), 1)
      1.0
    """
    _check_keep(keep)
    if not isinstance(rescale, bool | np.bool_):
        raise TypeError(f"rescale must be True or False, not {rescale!r}")

    def init(key: jax.Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        value_key, mask_key = jax.random.split(key)
        # Flax calls initializers with three arguments, and not every initializer takes a sharding.
        sharding = {} if out_sharding is None else {"out_sharding": out_sharding}
        values = initializer(value_key, shape, dtype, **sharding)
        if rescale:
            factor = float(keep) ** -0.5  # a NumPy scalar would change the dtype
            check_in_range("keep ** -0.5", factor, values.dtype)
            drawn, values = values, values * factor
            if not isinstance(values, jax.core.Tracer) and (jnp.isfinite(drawn) & ~jnp.isfinite(values)).any():
                raise ValueError(f"a weight times keep ** -0.5 is infinite in {values.dtype}")
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
      TypeError: if ``value`` is not a real number.
      ValueError: if ``value`` is not finite, or ``keep`` is not in (0, 1].

    Example:
      >>> import jax
      >>> from laperm_jax.initializers import shared_value
      >>> shared_value(0.5, keep=0.5)(jax.random.key(0), (8,)).tolist()
      [0.5, 0.5, 0.0, 0.5, 0.5, 0.5, 0.5, 0.0]
    """
    value = real("value", value)

    def init(key: jax.Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        check_in_range("value", value, dtype)
        return constant(value)(key, shape, dtype, out_sharding)

    return sparse(init, keep)


def _check_keep(keep: float) -> None:
    try:
        valid = bool(0 < keep <= 1)
    except (TypeError, ValueError):  # a complex number, a text; an array
        valid = False
    if not valid or isinstance(keep, bool | np.bool_):
        raise ValueError(f"keep must be greater than 0 and at most 1, not {keep}")
