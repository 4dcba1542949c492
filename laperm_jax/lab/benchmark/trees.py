"""Trees of parameters to measure, as shapes and dtypes."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from laperm_jax._paths import PyTree
from laperm_jax.lab.config.commands import TreeName
from laperm_jax.lab.models import classifiers
from laperm_jax.lab.models.classifiers import Shape

_IMAGES: dict[str, Shape] = {"f1": (28, 28, 1), "conv7": (28, 28, 1), "mlp": (28, 28, 1)}
_ROWS: dict[str, int] = {"rows-9": 9, "rows-64": 64}  # a million weights in vectors of that length


def parameter_tree(name: TreeName) -> PyTree:
    """Shapes and dtypes of a network's parameters, by Flax's names; float32."""
    if length := _ROWS.get(name):
        return {"kernel": jax.ShapeDtypeStruct((length, 10**6 // length), jnp.float32)}
    if name == "gpt2":
        return _transformer(768, {"token": {"embedding": (50_257, 768)}, "position": {"embedding": (1_024, 768)}})
    if name == "vit":
        return _transformer(768, {"patch": {"kernel": (16, 16, 3, 768)}, "head": {"kernel": (768, 1_000)}})
    make = lambda: classifiers.build(name, image_shape(name), rngs=nnx.Rngs(0))
    return nnx.to_pure_dict(nnx.state(nnx.eval_shape(make), nnx.Param))


def _transformer(width: int, ends: dict[str, Any]) -> PyTree:
    """Twelve layers with heads of size 64 and four times as wide a hidden layer."""
    heads = (width // 64, 64)
    attention = {name: {"kernel": (width, *heads), "bias": heads} for name in ("query", "key", "value")}
    layer = {
        "attention": attention | {"out": {"kernel": (*heads, width), "bias": (width,)}},
        "up": {"kernel": (width, 4 * width), "bias": (4 * width,)},
        "down": {"kernel": (4 * width, width), "bias": (width,)},
    }
    shapes = {f"layer{number}": layer for number in range(12)} | ends
    is_shape = lambda node: isinstance(node, tuple)
    return jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), shapes, is_leaf=is_shape)


def image_shape(name: TreeName) -> Shape:
    """Shape of an image that a network is trained on."""
    return _IMAGES.get(name, (32, 32, 3))
