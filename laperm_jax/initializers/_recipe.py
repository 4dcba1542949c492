"""Recipes: how an array of initial weights is drawn, bit for bit, in words and numbers."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.nn import initializers
from jax.nn.initializers import Initializer

from laperm_jax.initializers._spaced import equidistant, levels, symmetric_uniform
from laperm_jax.initializers._sparse import shared_value, sparse

FAN_IN_SCALED = tuple(f"{family}_{kind}" for family in ("he", "glorot", "lecun") for kind in ("uniform", "normal"))
"""Names of the initializers whose scale depends on the fan-in; they take no arguments."""

INITIALIZERS: dict[str, Callable[..., Initializer]] = {
    name: getattr(initializers, name)
    for name in (
        *sorted(FAN_IN_SCALED),
        *("constant", "normal", "orthogonal", "truncated_normal", "uniform", "variance_scaling"),
    )
} | {init.__name__: init for init in (equidistant, levels, shared_value, symmetric_uniform)}
"""Name of each initializer that a recipe may have, to the function that makes it."""


class Recipe(NamedTuple):
    """How an array is drawn, bit for bit, in words and numbers.

    Attributes:
      initializer: one of ``INITIALIZERS``, the names of ``jax.nn.initializers`` and of this module.
      args: its arguments, by position.
      keep: probability that a weight is not zero, see :func:`sparse`.
      key: the data of the PRNG key, see ``jax.random.key_data``.
      impl: the PRNG's implementation.
      shape: shape that the array is drawn in, if it is another: Flax draws kernels of attention as matrices.
      rescale: whether kept weights are multiplied by ``keep**-0.5``, see :func:`sparse`.

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
    rescale: bool = False

    def make(self) -> Initializer:
        """Makes the initializer.

        Returns:
          A function of ``(key, shape, dtype)``.

        Raises:
          ValueError: if a field has another type, the name is unknown, or the initializer does not take the arguments.
        """
        for name, value in (("args", self.args), ("shape", self.shape)):
            if not isinstance(value, tuple):
                raise ValueError(f"{name} must be a tuple, not {value!r}")
        if not isinstance(self.rescale, bool | np.bool_):
            raise ValueError(f"rescale must be True or False, not {self.rescale!r}")
        if not isinstance(self.initializer, str) or self.initializer not in INITIALIZERS:
            raise ValueError(f"there is no initializer {self.initializer!r}; there are {', '.join(INITIALIZERS)}")
        try:
            initializer = INITIALIZERS[self.initializer](*self.args)
        except TypeError as error:
            raise ValueError(f"{self.initializer} does not take the arguments {self.args}: {error}") from None
        return initializer if self.keep == 1 else sparse(initializer, self.keep, self.rescale)

    def draw(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Draws the array with a compiled program: a draw that is not compiled may differ by rounding.

        Args:
          shape: shape of the array.
          dtype: its dtype.

        Returns:
          The array, in memory of the host.

        Raises:
          ValueError: if the recipe is invalid (see :meth:`make`), its own shape has another size, or the initializer or
            the PRNG refuses it.
        """
        self.make()
        try:
            if self.shape and math.prod(self.shape) != math.prod(shape):
                raise ValueError(f"its shape {self.shape} has another size than {tuple(shape)}")
            key, fixed = np.asarray(self.key, np.uint32), self._replace(key=())
            hash(fixed)  # a list among the arguments
            return np.asarray(_draw(key, fixed, tuple(self.shape or shape), dtype)).reshape(shape)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"{self} cannot be drawn: {error}") from None


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _draw(key_data: jax.Array, recipe: Recipe, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return recipe.make()(jax.random.wrap_key_data(key_data, impl=recipe.impl), shape, dtype)
