"""Initial kernels from words: ``he_uniform``, ``normal:0.05``, ``shared:0.08``, and the shares of weights kept."""

import contextlib
from collections.abc import Sequence

from laperm_jax.initializers import Recipe
from laperm_jax.lab.config import ConfigError

_FIRST_LAYER_KEEP = 0.8


NAMED = (
    *("he_uniform", "he_normal", "glorot_uniform", "glorot_normal", "lecun_uniform", "lecun_normal"),
    "orthogonal",
)
SCALED = {
    "normal": "normal",  # standard deviation
    "truncated_normal": "truncated_normal",  # standard deviation before truncation at two of them
    "uniform": "symmetric_uniform",  # largest magnitude
    "orthogonal": "orthogonal",  # gain
    "equidistant": "equidistant",  # largest magnitude
    "levels": "levels",  # how many values
    "shared": "shared_value",  # the one value
}


def parse(text: str) -> Recipe:
    """Reads ``name`` or ``name:number``; the recipe has no key.

    Raises:
      ConfigError: if there is no such name, or the number is missing, superfluous or none.

    Example:
      >>> import jax
      >>> from laperm_jax.lab.models import initialization
      >>> initialization.parse("shared:0.5").make()(jax.random.key(0), (2,)).tolist()
      [0.5, 0.5]
    """
    name, colon, number = text.partition(":")
    if name in (SCALED if colon else NAMED):
        with contextlib.suppress(ValueError):
            recipe = Recipe(SCALED[name], args=(float(number),)) if colon else Recipe(name)
            recipe.make()  # refuses what the initializer does not take
            return recipe
    names = (*NAMED, *(f"{name}:NUMBER" for name in SCALED))
    raise ConfigError(f"--init is {text}; there are {', '.join(names)}")


def kernel_recipes(text: str, keep: Sequence[float], kernels: int) -> list[Recipe]:
    """One recipe for each kernel of a network, in its order, without keys.

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
    return [parse(text)._replace(keep=share) for share in shares]
