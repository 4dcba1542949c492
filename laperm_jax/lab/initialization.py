"""Initial kernels from words: ``he_uniform``, ``normal:0.05``, ``shared:0.08``, and the shares of weights kept."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.nn.initializers import Initializer

from laperm_jax.initializers import equidistant, shared_value, sparse
from laperm_jax.lab.config import ConfigError

_FIRST_LAYER_KEEP = 0.8


def _symmetric_uniform(limit: float) -> Initializer:
    def init(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit, out_sharding=out_sharding)

    return init


NAMED: dict[str, Callable[[], Initializer]] = {
    "he_uniform": initializers.he_uniform,
    "he_normal": initializers.he_normal,
    "glorot_uniform": initializers.glorot_uniform,
    "glorot_normal": initializers.glorot_normal,
    "lecun_uniform": initializers.lecun_uniform,
    "lecun_normal": initializers.lecun_normal,
    "orthogonal": initializers.orthogonal,
}
SCALED: dict[str, Callable[[float], Initializer]] = {
    "normal": initializers.normal,  # standard deviation
    "truncated_normal": initializers.truncated_normal,  # standard deviation before truncation at two of them
    "uniform": _symmetric_uniform,  # largest magnitude
    "orthogonal": initializers.orthogonal,  # gain
    "equidistant": equidistant,  # largest magnitude
    "shared": shared_value,  # the one value
}


def parse(text: str) -> Initializer:
    """Makes an initializer from ``name`` or ``name:number``.

    Raises:
      ConfigError: if there is no such name, or the number is missing, superfluous or none.

    Example:
      >>> import jax
      >>> from laperm_jax.lab import initialization
      >>> initialization.parse("shared:0.5")(jax.random.key(0), (2,)).tolist()
      [0.5, 0.5]
    """
    name, colon, number = text.partition(":")
    try:
        return SCALED[name](float(number)) if colon else NAMED[name]()
    except (KeyError, ValueError):
        names = (*NAMED, *(f"{name}:NUMBER" for name in SCALED))
        raise ConfigError(f"--init is {text}; there are {', '.join(names)}") from None


def kernel_inits(text: str, keep: Sequence[float], kernels: int) -> list[Initializer]:
    """One initializer for each kernel of a network, in its order.

    A single ``keep`` below 1 leaves the first layer 0.8 or more of its weights, as the paper's sparse runs do; its
    shared-value runs do not, and neither does a ``keep`` given for each kernel.

    Raises:
      ConfigError: if ``keep`` has neither one number nor one for each kernel.
    """
    if len(keep) not in (1, kernels):
        raise ConfigError(f"--keep has {len(keep)} numbers; give one, or one for each of the {kernels} kernels")
    shares = list(keep) * kernels if len(keep) == 1 else list(keep)
    if len(keep) == 1 and not text.startswith("shared:"):
        shares[0] = max(shares[0], _FIRST_LAYER_KEEP)
    initializer = parse(text)
    return [initializer if share == 1 else sparse(initializer, share) for share in shares]
