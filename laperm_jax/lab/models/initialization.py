"""Initial kernels from words: ``he_uniform``, ``normal:0.05``, ``levels:2:0.05``, and the shares of weights kept."""

from collections.abc import Sequence
from typing import NamedTuple

from laperm_jax.initializers import FAN_IN_SCALED, Recipe
from laperm_jax.lab.config import ConfigError

_FIRST_LAYER_KEEP = 0.8
_SMALLEST, _LARGEST = 1e-30, 1e30  # float32 draws stay finite and different from zero


class Number(NamedTuple):
    """A number after the word of ``--init``: what it is, and whether it may be negative."""

    meaning: str
    signed: bool = False


class Word(NamedTuple):
    """A word of ``--init``.

    Attributes:
      initializer: its name in ``laperm_jax.initializers.INITIALIZERS``.
      needed: the numbers that have to be given.
      optional: the numbers that may follow.
    """

    initializer: str
    needed: tuple[Number, ...] = ()
    optional: tuple[Number, ...] = ()


_STD, _MAGNITUDE = Number("standard deviation"), Number("largest magnitude")
WORDS = {name: Word(name) for name in FAN_IN_SCALED} | {
    "orthogonal": Word("orthogonal", optional=(Number("gain"),)),
    "normal": Word("normal", (_STD,)),
    "truncated_normal": Word("truncated_normal", (_STD,)),  # before truncation at two of them
    "uniform": Word("symmetric_uniform", (_MAGNITUDE,)),
    "equidistant": Word("equidistant", (_MAGNITUDE,)),
    "levels": Word("levels", (Number("number of levels"),), (_STD,)),
    "shared": Word("shared_value", (Number("magnitude of the shared value", signed=True),)),
}


def parse(text: str) -> Recipe:
    """Reads ``name``, ``name:number`` or ``name:number:number``; the recipe has no key.

    Raises:
      ConfigError: if the name is unknown, or a number is missing, superfluous, malformed or out of range.

    Example:
      >>> import jax
      >>> from laperm_jax.lab.models import initialization
      >>> initialization.parse("shared:0.5").make()(jax.random.key(0), (2,)).tolist()
      [0.5, 0.5]
    """
    name, *texts = text.split(":")
    word = WORDS.get(name, Word("unknown"))
    numbers = word.needed + word.optional
    try:
        if name not in WORDS or not len(word.needed) <= len(texts) <= len(numbers):
            raise ValueError
        args = tuple(map(float, texts))
    except ValueError:
        raise ConfigError(f"--init is {text}; there are {_usage()}") from None
    for number, value in zip(numbers, args, strict=False):
        if not _SMALLEST <= (abs(value) if number.signed else value) <= _LARGEST:
            raise ConfigError(f"--init is {text}; the {number.meaning} must be from {_SMALLEST:g} to {_LARGEST:g}")
    recipe = Recipe(word.initializer, args)
    try:
        recipe.make()
    except ValueError as error:
        raise ConfigError(f"--init is {text}; {error}") from None
    return recipe


def kernel_recipes(text: str, keep: Sequence[float], kernels: int, *, rescale: bool = False) -> list[Recipe]:
    """One recipe for each kernel of a network, in its order, without keys.

    A single ``keep`` below 1 leaves the first layer 0.8 or more of its weights, as the paper's sparse runs do; its
    shared-value runs do not, and neither does a ``keep`` given for each kernel.

    Args:
      text: how kernels are drawn, see :func:`parse`.
      keep: share of weights that are not set to zero: one for all kernels, or one for each.
      kernels: number of kernels.
      rescale: whether kept weights are multiplied by ``keep**-0.5``.

    Raises:
      ConfigError: if ``keep`` has neither one number nor one for each kernel, and as :func:`parse`.
    """
    if len(keep) not in (1, kernels):
        raise ConfigError(f"--keep has {len(keep)} numbers; give one, or one for each of the {kernels} kernels")
    shares = list(keep) * kernels if len(keep) == 1 else list(keep)
    if len(keep) == 1 and not text.startswith("shared:"):
        shares[0] = max(shares[0], _FIRST_LAYER_KEEP)
    return [parse(text)._replace(keep=share, rescale=rescale and share < 1) for share in shares]


def _usage() -> str:
    """Every word with its numbers, those that may be left out in brackets."""
    return ", ".join(
        name + ":NUMBER" * len(word.needed) + "[:NUMBER]" * len(word.optional) for name, word in WORDS.items()
    )
