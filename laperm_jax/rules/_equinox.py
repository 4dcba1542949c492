"""The fan-in rule of Equinox: the output axis comes first."""

import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from laperm_jax._paths import PyTree, Rule, leaves_with_path, optional_types
from laperm_jax.sync._vectors import Axes


def equinox_fan_in(path: str, leaf: jax.typing.ArrayLike, *, stacked: int = 0) -> Axes | None:
    """Treats weights with the output axis first, as in Equinox and PyTorch: one vector runs along all axes but that.

    In a tree of Equinox modules the type of a layer decides: ``Linear``, ``Conv``, ``ConvTranspose``, ``LSTMCell`` and
    ``GRUCell`` are treated, layers stacked by ``eqx.filter_vmap`` included; ``Embedding`` and the normalization layers
    are left to the inner optimizer. Elsewhere (modules of your own, plain dicts with PyTorch's names) the name decides:
    leaves of rank 2 or more called ``weight``, ``weight_ih``, ``in_proj_weight`` and the like are treated, unless the
    module is called after a norm or, at rank 2, after an embedding.

    Args:
      path: path of the leaf, as in ``"layers/0/weight"`` or ``"layers.0.weight"``.
      leaf: the parameter.
      stacked: number of leading axes that number layers, where the name decides.

    Returns:
      The axes of one weight vector, or ``None``.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from laperm_jax import equinox_fan_in, laperm
      >>> equinox_fan_in("layers/0/weight", jnp.zeros((64, 32)))  # (out, in)
      (1,)
      >>> equinox_fan_in("conv/weight", jnp.zeros((16, 3, 5, 5)))  # (out, in, height, width)
      (1, 2, 3)
      >>> tx = laperm(optax.adam(1e-3), sync_period=100, fan_in_axes=equinox_fan_in)

    Note:
      PyTorch's ``ConvTranspose`` has its output axis second, ``(in, out, *kernel)``, and needs a dict or
      :func:`laperm_jax.path_fan_in`.
    """
    *_, module, name = ("", "", *re.split("[/.]", path))
    ndim = jnp.ndim(leaf) - stacked
    is_embedding = ndim == 2 and "emb" in module.lower()
    if "weight" not in name.split("_") or ndim < 2 or is_embedding or "norm" in module.lower():
        return None
    return tuple(range(stacked + 1, stacked + ndim))


def equinox_layer_axes(params: PyTree) -> dict[str, Axes | None]:
    """Maps the path of every weight of an Equinox layer to its axes, or to ``None`` if it has no vectors."""
    kernels = optional_types("equinox.nn", "Linear", "Conv", "ConvTranspose", "LSTMCell", "GRUCell")
    embeddings = optional_types("equinox.nn", "Embedding")

    def layer_axes(layer: Any, weight: Any) -> Axes | None:
        # Stacked layers have more axes than one layer, the first ones.
        one_layer = 2 + getattr(layer, "num_spatial_dims", 0)
        stacked = jnp.ndim(weight) - one_layer
        is_kernel = isinstance(layer, kernels) and stacked >= 0
        return tuple(range(stacked + 1, stacked + one_layer)) if is_kernel else None

    return {
        path: layer_axes(layer, leaf)
        for path, name, layer, leaf in _leaves_of(kernels + embeddings + _norms(), params)
        if name in ("weight", "weight_ih", "weight_hh")
    }


def equinox_norms(params: PyTree) -> dict[str, float]:
    """Maps the leaves of Equinox's normalization layers in the tree to 1 for a weight and 0 for a bias."""
    values = {"weight": 1.0, "bias": 0.0}
    return {path: values[name] for path, name, _, _ in _leaves_of(_norms(), params) if name in values}


def _norms() -> tuple[type, ...]:
    return optional_types("equinox.nn", "LayerNorm", "RMSNorm", "GroupNorm", "BatchNorm")


def _leaves_of(layers: tuple[type, ...], params: PyTree) -> Iterator[tuple[str, str, Any, Any]]:
    """Yields path, name in the layer, layer and leaf, for every leaf of a layer of one of these types."""
    for prefix, layer in leaves_with_path(params, lambda node: isinstance(node, layers)):
        if isinstance(layer, layers):
            for name, leaf in leaves_with_path(layer):
                yield f"{prefix}/{name}" if prefix else name, name, layer, leaf


def _on_tree(params: PyTree) -> Rule[Axes]:
    known = equinox_layer_axes(params)
    return lambda path, leaf: known[path] if path in known else equinox_fan_in(path, leaf)


# How `vector_axes` resolves the rule where it has the tree, and with it the types of the layers.
equinox_fan_in.on_tree = _on_tree  # type: ignore[attr-defined]
