"""One computation after another, so that they share temporary memory."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from laperm_jax.sync._devices import is_on_one_device
from laperm_jax.sync._keys import bits

Tree = TypeVar("Tree")


def first_token() -> jax.Array:
    """The token of the first call of :func:`in_turn`: int32 scalar, 0."""
    return jax.device_put(np.int32(0))  # explicit, so that a transfer guard lets it pass


def in_turn(function: Callable[[Tree], Tree], token: jax.Array, arrays: Tree) -> tuple[Tree, jax.Array]:
    """Applies a function on XLA:CPU after ``token`` is computed.

    XLA:CPU may run independent computations concurrently, so it gives each its own memory. A condition that always
    holds, which the compiler does not know, puts a whole computation behind the one before it. Other platforms, and
    eager calls, have an order without it.

    Args:
      function: takes a tree of arrays and returns a tree of the same shapes and dtypes.
      token: int32 scalar, 0: of :func:`first_token`, or of the call that is to come first.
      arrays: its argument.

    Returns:
      The result, and a token for the next call.
    """
    leaves = jax.tree.leaves(arrays)
    traced = all(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
    if not (traced and all(map(is_on_one_device, leaves)) and leaves[0].size):
        return function(arrays), token

    def run(arrays: Tree) -> tuple[Tree, jax.Array]:
        result = function(arrays)
        return result, _next_token(result)

    skip = lambda arrays: (arrays, _next_token(arrays))
    gated = lambda token, arrays: lax.cond(token == 0, run, skip, arrays)
    return lax.platform_dependent(token, arrays, cpu=gated, default=lambda token, arrays: run(arrays))


def _next_token(arrays: Tree) -> jax.Array:
    """A zero that is computed from the first element of the first array."""
    first = jax.tree.leaves(arrays)[0]
    element = lax.slice(bits(first), [0] * first.ndim, [1] * first.ndim).reshape(())
    return jnp.minimum(lax.population_count(element).astype(jnp.int32), 0)
