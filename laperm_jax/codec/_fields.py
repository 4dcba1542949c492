"""Checks of single values that a file's header holds: any JSON may stand where a number or a text is expected."""

from typing import Any

MAX_SIZE = 2**48  # bytes, axes, lags
MAX_NDIM = 32


def integer(value: Any, least: int = 0, limit: int = MAX_SIZE) -> int:
    """Returns an integer of at least ``least`` and less than ``limit``; refuses bools and floats with ValueError."""
    if type(value) is not int or not least <= value < limit:
        raise ValueError(f"{shown(value)} is not an integer from {least:,} to {limit - 1:,}")
    return value


def integers(value: Any, longest: int, least: int = 0, limit: int = MAX_SIZE) -> tuple[int, ...]:
    """Returns a list of such integers as a tuple; raises ValueError if it is longer than ``longest``, or no list."""
    if not isinstance(value, list | tuple) or len(value) > longest:
        raise ValueError(f"{shown(value)} is not a list of at most {longest} integers")
    return tuple(integer(item, least, limit) for item in value)


def number(value: Any) -> int | float:
    """Returns a finite number, at most 1e300 in magnitude; bools are refused with ValueError."""
    if type(value) not in (int, float) or not -1e300 <= value <= 1e300:
        raise ValueError(f"{shown(value)} is not a finite number")
    return value


def boolean(value: Any) -> bool:
    """Returns true or false; raises ValueError for anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false")
    return value


def text(value: Any, longest: int = 2**16) -> str:
    """Returns a text that can be printed on one line; raises ValueError for anything else."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > longest:
        raise ValueError(f"{shown(value)} is not a printable text of at most {longest:,} characters")
    return value


def one_of(value: Any, allowed: tuple[str, ...]) -> str:
    """Returns one of the names that are allowed; raises ValueError for anything else."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{shown(value)} is not one of {', '.join(allowed)}")
    return value


def shown(value: Any) -> str:
    """A value as a message shows it: short, whatever it is."""
    try:
        content = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a huge number"
    return content if len(content) <= 60 else content[:60] + "..."
