"""Transformers in Flax NNX: a character-level language model, and a vision transformer (Dosovitskiy et al., 2021).

Blocks normalise before attention and before the multilayer perceptron (Xiong et al., 2020), and have no biases. Kernels
are what LaPerm reorders; embeddings of tokens and positions, and scales of LayerNorm, are left to the inner optimiser.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer


class Size(NamedTuple):
    """Size of a transformer.

    Attributes:
      layers: number of blocks.
      features: width of the residual stream; the perceptron of a block is four times as wide.
      heads: attention heads in a block, a divisor of the features.
      dtype: of activations; parameters are float32.
    """

    layers: int = 4
    features: int = 128
    heads: int = 4
    dtype: str = "float32"


class Block(nnx.Module):
    """Attention and a multilayer perceptron, each added to the residual stream."""

    def __init__(self, size: Size, kernel_inits: Iterator[Initializer], rngs: nnx.Rngs):
        features, dtype = size.features, jnp.dtype(size.dtype)
        options: dict[str, Any] = {"use_bias": False, "dtype": dtype, "rngs": rngs}

        def kernel_init(key: jax.Array, shape: Any, *args: Any, **kwargs: Any) -> jax.Array:
            return next(kernel_inits)(key, shape, *args, **kwargs)  # attention takes one for its four kernels

        self.norm1 = nnx.LayerNorm(features, **options)
        self.attention = nnx.MultiHeadAttention(
            size.heads, features, kernel_init=kernel_init, decode=False, keep_rngs=False, **options
        )
        self.norm2 = nnx.LayerNorm(features, **options)
        self.up = nnx.Linear(features, 4 * features, kernel_init=kernel_init, **options)
        self.down = nnx.Linear(4 * features, features, kernel_init=kernel_init, **options)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Applies the block to ``(batch, length, features)``."""
        x += self.attention(self.norm1(x), mask=mask)
        return x + self.down(nnx.relu(self.up(self.norm2(x))))


class _Transformer(nnx.Module):
    """Base of both networks: embedded positions, blocks, a last LayerNorm, and an output layer."""

    def __init__(self, length: int, outputs: int, size: Size, kernel_inits: Iterator[Initializer], rngs: nnx.Rngs):
        dtype = jnp.dtype(size.dtype)
        self.positions = nnx.Embed(length, size.features, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([Block(size, kernel_inits, rngs) for _ in range(size.layers)])
        self.norm = nnx.LayerNorm(size.features, use_bias=False, dtype=dtype, rngs=rngs)
        self.output = nnx.Linear(
            size.features, outputs, use_bias=False, dtype=dtype, kernel_init=next(kernel_inits), rngs=rngs
        )

    def transform(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Features ``(batch, length, features)`` for the output layer, of embedded tokens or patches of that shape."""
        x += self.positions(jnp.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


class LanguageModel(_Transformer):
    """Predicts each next token from those before it.

    Args:
      vocabulary: number of different tokens.
      context: largest length.
      size: of the network.
      kernel_inits: initializers of the kernels, in their order.
      rngs: where initial weights are drawn from.

    Example:
      >>> import itertools
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from laperm_jax.lab.models.transformers import LanguageModel, Size
      >>> inits = itertools.repeat(nnx.initializers.lecun_normal())
      >>> model = LanguageModel(65, 16, Size(layers=1, features=8, heads=2), inits, nnx.Rngs(0))
      >>> model(jnp.zeros((3, 10), int)).shape
      (3, 10, 65)
    """

    def __init__(self, vocabulary: int, context: int, size: Size, kernel_inits: Iterator[Initializer], rngs: nnx.Rngs):
        self.tokens = nnx.Embed(vocabulary, size.features, dtype=jnp.dtype(size.dtype), rngs=rngs)
        super().__init__(context, vocabulary, size, kernel_inits, rngs)

    def __call__(self, tokens: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Returns float32 logits ``(batch, length, vocabulary)`` for tokens ``(batch, length)``."""
        del rngs  # there is no dropout
        length = tokens.shape[1]
        mask = jnp.tril(jnp.ones((1, 1, length, length), bool))
        return self.output(self.transform(self.tokens(tokens), mask)).astype(jnp.float32)


class VisionTransformer(_Transformer):
    """Classifies images by their square patches; the mean over them goes to the output layer.

    Args:
      image_shape: ``(height, width, channels)``.
      classes: number of logits.
      patch: height and width of a patch.
      size: of the network.
      kernel_inits: initializers of the kernels, in their order.
      rngs: where initial weights are drawn from.

    Raises:
      ValueError: if patches do not tile the image.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        classes: int,
        patch: int,
        size: Size,
        kernel_inits: Iterator[Initializer],
        rngs: nnx.Rngs,
    ):
        height, width, channels = image_shape
        if height % patch or width % patch:
            raise ValueError(f"vit: patches of {patch} x {patch} do not tile images of {height} x {width}")
        self.patch = patch
        self.patches = nnx.Linear(
            patch * patch * channels,
            size.features,
            use_bias=False,
            dtype=jnp.dtype(size.dtype),
            kernel_init=next(kernel_inits),
            rngs=rngs,
        )
        super().__init__((height // patch) * (width // patch), classes, size, kernel_inits, rngs)

    def __call__(self, images: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Returns float32 logits ``(batch, classes)`` for images ``(batch, height, width, channels)``."""
        del rngs  # there is no dropout
        x = self.transform(self.patches(self.cut(images)))
        return self.output(x.mean(axis=1)).astype(jnp.float32)

    def cut(self, images: jax.Array) -> jax.Array:
        """The patches of images, row by row: ``(batch, patches, height * width * channels of a patch)``."""
        batch, height, width, channels = images.shape
        rows, columns = height // self.patch, width // self.patch
        patches = images.reshape(batch, rows, self.patch, columns, self.patch, channels).swapaxes(2, 3)
        return patches.reshape(batch, rows * columns, -1)
