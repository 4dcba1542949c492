"""Types of settings that carry their range, and the check of a value against its type."""

import math
import numbers
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MinLen

Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Steps = Annotated[int, Interval(ge=1, le=2**31 - 1)]  # int32 on the device
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
Positive = Annotated[float, Interval(gt=0, le=1e30)]  # finite in float32, like what is multiplied by it
NotNegative = Annotated[float, Interval(ge=0, le=1e30)]
Noise = Annotated[float, Interval(ge=0, le=1000)]  # far beyond what leaves anything of an order
Share = Annotated[float, Interval(gt=0, le=1)]
Shares = Annotated[tuple[Share, ...], MinLen(1)]
Counts = Annotated[tuple[Count, ...], MinLen(1)]


_KINDS: dict[Any, tuple[Any, str]] = {
    bool: (bool, "true or false"),
    str: (str, "a text"),
    int: (numbers.Integral, "an integer"),
    float: (numbers.Real, "a number"),
    Path: (Path, "a path"),
}


def violation(type_: Any, value: Any) -> str | None:
    """Says how a value violates its type: the type itself, a choice of names, a range, or the least length of a tuple.

    Args:
      type_: a type; ``Literal``, ``Annotated`` with annotated-types, optional types and tuples of these are checked.
      value: the value.

    Returns:
      The end of a sentence that begins with the name of the setting; None if the value is allowed.

    Example:
      >>> from laperm_jax.lab.config.ranges import Count, violation
      >>> violation(tuple[Count, ...], (16, 0))
      'is 0; it must be 1 or more'
      >>> violation(Count | None, None)
      >>> violation(bool, "yes")
      'is yes; it must be true or false'
    """
    arguments = typing.get_args(type_)
    match typing.get_origin(type_):
        case typing.Literal:
            return None if value in arguments else f"is {value}; there are {', '.join(map(str, arguments))}"
        case types.UnionType | typing.Union:
            if value is None:
                return None
            (type_,) = (argument for argument in arguments if argument is not types.NoneType)
            return violation(type_, value)
        case builtin if builtin is tuple:
            if not isinstance(value, tuple | list):
                return f"is {value}; it must be a list"
            return next(filter(None, (violation(arguments[0], item) for item in value)), None)
        case typing.Annotated:
            return violation(arguments[0], value) or _violation(*arguments, value=value)
    kind, name = _KINDS[type_]
    is_of_kind = isinstance(value, kind) and (type_ is bool or not isinstance(value, bool))
    return None if is_of_kind else f"is {value}; it must be {name}"


def _violation(type_: Any, *metadata: Any, value: Any) -> str | None:
    if any(isinstance(data, MinLen) and len(value) < data.min_length for data in metadata):
        return "needs at least one number"
    bounds = list(_bounds(metadata))
    if all(_within(bound, value) for bound in bounds):
        return None
    finite = " and finite" if value in (math.inf, -math.inf) else ""
    return f"is {value}; it must be {_words(bounds, 'greater' if type_ is float else 'more')}{finite}"


Bound = Gt | Ge | Lt | Le


def _bounds(metadata: Iterable[Any]) -> Iterable[Bound]:
    for data in metadata:
        if isinstance(data, GroupedMetadata):
            yield from _bounds(data)
        elif isinstance(data, Bound):
            yield data


def _within(bound: Bound, value: Any) -> bool:
    try:
        match bound:
            case Gt(limit):
                return value > limit
            case Ge(limit):
                return value >= limit
            case Lt(limit):
                return value < limit
            case Le(limit):
                return value <= limit
    except TypeError:  # no number
        return False


def _words(bounds: list[Bound], more: Literal["more", "greater"]) -> str:
    match bounds:
        case [Ge(low), Le(high)]:
            return f"from {low} to {high}"
        case [Gt(low), Le(high)]:
            return f"greater than {low} and at most {high}"
        case [Gt(low), *_]:
            return f"greater than {low}"
        case [Ge(low), *_]:
            return f"{low} or {more}"
    raise NotImplementedError(bounds)
