"""Datasets as arrays."""

import os
from pathlib import Path

import numpy as np
import pytest

from laperm_jax.lab.config import DEFAULTS, ConfigError, resolve
from laperm_jax.lab.data import datasets, tasks

needs_tfds = pytest.mark.skipif(
    not (Path(os.environ.get("TFDS_DATA_DIR", "missing")) / "mnist").is_dir(),
    reason="TFDS_DATA_DIR names no data directory with mnist",
)


def test_digits():
    digits = datasets.load("digits")
    assert (digits.train.images.shape, digits.train.images.dtype) == ((1437, 8, 8, 1), np.uint8)
    assert (digits.test.labels.shape, digits.test.labels.dtype) == ((360,), np.int32)
    assert digits.train.images.max() == digits.max_pixel == 16
    counts = np.bincount(digits.test.labels)
    assert counts.min() >= 34  # stratified
    train, test = ({image.tobytes() for image in split.images} for split in (digits.train, digits.test))
    assert len(train & test) == 0


def test_hold_out_is_a_random_partition_that_the_seed_decides():
    split = datasets.load("digits").train
    train, validation = datasets.hold_out(split, 180)
    assert (len(train), len(validation)) == (1257, 180)
    images = {image.tobytes() for part in (train, validation) for image in part.images}
    assert images == {image.tobytes() for image in split.images}
    again = datasets.hold_out(split, 180)[1]
    np.testing.assert_array_equal(again.images, validation.images)
    assert (datasets.hold_out(split, 180, seed=1)[1].labels != validation.labels).any()
    assert len(np.unique(validation.labels)) == 10


def test_an_unknown_dataset_is_refused_with_the_list():
    for function in (datasets.load, datasets.prepare):
        with pytest.raises(ConfigError, match="there is no dataset 'imagenet'; there are digits, mnist, cifar10"):
            function("imagenet")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_an_unprepared_dataset_is_refused_with_folder_and_command(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match=f"{name} is not prepared in {tmp_path}/{name}/.*laperm data prepare {name}"):
        datasets.load(name)
    with pytest.raises(ConfigError, match=f"{tmp_path}/elsewhere"):
        datasets.load(name, tmp_path / "elsewhere")
    assert not list(tmp_path.iterdir())


def test_what_comes_along_needs_no_preparing(tmp_path):
    with pytest.raises(ConfigError, match="nothing to prepare"):
        datasets.prepare("digits", tmp_path)


@needs_tfds
def test_preparing_what_is_prepared_does_nothing():
    assert datasets.prepare("mnist") == Path(os.environ["TFDS_DATA_DIR"]) / "mnist" / "3.0.1"


@pytest.mark.nightly
@needs_tfds
@pytest.mark.parametrize(
    ("name", "shape", "examples"), [("mnist", (28, 28, 1), 60_000), ("cifar10", (32, 32, 3), 50_000)]
)
def test_real_datasets(name, shape, examples):
    dataset = datasets.load(name)
    assert dataset.train.images.shape == (examples, *shape)
    assert dataset.test.images.shape == (10_000, *shape)
    assert dataset.train.images.max() == dataset.max_pixel == 255
    assert dataset.train.images.dtype == np.uint8
    assert np.bincount(dataset.train.labels).min() >= 5000
    assert datasets.load(name) is dataset  # read once


@needs_tfds
def test_the_real_text():
    text = datasets.load("tiny_shakespeare")
    assert len(text.train) == 1_003_854
    assert len(text.validation) + len(text.test) == 111_540
    assert len(text.vocabulary) == 65
    assert np.frombuffer(text.vocabulary, np.uint8)[text.train[:14]].tobytes() == b"First Citizen:"


@needs_tfds
@pytest.mark.parametrize("task", DEFAULTS)
def test_shapes_are_known_without_the_data(task):
    config = resolve(DEFAULTS[task])
    found = tasks.make(config, datasets.load(config.data.dataset))
    assert datasets.shapes(config) == (found.input_shape, found.outputs)


def test_characters_that_are_not_known_are_named():
    with pytest.raises(ConfigError, match=r"the text holds '!', 'Z'; the characters known are 'abc'"):
        datasets.encode(b"abc", b"aZb!")
