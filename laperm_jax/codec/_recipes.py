"""Recipes in a file: fields with bounds, and what drawing them costs."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from laperm_jax.codec._fields import MAX_NDIM, boolean, integers, number, one_of, shown, text
from laperm_jax.initializers import INITIALIZERS, Recipe

MAX_WORK = 2**40  # multiplications of all orthogonal draws: minutes
MAX_PROGRAMS = 512  # different draws that XLA compiles: minutes
_MAX_ARGS = 8
_MAX_KEY = 16  # words of a PRNG key; JAX's have 2 or 4
_OPTIONAL = {"shape": (), "rescale": False}  # left out where they have these values


def to_json(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe as the header holds them."""
    fields = {name: _plain(value) for name, value in recipe._asdict().items()}
    return {name: value for name, value in fields.items() if name not in _OPTIONAL or value != _OPTIONAL[name]}


def from_json(fields: Any, size: int) -> Recipe:
    """Reads the recipe of an array with ``size`` elements.

    Raises:
      ValueError: if a field is unknown, of another type, or out of bounds, or the recipe's shape has another size.
    """
    if not isinstance(fields, dict) or not fields.keys() <= set(Recipe._fields):
        raise ValueError(f"{shown(fields)} is not a recipe with the fields {', '.join(Recipe._fields)}")
    keep = number(fields.get("keep", 1.0))
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be greater than 0 and at most 1, not {keep}")
    if not isinstance(args := fields.get("args", []), list | tuple) or len(args) > _MAX_ARGS:
        raise ValueError(f"{shown(args)} is not a list of at most {_MAX_ARGS} arguments")
    shape = integers(fields.get("shape", []), MAX_NDIM)
    if shape and math.prod(shape) != size:
        raise ValueError(f"the shape {shape} of the recipe has another size than its array")
    return Recipe(
        one_of(fields.get("initializer"), tuple(INITIALIZERS)),
        tuple(map(_argument, args)),
        keep,
        integers(fields.get("key", []), _MAX_KEY, limit=2**32),
        text(fields.get("impl", "threefry2x32"), 32),
        shape,
        boolean(fields.get("rescale", False)),
    )


def check_work(draws: Iterable[tuple[Recipe, int]]) -> None:
    """Checks that drawing recipes, each with the size of its array, takes minutes at most.

    The time of an initializer is proportional to the size, except for ``orthogonal``, which is cubic in the side of a
    square matrix. Each different draw is compiled, too.

    Raises:
      ValueError: saying what is too much.
    """
    work, programs = 0, set()
    for recipe, size in draws:
        programs.add((recipe._replace(key=()), size))
        if recipe.initializer == "orthogonal":
            work += size * math.isqrt(size)
    if work > MAX_WORK:
        raise ValueError(f"drawing orthogonal matrices takes {work:,} multiplications; {MAX_WORK:,} are allowed")
    if len(programs) > MAX_PROGRAMS:
        raise ValueError(f"{len(programs):,} different draws have to be compiled; {MAX_PROGRAMS:,} are allowed")


def _plain(value: Any) -> Any:
    """NumPy's and JAX's scalars as Python's, which JSON takes."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic | jax.Array) and not np.ndim(value) else value


def _argument(value: Any) -> Any:
    """An argument of an initializer: a number, None, a short text, or axes."""
    if value is None:
        return None
    if isinstance(value, str):
        return text(value, 32)
    if isinstance(value, list | tuple):
        return integers(value, MAX_NDIM, -MAX_NDIM, MAX_NDIM)
    return number(value)
