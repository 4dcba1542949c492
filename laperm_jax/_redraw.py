"""Initial weights drawn again at each sync instead of being kept: time for a model's worth of memory."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr

from laperm_jax._paths import leaves_by_path, names
from laperm_jax.sync._reconnect import DrawFn

RedrawFn = Callable[[], optax.Params]


class Redrawn(NamedTuple):
    """Stands in ``LaPermState.sorted_init`` for the values of a leaf that are drawn again; a tree without leaves."""


def is_redrawn(node: Any) -> bool:
    """Tells whether a node of ``sorted_init`` stands for values that are drawn again."""
    return isinstance(node, Redrawn)


def draw_functions(redraw: RedrawFn | None, weights: Mapping[str, Any]) -> dict[str, DrawFn]:
    """Returns a function for each path of ``weights`` that draws its initial value, unsorted, again.

    Its argument is an int32 scalar, 0, and makes it wait for what that scalar is computed from. Within jit each leaf is
    drawn by a program of its own, cut out of that of ``redraw``: drawn together, all would be in memory at once.

    Raises:
      ValueError: if there are any and ``redraw`` is None, or does not return them.
    """
    if not weights:
        return {}
    if redraw is None:
        raise ValueError(
            f"the state keeps no initial values of {names(weights)}: use the transform it was made by, with its redraw"
        )
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in weights.values()):
        drawn = leaves_by_path(redraw())
        _check_paths(weights, drawn)
        return {path: lambda after, path=path: drawn[path] for path in weights}  # type: ignore[misc]
    program, tree = jax.make_jaxpr(redraw, return_shape=True)()
    leaves = leaves_by_path(tree)
    _check_paths(weights, leaves)
    return {path: _draw_function(program, number) for number, path in enumerate(leaves) if path in weights}


def _draw_function(program: ClosedJaxpr, number: int) -> DrawFn:
    jaxpr, _ = dce_jaxpr(program.jaxpr, [output == number for output in range(len(program.out_avals))])
    draw = jaxpr_as_fun(ClosedJaxpr(jaxpr, program.consts))
    aval = program.out_avals[number]
    # A condition that always holds, which the compiler does not know: what it is computed from has to be there first.
    return lambda after: lax.cond(after == 0, lambda: draw()[0], lambda: jnp.zeros(aval.shape, aval.dtype))


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
        if not isinstance(same, jax.core.Tracer) and not same:
            raise ValueError(
                f"redraw() returns another {path} than params hold: it must give the same bits again. (A random draw "
                "may differ by rounding once it is compiled: make params by jax.jit(redraw)().)"
            )


def _check_paths(needed: Collection[str], drawn: Mapping[str, Any]) -> None:
    if missing := [path for path in needed if path not in drawn]:
        raise ValueError(f"redraw() returns no {names(missing)}; it returns {names(drawn)}")
