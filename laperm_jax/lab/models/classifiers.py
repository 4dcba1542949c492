"""The networks of the paper, and a plain multilayer perceptron, in Flax NNX.

Layers, paddings, dropout rates and initial biases are those of the authors' notebooks (a Keras default where they say
nothing). Every network takes images ``(batch, height, width, channels)`` and returns logits ``(batch, classes)``.
"""

import collections
import functools
import itertools
import math
import typing
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer, zeros

from laperm_jax.lab.config.names import ModelName
from laperm_jax.lab.models.convolution import convolve

Shape = tuple[int, ...]
KernelInit = Callable[[int], Initializer]  # the number of a kernel, from 0 in network order, to its initializer

OUTPUT = "output"  # name of the last dense layer in every network


def keras_bias_init(
    key: jax.Array, shape: Sequence[Any], dtype: Any = jnp.float32, out_sharding: Any = None
) -> jax.Array:
    """He-uniform as Keras draws the bias of n units: its fan-in is n, so uniform in +-sqrt(6 / n)."""
    limit = (6 / shape[0]) ** 0.5
    return jax.random.uniform(key, shape, dtype, -limit, limit, out_sharding=out_sharding)


class LayerFactory:
    """Makes the layers of one network; each kernel takes the next initializer."""

    def __init__(self, kernel_init: KernelInit, bias_init: Initializer, rngs: nnx.Rngs):
        self._kernel_inits = map(kernel_init, itertools.count())
        self._bias_init = bias_init
        self._rngs = rngs

    def conv(self, in_features: int, features: int, size: int, strides: int = 1, padding: str = "SAME") -> nnx.Conv:
        """A square convolution with a bias."""
        return nnx.Conv(
            in_features,
            features,
            kernel_size=(size, size),
            strides=(strides, strides),
            padding=padding,
            kernel_init=next(self._kernel_inits),
            bias_init=self._bias_init,
            conv_general_dilated=convolve,
            rngs=self._rngs,
        )

    def dense(self, in_features: int, features: int, use_bias: bool = True) -> nnx.Linear:
        """A dense layer."""
        return nnx.Linear(
            in_features,
            features,
            use_bias=use_bias,
            kernel_init=next(self._kernel_inits),
            bias_init=self._bias_init,
            rngs=self._rngs,
        )

    def norm(self, features: int) -> nnx.BatchNorm:
        """BatchNorm with Keras's momentum and epsilon."""
        return nnx.BatchNorm(features, momentum=0.99, epsilon=1e-3, rngs=self._rngs)


class Stack(nnx.Module):
    """Layers called one after another, each an attribute under its own name."""

    def __init__(self, layers: dict[str, Callable[..., jax.Array]]):
        self.names = tuple(layers)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Applies the network; ``rngs`` are for dropout."""
        for name in self.names:
            layer = getattr(self, name)
            x = layer(x, rngs=rngs) if isinstance(layer, nnx.Dropout) else layer(x)
        return x


class StackBuilder:
    """Writes a network down layer by layer, ``conv(32, 3).relu().flatten().output(10)``, and keeps track of the shape.

    Raises:
      ValueError: from any layer that leaves nothing of the image.
    """

    def __init__(self, shape: Shape, factory: LayerFactory):
        self._shape = shape  # of one example after the layers so far
        self._factory = factory
        self._layers: dict[str, Callable[..., jax.Array]] = {}
        self._counts: collections.Counter[str] = collections.Counter()

    def _add(self, kind: str, layer: Callable[..., jax.Array], shape: Shape | None = None) -> Self:
        self._counts[kind] += 1
        name = kind if kind == OUTPUT else f"{kind}{self._counts[kind]}"
        if shape is not None and min(shape) < 1:
            raise ValueError(f"nothing is left of the image after {name}")
        self._shape = shape or self._shape
        self._layers[name] = layer
        return self

    def conv(self, features: int, size: int, strides: int = 1, padding: str = "SAME") -> Self:
        """Adds a square convolution."""
        height, width, channels = self._shape
        lost = size - 1 if padding == "VALID" else 0
        shape = (math.ceil((height - lost) / strides), math.ceil((width - lost) / strides), features)
        return self._add("conv", self._factory.conv(channels, features, size, strides, padding), shape)

    def dense(self, features: int, use_bias: bool = True, kind: str = "dense") -> Self:
        """Adds a dense layer."""
        return self._add(kind, self._factory.dense(self._shape[0], features, use_bias), (features,))

    def output(self, classes: int, use_bias: bool = True) -> Stack:
        """Adds the output layer and ends the network."""
        return Stack(self.dense(classes, use_bias, OUTPUT)._layers)

    def norm(self) -> Self:
        """Adds BatchNorm."""
        return self._add("norm", self._factory.norm(self._shape[-1]))

    def relu(self) -> Self:
        """Adds a ReLU."""
        return self._add("relu", nnx.relu)

    def dropout(self, rate: float) -> Self:
        """Adds dropout."""
        return self._add("dropout", nnx.Dropout(rate))

    def max_pool(self) -> Self:
        """Adds max pooling over 2 x 2."""
        height, width, channels = self._shape
        pool = functools.partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))
        return self._add("pool", pool, (height // 2, width // 2, channels))

    def flatten(self) -> Self:
        """Makes a vector of each image."""
        return self._add("flatten", lambda x: x.reshape(len(x), -1), (math.prod(self._shape),))


def mlp(net: StackBuilder, classes: int, widths: Sequence[int]) -> Stack:
    """Dense layers of the given widths with ReLU."""
    net.flatten()
    for width in widths:
        net.dense(width).relu()
    return net.output(classes)


def f1(net: StackBuilder, classes: int) -> Stack:
    """One dense layer without bias."""
    return net.flatten().output(classes, use_bias=False)


def f2(net: StackBuilder, classes: int) -> Stack:
    """Three dense layers without bias."""
    net.flatten().dense(128, use_bias=False).relu().dense(64, use_bias=False).relu()
    return net.output(classes, use_bias=False)


def conv7(net: StackBuilder, classes: int) -> Stack:
    """Seven convolutions and a dense layer; no normalisation."""
    for features in (32, 64):
        net.conv(features, 3, padding="VALID").relu().conv(features, 3, padding="VALID").relu()
        net.conv(features, 5, strides=2).relu().dropout(0.4)
    return net.conv(128, 4, padding="VALID").relu().flatten().dropout(0.4).output(classes)


def _conv_block(net: StackBuilder, features: int, dropout: float) -> StackBuilder:
    net.conv(features, 3).relu().norm().dropout(dropout)
    return net.conv(features, 3).relu().norm().max_pool()


def _dense_head(net: StackBuilder, classes: int) -> Stack:
    net.flatten().dense(256).relu().dropout(0.5).norm()
    return net.dense(256).relu().norm().dropout(0.5).output(classes)


def conv2(net: StackBuilder, classes: int) -> Stack:
    """Two convolutions and three dense layers, with BatchNorm and dropout."""
    return _dense_head(_conv_block(net, 64, 0.3), classes)


def conv4(net: StackBuilder, classes: int) -> Stack:
    """Conv2 with a second block of two convolutions."""
    return _dense_head(_conv_block(_conv_block(net, 64, 0.3), 128, 0.4), classes)


def conv13(net: StackBuilder, classes: int) -> Stack:
    """VGG-16's thirteen convolutions and two dense layers, with BatchNorm and dropout."""
    _conv_block(_conv_block(net, 64, 0.3), 128, 0.4)
    for features in (256, 512, 512):
        net.conv(features, 3).relu().norm().dropout(0.4)
        _conv_block(net, features, 0.4)
    return net.flatten().dropout(0.5).dense(512).relu().norm().dropout(0.5).output(classes)


class ResidualBlock(nnx.Module):
    """Two convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, in_features: int, features: int, strides: int, factory: LayerFactory):
        self.conv1 = factory.conv(in_features, features, 3, strides)
        self.norm1 = factory.norm(features)
        self.conv2 = factory.conv(features, features, 3)
        self.norm2 = factory.norm(features)
        self.shortcut = factory.conv(in_features, features, 1, strides) if in_features != features else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block."""
        y = self.norm2(self.conv2(nnx.relu(self.norm1(self.conv1(x)))))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet50(nnx.Module):
    """The CIFAR ResNet v1 of depth 6n + 2 with n = 8 blocks a stage (He et al., 2015; Keras's example)."""

    def __init__(self, shape: Shape, factory: LayerFactory, classes: int):
        if shape[:2] != (32, 32):
            raise ValueError("its average pooling over 8 x 8 is made for images of 32 x 32")
        self.conv = factory.conv(shape[2], 16, 3)
        self.norm = factory.norm(16)
        self.blocks: nnx.List[ResidualBlock] = nnx.List([])
        in_features = 16
        for features in (16, 32, 64):
            for _ in range(8):
                self.blocks.append(ResidualBlock(in_features, features, 1 if features == in_features else 2, factory))
                in_features = features
        self.output = factory.dense(64, classes)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Applies the network; ``rngs`` are for dropout."""
        del rngs
        x = nnx.relu(self.norm(self.conv(x)))
        for block in self.blocks:
            x = block(x)
        return self.output(x.mean(axis=(1, 2)))


STACKS: dict[str, Callable[..., Stack]] = {
    "mlp": mlp,
    "f1": f1,
    "f2": f2,
    "conv2": conv2,
    "conv4": conv4,
    "conv7": conv7,
    "conv13": conv13,
}
NAMES = typing.get_args(ModelName)


def build(
    name: str,
    image_shape: Shape,
    classes: int = 10,
    *,
    widths: Sequence[int] = (256, 256),
    kernel_init: KernelInit = lambda number: jax.nn.initializers.he_uniform(),
    rngs: nnx.Rngs,
) -> nnx.Module:
    """Builds a network by its name, one of ``NAMES``.

    Args:
      name: name of the network.
      image_shape: ``(height, width, channels)``.
      classes: number of logits.
      widths: units of the hidden layers of the ``mlp``.
      kernel_init: gives the initializer of each kernel, by its number in network order from 0.
      rngs: where initial weights are drawn from.

    Returns:
      A module called as ``model(images, rngs)``, with ``rngs`` for dropout; float32 images and logits.

    Raises:
      ValueError: if the name is unknown or the network does not fit the images.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from laperm_jax.lab.models import classifiers
      >>> model = classifiers.build("mlp", (8, 8, 1), widths=(32,), rngs=nnx.Rngs(0))
      >>> model(jnp.zeros((5, 8, 8, 1))).shape
      (5, 10)
    """
    if name not in NAMES:
        raise ValueError(f"there is no model {name!r}; there are {', '.join(NAMES)}")
    bias_init: Initializer = zeros if name in ("mlp", "resnet50") else keras_bias_init
    factory = LayerFactory(kernel_init, bias_init, rngs)
    try:
        if name == "resnet50":
            return ResNet50(image_shape, factory, classes)
        options = {"widths": widths} if name == "mlp" else {}
        return STACKS[name](StackBuilder(image_shape, factory), classes, **options)
    except ValueError as error:
        size = " x ".join(map(str, image_shape))
        raise ValueError(f"{name} does not fit images of {size}: {error}") from None
