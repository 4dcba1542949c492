"""Sparse, shared-value and other starts, in the form of ``jax.nn.initializers``, for a Flax layer's kernel."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers
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
    return _permuted(lambda fan_in, dtype: jnp.linspace(-limit, limit, fan_in, dtype=dtype))


def levels(number: float) -> Initializer:
    """Gives each weight vector a few evenly spaced values, each as often as the others, in random order.

    The values lie symmetrically around zero and have the variance of He's initialisation, 2 / fan-in; two levels are
    one magnitude with both signs. For hardware whose weights are fixed to few values.

    Args:
      number: how many values, 2 or more, a whole number.

    Returns:
      An initializer of kernels whose last axis numbers the output units.

    Raises:
      ValueError: for a number that is not whole, or less than 2.

    Example:
      >>> import jax
      >>> from laperm_jax.initializers import levels
      >>> kernel = levels(2)(jax.random.key(0), (8, 3))
      >>> jax.numpy.sort(kernel, axis=0)[:, 0].tolist()
      [-0.5, -0.5, -0.5, -0.5, 0.5, 0.5, 0.5, 0.5]
    """
    if number != int(number) or number < 2:
        raise ValueError(f"the number of levels must be a whole one, 2 or more, not {number}")

    def ascending(fan_in: int, dtype: Any) -> jax.Array:
        values = np.linspace(-1, 1, int(number))[np.arange(fan_in) * int(number) // fan_in]
        return jnp.asarray(values / values.std() * (2 / fan_in) ** 0.5, dtype)

    return _permuted(ascending)


def symmetric_uniform(limit: float) -> Initializer:
    """Draws from the uniform distribution between ``-limit`` and ``limit``.

    Args:
      limit: the largest magnitude.

    Returns:
      An initializer.

    Example:
      >>> import jax
      >>> from laperm_jax.initializers import symmetric_uniform
      >>> kernel = symmetric_uniform(2.0)(jax.random.key(0), (100, 100))
      >>> round(float(kernel.min()), 2), round(float(kernel.max()), 2)
      (-2.0, 2.0)
    """

    def init(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit, out_sharding=out_sharding)

    return init


def _permuted(values: Callable[[int, Any], jax.Array]) -> Initializer:
    """Gives each weight vector, in random order, the values ``(fan_in,)`` of a function of fan-in and dtype."""

    def init(key: jax.Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        fan_in, vectors = math.prod(shape[:-1]), shape[-1]
        columns = jnp.broadcast_to(values(fan_in, dtype)[:, None], (fan_in, vectors))
        kernel = jax.random.permutation(key, columns, independent=True).reshape(shape)
        return kernel if out_sharding is None else jax.lax.with_sharding_constraint(kernel, out_sharding)

    return init


INITIALIZERS = {
    name: getattr(initializers, name)
    for name in (
        *(f"{family}_{kind}" for family in ("glorot", "he", "lecun") for kind in ("normal", "uniform")),
        *("constant", "normal", "orthogonal", "truncated_normal", "uniform", "variance_scaling"),
    )
} | {init.__name__: init for init in (equidistant, levels, shared_value, symmetric_uniform)}


class Recipe(NamedTuple):
    """How an array is drawn, bit for bit, in words and numbers.

    Attributes:
      initializer: one of ``INITIALIZERS``, the names of ``jax.nn.initializers`` and of this module.
      args: its arguments, by position.
      keep: probability that a weight is not zero, as of :func:`sparse`.
      key: the PRNG key's data, as ``jax.random.key_data`` gives them.
      impl: the PRNG's implementation.
      shape: that the array is drawn in, if it is another: Flax draws kernels of attention as matrices.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from laperm_jax.initializers import Recipe
      >>> key = jax.random.key(7)
      >>> recipe = Recipe("normal", args=(0.05,), key=tuple(jax.random.key_data(key).tolist()))
      >>> drawn = jax.jit(lambda key: jax.nn.initializers.normal(0.05)(key, (3, 2), jnp.float32))(key)
      >>> bool((recipe.draw((3, 2), jnp.float32) == drawn).all())
      True
    """

    initializer: str
    args: tuple[Any, ...] = ()
    keep: float = 1.0
    key: tuple[int, ...] = ()
    impl: str = "threefry2x32"
    shape: tuple[int, ...] = ()

    def make(self) -> Initializer:
        """The initializer.

        Raises:
          ValueError: for an unknown name, or arguments that it does not take.
        """
        if self.initializer not in INITIALIZERS:
            raise ValueError(f"there is no initializer {self.initializer!r}; there are {', '.join(INITIALIZERS)}")
        try:
            initializer = INITIALIZERS[self.initializer](*self.args)
            return initializer if self.keep == 1 else sparse(initializer, self.keep)
        except TypeError as error:
            raise ValueError(f"{self.initializer} does not take the arguments {self.args}: {error}") from None

    def draw(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Draws the array, compiled by XLA: a draw that is not compiled may differ by rounding.

        Raises:
          ValueError: as :meth:`make`, and for what the initializer or the PRNG refuses.
        """
        self.make()
        try:
            drawn = _draw(np.asarray(self.key, np.uint32), self._replace(key=()), self.shape or shape, dtype)
            return np.asarray(drawn).reshape(shape)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"{self} cannot be drawn: {error}") from None


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _draw(key_data: jax.Array, recipe: Recipe, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return recipe.make()(jax.random.wrap_key_data(key_data, impl=recipe.impl), shape, dtype)
