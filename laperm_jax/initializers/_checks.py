"""Checks of the numbers and dtypes that initializers are given."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np


def real(name: str, value: Any, finite: bool = True) -> float:
    """Returns a number as a float.

    Raises:
      TypeError: if the value is not a real number.
      ValueError: if it is NaN or infinite, and must be ``finite``.
    """
    try:
        if isinstance(value, str | bytes):  # which float() would read
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name} must be a real number, not {value!r}") from error
    if finite and not math.isfinite(number):
        raise ValueError(f"{name} must be finite, not {value}")
    return number


def positive(name: str, value: Any) -> float:
    """Like :func:`real`, and refuses zero and negative numbers, too."""
    number = real(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be greater than 0, not {value}")
    return number


def check_in_range(name: str, value: float, dtype: Any) -> None:
    """Checks that the largest weight is finite in its dtype (``None``: JAX's default), and not rounded to zero.

    Raises:
      TypeError: if the dtype is not floating-point.
      ValueError: if the value is infinite or zero in it.
    """
    dtype = jnp.dtype(dtype or float)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"the dtype of initial weights must be floating-point, not {dtype}")
    if abs(value) > float(jnp.finfo(dtype).max):
        raise ValueError(f"{name} {value} is infinite in {dtype}")
    if value and not np.asarray(value).astype(dtype):
        raise ValueError(f"{name} {value} is zero in {dtype}")
