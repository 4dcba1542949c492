"""Initial weights drawn again at each sync instead of kept: a model's worth of memory for the time of drawing it."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax._paths import PyTree, leaves_by_path, names

RedrawFn = Callable[[], PyTree]
DrawFn = Callable[[jax.Array], jax.Array]  # draws one leaf, after a token is computed


class Redrawn(NamedTuple):
    """Stands in ``LaPermState.sorted_init`` for the values of a leaf that are drawn again; a tree without leaves."""


def is_redrawn(node: Any) -> bool:
    """Tells whether a node of ``sorted_init`` means values that are drawn again."""
    return isinstance(node, Redrawn)


def draw_functions(redraw: RedrawFn | None, weights: Mapping[str, jax.typing.ArrayLike]) -> dict[str, DrawFn]:
    """Returns a function for each path of ``weights`` that draws its initial values, unsorted, again.

    Under ``jit`` each one draws all parameters and keeps its own, and XLA removes the rest. Outside they are drawn
    once, together.

    Raises:
      ValueError: if there are any and ``redraw`` is None, or does not return them.
    """
    if not weights:
        return {}
    if redraw is None:
        raise ValueError(
            f"the state keeps no initial values of {names(weights)}: use the transform it was made by, with its redraw"
        )
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in weights.values())
    again = redraw  # not None any more, in functions too
    drawn = leaves_by_path(jax.eval_shape(again) if traced else again())
    _check_paths(weights, drawn)

    def draw(path: str, token: jax.Array) -> jax.Array:
        if not traced:
            return drawn[path]
        # A condition that always holds, which the compiler does not know: the token has to be computed first.
        shape, dtype = drawn[path].shape, drawn[path].dtype
        return lax.cond(token == 0, lambda: leaves_by_path(again())[path], lambda: jnp.zeros(shape, dtype))

    return {path: lambda token, path=path: draw(path, token) for path in weights}  # type: ignore[misc]


def check_redraw(redraw: RedrawFn, params: Mapping[str, jax.typing.ArrayLike]) -> None:
    """Compares what is drawn with the parameters, bit for bit where values are concrete.

    Raises:
      ValueError: naming a leaf that differs, or is not drawn.
    """
    drawn = leaves_by_path(redraw())
    _check_paths(params, drawn)
    for path, leaf in params.items():
        shape, dtype = jnp.shape(leaf), jnp.result_type(leaf)
        if (drawn[path].shape, drawn[path].dtype) != (shape, dtype):
            raise ValueError(
                f"redraw() returns {path} as {drawn[path].dtype}{list(drawn[path].shape)}, and params hold "
                f"{dtype}{list(shape)}"
            )
        same = (drawn[path] == leaf).all()
        if not isinstance(same, jax.core.Tracer) and not jax.device_get(same):
            raise ValueError(
                f"redraw() returns another {path} than params hold: it must give the same bits again. (A random draw "
                "may differ by rounding once it is compiled: make params by jax.jit(redraw)().)"
            )


def _check_paths(needed: Collection[str], drawn: Mapping[str, Any]) -> None:
    if missing := [path for path in needed if path not in drawn]:
        raise ValueError(f"redraw() returns no {names(missing)}; it returns {names(drawn)}")
