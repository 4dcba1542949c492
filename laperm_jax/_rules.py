"""What is one weight vector: rules that give, for each parameter, the axes that one vector runs along.

A weight vector is all incoming weights of one output unit (Qiu & Suda, 2020): a column of a dense kernel ``(in, out)``,
one filter of a convolution kernel ``(height, width, in, out)``. A fan-in rule takes the path of a leaf and the leaf and
returns the axes that make up one vector, ``(0,)`` and ``(0, 1, 2)`` in these examples, or ``None`` to leave the leaf to
the inner optimiser.
"""

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from laperm_jax._paths import Rule, as_rule, check_paths, leaves_by_path
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
    """Goes by Flax's names, in NNX and in Linen: leaves called ``kernel``, and those of attention in their own way.

    A kernel's vectors run along all axes but the last. In attention, the kernels of ``query``, ``key`` and ``value``
    are ``(in, heads, head size)`` and a vector runs along ``in``; that of ``out`` is ``(heads, head size, out)`` and a
    vector runs along the first two. Biases, embeddings and normalisation layers are left alone.

    Args:
      path: path of the leaf, as in ``"block/attention/query/kernel"``.
      leaf: the parameter.
      stacked: number of leading axes that number layers, as ``nnx.vmap`` and ``nn.scan`` make them; they are no part of
        any vector.

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
    attention_input = module in ("query", "key", "value") and ndim == 3
    fan_in = 1 if attention_input else ndim - 1
    return tuple(range(stacked, stacked + fan_in))


def path_fan_in(patterns: Mapping[str, Axes | None]) -> FanInRule:
    """Makes a rule from regular expressions: the first that matches a leaf's path decides, and no match is ``None``.

    Args:
      patterns: regular expression, searched for anywhere in the path (``re.search``), to the axes of one vector, or to
        ``None``.

    Returns:
      A fan-in rule.

    Raises:
      re.error: where a pattern is no regular expression.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax import path_fan_in
      >>> rule = path_fan_in({r"^head/": None, r"/embedding$": (1,), r"kernel$": (0,)})
      >>> kernel = jnp.zeros((4, 3))
      >>> rule("head/kernel", kernel), rule("token/embedding", kernel), rule("mlp/up/kernel", kernel)
      (None, (1,), (0,))
    """
    compiled = [(re.compile(pattern), axes) for pattern, axes in patterns.items()]

    def rule(path: str, leaf: jax.typing.ArrayLike) -> Axes | None:
        del leaf
        return next((axes for pattern, axes in compiled if pattern.search(path)), None)

    return rule


def vector_axes(rule: FanInRule | Mapping[str, Axes], params: optax.Params) -> dict[str, Axes]:
    """Maps the path of every leaf that ``rule`` treats to the axes of its vectors; integer and bool leaves are none.

    Raises:
      TypeError: for a complex leaf that the rule treats.
      ValueError: for axes that do not fit their leaf, and for a dict that names an unknown path.
    """
    check_paths(rule, params, "fan_in_axes")
    rule = as_rule(rule)
    treated = {}
    for path, leaf in leaves_by_path(params).items():
        dtype = jnp.result_type(leaf)
        axes = rule(path, leaf)
        if axes is None or not jnp.issubdtype(dtype, jnp.inexact):
            continue
        if jnp.issubdtype(dtype, jnp.complexfloating):
            raise TypeError(f"{path} is {dtype}: complex numbers have no order; let fan_in_axes give None for it")
        try:
            treated[path] = canonical_axes(axes, jnp.ndim(leaf))
        except ValueError as error:
            raise ValueError(f"fan_in_axes of {path}: {error}") from None
    return treated
