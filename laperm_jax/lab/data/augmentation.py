"""The paper's random transformations of training images, as Keras's ``ImageDataGenerator`` makes them, inside jit."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates


class Augmentation(NamedTuple):
    """Ranges that a transformation is drawn from, uniformly and independently for every image.

    Attributes:
      rotation: degrees, to either side.
      zoom: fraction, of height and width independently.
      shift: fraction of the height and of the width.
      flip: whether half of the images are mirrored left to right.
    """

    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    flip: bool = False


# The authors' notebooks: Conv7 on MNIST; Conv2, Conv4 and Conv13 on CIFAR-10; ResNet50.
FOR_DIGITS = Augmentation(rotation=10, zoom=0.1, shift=0.1)
FOR_CIFAR10 = Augmentation(rotation=15, shift=0.1, flip=True)
FOR_RESNET50 = Augmentation(shift=0.1, flip=True)


def choose(dataset: str, model: str) -> Augmentation:
    """The augmentation the paper uses for a network and a dataset; that of MNIST for digits."""
    if dataset != "cifar10":
        return FOR_DIGITS
    return FOR_RESNET50 if model == "resnet50" else FOR_CIFAR10


def augment(images: jax.Array, key: jax.Array, ranges: Augmentation) -> jax.Array:
    """Transforms every image at random: bilinear interpolation, border pixels repeated outwards.

    Args:
      images: float array ``(batch, height, width, channels)``.
      key: PRNG key.
      ranges: what to draw from.

    Returns:
      Array of the same shape and dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from laperm_jax.lab.data.augmentation import Augmentation, augment
      >>> images = jnp.arange(4.0).reshape(1, 1, 4, 1)
      >>> flips = [augment(images, jax.random.key(seed), Augmentation(flip=True)).ravel().tolist() for seed in range(2)]
      >>> sorted(flips)
      [[0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0]]
    """
    keys = jax.random.split(key, len(images))
    return jax.vmap(functools.partial(_augment_one, ranges=ranges))(images, keys)


def _augment_one(image: jax.Array, key: jax.Array, ranges: Augmentation) -> jax.Array:
    rotation_key, zoom_key, shift_key, flip_key = jax.random.split(key, 4)
    size = jnp.array(image.shape[:2], image.dtype)
    draw = functools.partial(jax.random.uniform, dtype=image.dtype)
    angle = jnp.deg2rad(draw(rotation_key, minval=-ranges.rotation, maxval=ranges.rotation))
    zoom = draw(zoom_key, (2,), minval=1 - ranges.zoom, maxval=1 + ranges.zoom)
    shift = draw(shift_key, (2,), minval=-ranges.shift, maxval=ranges.shift) * size
    mirror = jnp.where(jax.random.bernoulli(flip_key) & ranges.flip, -1, 1).astype(image.dtype)

    # Where each output pixel comes from: zoomed, shifted and turned about the centre, then mirrored, as Keras does it.
    centre = (size - 1) / 2
    rows, columns = jnp.indices(image.shape[:2]).astype(image.dtype)
    y = zoom[0] * (rows - centre[0]) + shift[0]
    x = zoom[1] * mirror * (columns - centre[1]) + shift[1]
    source_y = jnp.cos(angle) * y - jnp.sin(angle) * x + centre[0]
    source_x = jnp.sin(angle) * y + jnp.cos(angle) * x + centre[1]
    sample = lambda channel: map_coordinates(channel, [source_y, source_x], order=1, mode="nearest")
    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)
