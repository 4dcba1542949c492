"""Initial kernels from words: ``he_uniform``, ``normal:0.05``, ``levels:2:0.05``, and the shares of weights kept."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer

from laperm_jax.initializers import FAN_IN_SCALED, Recipe
from laperm_jax.lab.config import ConfigError

_FIRST_LAYER_KEEP = 0.8
_SMALLEST, _LARGEST = 1e-30, 1e30


class Number(NamedTuple):
    """A number after the word of ``--init``.

    Attributes:
      meaning: what it is.
      signed: whether it may be negative.
      is_size: whether it is one of weights, whose draws have to be finite and different from zero in float32; the
        initializer says what other numbers may be.
    """

    meaning: str
    signed: bool = False
    is_size: bool = True


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
    "levels": Word("levels", (Number("number of levels", is_size=False),), (_STD,)),
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
        if number.is_size and not _SMALLEST <= (abs(value) if number.signed else value) <= _LARGEST:
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


class Draw(NamedTuple):
    """How Flax draws a kernel: a recipe, the data of the PRNG key, and the shape that the initializer is given."""

    recipe: Recipe
    key_data: jax.Array
    shape: tuple[int, ...]


def recording(recipe: Recipe) -> Initializer:
    """Makes an initializer of zeros, whose kernels carry their :class:`Draw` as the metadata ``draw``."""

    def init(key: jax.Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Any:
        draw = Draw(recipe, jax.random.key_data(key), tuple(shape))
        return nnx.VariableMetadata(jnp.zeros(shape, dtype, out_sharding=out_sharding), metadata={"draw": draw})

    return init


def recorded_draws(model: nnx.Module) -> dict[str, tuple[Draw, tuple[int, ...]]]:
    """Path of each kernel of a network that was built with :func:`recording`, to its draw and its own shape."""
    parameters = nnx.to_flat_state(nnx.state(model, nnx.Param))
    metadata = {"/".join(map(str, path)): (parameter.get_metadata(), parameter.shape) for path, parameter in parameters}
    return {path: (fields["draw"], shape) for path, (fields, shape) in metadata.items() if "draw" in fields}


def _usage() -> str:
    """Every word with its numbers, those that may be left out in brackets."""
    return ", ".join(
        name + ":NUMBER" * len(word.needed) + "[:NUMBER]" * len(word.optional) for name, word in WORDS.items()
    )
