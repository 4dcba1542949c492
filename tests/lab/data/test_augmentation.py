"""Random transformations of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laperm_jax.lab.data import augmentation
from laperm_jax.lab.data.augmentation import Augmentation, augment

IMAGES = jax.random.uniform(jax.random.key(0), (64, 12, 10, 3))


def test_no_range_changes_nothing():
    np.testing.assert_allclose(augment(IMAGES, jax.random.key(1), Augmentation()), IMAGES, atol=1e-6)


def test_flip_mirrors_about_half_of_the_images():
    flipped = np.asarray(augment(IMAGES, jax.random.key(1), Augmentation(flip=True)))
    same = np.isclose(flipped, IMAGES, atol=1e-6).all(axis=(1, 2, 3))
    mirrored = np.isclose(flipped, IMAGES[:, :, ::-1], atol=1e-6).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 16 < same.sum() < 48


@pytest.mark.nightly
def test_shift_moves_a_dot_at_most_that_far_and_repeats_the_border():
    dots = jnp.zeros((200, 21, 21, 1)).at[:, 10, 10].set(1.0)
    shifted = np.asarray(augment(dots, jax.random.key(1), Augmentation(shift=0.2)))[..., 0]
    np.testing.assert_allclose(shifted.sum(axis=(1, 2)), 1, atol=1e-4)  # bilinear weights
    rows = (shifted.sum(axis=2) * np.arange(21)).sum(axis=1) - 10
    assert 3.5 < np.abs(rows).max() <= 0.2 * 21 + 1e-3
    flat = jnp.full((5, 21, 21, 1), 3.0)
    np.testing.assert_allclose(augment(flat, jax.random.key(1), Augmentation(shift=0.5)), 3.0, rtol=1e-6)


@pytest.mark.nightly
def test_rotation_turns_about_the_centre_by_at_most_that_angle():
    dots = jnp.zeros((200, 41, 41, 1)).at[:, 20, 38].set(1.0)  # 18 to the right of the centre
    turned = np.asarray(augment(dots, jax.random.key(1), Augmentation(rotation=30)))[..., 0]
    grid = np.arange(41) - 20
    weight = turned.sum(axis=(1, 2))
    y, x = (turned.sum(axis=2) @ grid) / weight, (turned.sum(axis=1) @ grid) / weight
    np.testing.assert_allclose(np.hypot(x, y), 18, atol=0.5)
    angles = np.rad2deg(np.arctan2(y, x))
    assert 25 < np.abs(angles).max() < 32
    assert angles.min() < 0 < angles.max()


@pytest.mark.nightly
def test_zoom_scales_about_the_centre():
    ramp = jnp.broadcast_to(jnp.arange(41.0)[:, None, None] - 20, (100, 41, 41, 1))
    zoomed = np.asarray(augment(ramp, jax.random.key(1), Augmentation(zoom=0.2)))[:, :, 20, 0]
    slopes = zoomed[:, 25] - zoomed[:, 24]
    np.testing.assert_allclose(zoomed[:, 20], 0, atol=1e-4)
    assert 0.8 <= slopes.min() < 0.83
    assert 1.17 < slopes.max() <= 1.2 + 1e-5


def test_every_image_has_its_own_transformation_and_the_key_decides():
    same = jnp.broadcast_to(IMAGES[:1], IMAGES.shape)
    ranges = Augmentation(rotation=10, zoom=0.1, shift=0.1, flip=True)
    first = augment(same, jax.random.key(1), ranges)
    assert len(np.unique(np.asarray(first).reshape(64, -1), axis=0)) == 64
    np.testing.assert_array_equal(first, augment(same, jax.random.key(1), ranges))
    assert (first != augment(same, jax.random.key(2), ranges)).any()
    assert (first.shape, first.dtype) == (IMAGES.shape, IMAGES.dtype)


@pytest.mark.parametrize(
    ("dataset", "model", "expected"),
    [
        ("mnist", "conv7", Augmentation(rotation=10, zoom=0.1, shift=0.1)),
        ("digits", "mlp", Augmentation(rotation=10, zoom=0.1, shift=0.1)),
        ("cifar10", "conv4", Augmentation(rotation=15, shift=0.1, flip=True)),
        ("cifar10", "resnet50", Augmentation(shift=0.1, flip=True)),
    ],
)
def test_the_papers_choice(dataset, model, expected):
    assert augmentation.choose(dataset, model) == expected
