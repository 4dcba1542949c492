"""Fan-in rules: which axes form a weight vector.

A weight vector is all incoming weights of one output unit (Qiu & Suda, 2020): a column of a dense kernel ``(in, out)``,
one filter of a convolution kernel ``(height, width, in, out)``. A fan-in rule takes the path of a leaf and the leaf and
returns the axes that make up one vector, ``(0,)`` and ``(0, 1, 2)`` in these examples, or ``None`` to leave the leaf to
the inner optimizer.
"""

import operator
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from laperm_jax._paths import PyTree, Rule, as_rule, check_paths, leaf_dtype, leaves_by_path
from laperm_jax.sync._vectors import Axes, canonical_axes

FanInRule = Rule[Axes]


def matrix_fan_in(path: str, leaf: jax.typing.ArrayLike) -> Axes | None:
    """Treats every leaf of rank 2 or more: one vector runs along all axes but the last.

    Right for trees whose matrices are all kernels with the output axis last. Attention biases ``(heads, head size)``,
    embeddings and stacked layers have rank 2 as well and are no such matrices: see :func:`flax_fan_in`.

    Args:
      path: path of the leaf, as in ``"block/conv/kernel"``; not looked at.
      leaf: the parameter, of any shape and dtype.

    Returns:
      The axes of one weight vector, or ``None`` for scalars and rank-1 leaves.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax import matrix_fan_in
      >>> matrix_fan_in("conv/kernel", jnp.zeros((3, 3, 16, 32)))
      (0, 1, 2)
      >>> matrix_fan_in("conv/bias", jnp.zeros((32,))) is None
      True
    """
    del path
    ndim = jnp.ndim(leaf)
    return tuple(range(ndim - 1)) if ndim >= 2 else None


def all_fan_in(path: str, leaf: jax.typing.ArrayLike) -> Axes | None:
    """Like :func:`matrix_fan_in`, and takes each rank-1 leaf whole, as one vector.

    The paper does so for the biases of Conv7, F1 and F2.

    Args:
      path: path of the leaf; not looked at.
      leaf: the parameter, of any shape and dtype.

    Returns:
      The axes of one weight vector, or ``None`` for scalars.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax import all_fan_in
      >>> all_fan_in("dense/bias", jnp.zeros((10,)))
      (0,)
      >>> all_fan_in("temperature", jnp.zeros(())) is None
      True
    """
    return (0,) if jnp.ndim(leaf) == 1 else matrix_fan_in(path, leaf)


def flax_fan_in(path: str, leaf: jax.typing.ArrayLike, *, stacked: int = 0) -> Axes | None:
    """Treats Flax's kernels, in Linen and NNX, by their names.

    A leaf called ``kernel`` is treated: one vector runs along all axes but the last. Two layers have vectors of their
    own: in attention, the kernels of ``query``, ``key`` and ``value`` are ``(in, heads, head size)`` and a vector runs
    along ``in``; in a module with Linen's own name ``ConvLocal_0`` it runs along the last axis but one. Biases,
    embeddings and normalization layers are left to the inner optimizer.

    A name cannot tell these kernels from others. For NNX use :func:`laperm_jax.nnx_fan_in`, which reads the modules.
    For Linen put patterns of your own first: ``path_fan_in({r"heads/kernel$": (0,), "": flax_fan_in})``.

    | layer | kernel | axes |
    |---|---|---|
    | ``DenseGeneral`` with several output axes | ``(in, heads, size)`` | ``(0,)`` |
    | ``DenseGeneral`` with ``batch_dims=(0,)`` | ``(batch, in, out)`` | ``(1,)`` |
    | ``Einsum("nta,hab->nthb")`` | ``(heads, in, out)`` | ``(1,)`` |
    | ``ConvLocal`` under another name | ``(height, width, fan-in, out)`` | ``(2,)`` |
    | ``ConvTranspose(transpose_kernel=True)`` | ``(height, width, out, in)`` | ``(0, 1, 3)`` |
    | layers stacked by ``nn.scan``, ``nn.vmap`` | ``(layers, in, out)`` | ``stacked=1`` |

    Args:
      path: path of the leaf, as in ``"block/attention/query/kernel"``.
      leaf: the parameter.
      stacked: number of leading axes that number layers; they are part of no vector.

    Returns:
      The axes of one weight vector, or ``None``.

    Example:
      >>> import functools
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from laperm_jax import flax_fan_in, laperm
      >>> flax_fan_in("attention/query/kernel", jnp.zeros((64, 8, 16)))
      (0,)
      >>> rule = functools.partial(flax_fan_in, stacked=1)  # twelve layers in one leaf
      >>> rule("layers/attention/out/kernel", jnp.zeros((12, 8, 16, 64)))
      (1, 2)
      >>> tx = laperm(optax.adam(1e-3), sync_period=100, fan_in_axes=rule)
    """
    *_, module, name = ("", "", *path.split("/"))
    ndim = jnp.ndim(leaf) - stacked
    if name != "kernel" or ndim < 2:
        return None
    if module in ("query", "key", "value") and ndim == 3:
        return (stacked,)
    if re.fullmatch(r"ConvLocal_\d+", module):
        return (stacked + ndim - 2,)
    return tuple(range(stacked, stacked + ndim - 1))


def path_fan_in(patterns: Mapping[str, Axes | FanInRule | None]) -> FanInRule:
    r"""Makes a rule from regular expressions: the first that matches a leaf's path decides, and no match is ``None``.

    Args:
      patterns: regular expression, searched for anywhere in the path (``re.search``), to the axes of one vector, to a
        rule that decides, or to ``None``.

    Returns:
      A fan-in rule.

    Raises:
      re.error: if a pattern is not a valid regular expression.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax import matrix_fan_in, path_fan_in
      >>> rule = path_fan_in({r"^head/": None, r"/embedding$": (1,), r"kernel$": (0,)})
      >>> kernel = jnp.zeros((4, 3))
      >>> rule("head/kernel", kernel), rule("token/embedding", kernel), rule("mlp/up/kernel", kernel)
      (None, (1,), (0,))
      >>> haiku = path_fan_in({r"conv\d_d_transpose.*/w$": (0, 1, 3), r"/(w|w_i|w_h)$": matrix_fan_in})
      >>> haiku("mlp/~/linear_0/w", kernel)
      (0,)
    """
    compiled = [(re.compile(pattern), axes) for pattern, axes in patterns.items()]

    def rule(path: str, leaf: jax.typing.ArrayLike) -> Axes | None:
        axes = next((axes for pattern, axes in compiled if pattern.search(path)), None)
        return axes(path, leaf) if callable(axes) else axes

    rule.__name__ = rule.__qualname__ = "path_fan_in"
    return rule


def vector_axes(rule: FanInRule | Mapping[str, Axes], params: PyTree) -> dict[str, Axes]:
    """Maps the path of every leaf that ``rule`` treats to the axes of its vectors.

    Integer and bool leaves are left alone, and the rule is not asked about them.

    Raises:
      TypeError: for a complex leaf that the rule treats, for axes that are not a tuple of ints, for a leaf that is not
        array.
      ValueError: for axes that do not fit their leaf, and for a dict that names an unknown path.
    """
    check_paths(rule, params, "fan_in_axes")
    if on_tree := getattr(rule, "on_tree", None):  # a rule that looks at more of the tree than a leaf
        rule = on_tree(params)
    rule = as_rule(rule)
    treated = {}
    for path, leaf in leaves_by_path(params).items():
        dtype = leaf_dtype(path, leaf)
        if not jnp.issubdtype(dtype, jnp.inexact) or (axes := rule(path, leaf)) is None:
            continue
        if jnp.issubdtype(dtype, jnp.complexfloating):
            raise TypeError(f"{path} is {dtype}: complex numbers have no order; let fan_in_axes give None for it")
        treated[path] = _checked_axes(path, leaf, axes)
    return treated


def _checked_axes(path: str, leaf: jax.typing.ArrayLike, axes: Any) -> Axes:
    try:
        if any(isinstance(axis, bool) for axis in axes):
            raise TypeError
        return canonical_axes(tuple(operator.index(axis) for axis in axes), jnp.ndim(leaf))
    except TypeError:
        raise TypeError(
            f"fan_in_axes of {path}: {axes!r} is not a tuple of ints; give the axes of one weight vector, as in (0,), "
            "or None to leave it to the inner optimizer"
        ) from None
    except ValueError as error:
        raise ValueError(
            f"fan_in_axes of {path}: {error}; its shape is {jnp.shape(leaf)}: name each axis of one weight vector "
            "once, or give None to leave it to the inner optimizer"
        ) from None
