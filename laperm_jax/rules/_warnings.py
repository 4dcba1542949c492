"""Warnings about rules that do not fit the parameters they are given."""

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from laperm_jax._paths import PyTree, leaf_dtype, leaves_by_path, names
from laperm_jax.rules._equinox import equinox_layer_axes
from laperm_jax.rules._fan_in import FanInRule, all_fan_in, matrix_fan_in, vector_axes
from laperm_jax.sync._vectors import Axes


def warn_about_rule(rule: FanInRule | Mapping[str, Axes], params: PyTree) -> None:
    """Warns if a rule treats no leaf of a tree that has matrices, or takes the wrong axis of an Equinox layer.

    A dict is explicit, even an empty one, and never warned about. Called by ``init``: the warning points at its caller.
    """
    if isinstance(rule, Mapping):
        return
    axes, name = vector_axes(rule, params), _rule_name(rule)
    warn_if_untreated(name, axes, leaves_by_path(params), stacklevel=5)
    expected = equinox_layer_axes(params) if rule in (matrix_fan_in, all_fan_in) else {}
    if wrong := [path for path in axes if expected.get(path) and axes[path] != expected[path]]:
        warnings.warn(
            f"{name} takes the last axis of {_some(wrong)} for the output axis, but in Equinox's layers it is the "
            "first: pass fan_in_axes=laperm_jax.equinox_fan_in",
            stacklevel=4,
        )


def warn_if_untreated(name: str, axes: Mapping[str, Axes], params: Mapping[str, Any], *, stacklevel: int = 3) -> None:
    """Warns if ``axes`` is empty and ``params``, both by path, have floating-point matrices."""
    is_matrix = lambda path: jnp.ndim(params[path]) >= 2 and jnp.issubdtype(leaf_dtype(path, params[path]), jnp.inexact)
    matrices = [path for path in params if is_matrix(path)]
    if matrices and not axes:
        warnings.warn(
            f"{name} treats no leaf of these parameters, so nothing will be reordered. Their matrices are "
            f"{_some(matrices)}. Pass the rule of your framework as fan_in_axes (flax_fan_in, nnx_fan_in, "
            "equinox_fan_in, matrix_fan_in) or a dict {path: axes}; laperm_jax.tabulate shows what a rule treats.",
            stacklevel=stacklevel,
        )


def _rule_name(rule: Any) -> str:
    while isinstance(rule, functools.partial):
        rule = rule.func
    return getattr(rule, "__name__", type(rule).__name__)


def _some(paths: list[str]) -> str:
    return names(paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
