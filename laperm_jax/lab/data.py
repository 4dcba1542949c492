"""Image datasets as arrays: scikit-learn's digits, and MNIST and CIFAR-10 through TensorFlow Datasets.

A dataset is small enough to sit in memory, and on the accelerator, whole. Reading prepared data needs no TensorFlow;
preparing (downloading) MNIST and CIFAR-10 does, with the extra ``[prepare]``.
"""

import dataclasses
import functools
import os
import typing
from pathlib import Path
from typing import Any

import numpy as np

from laperm_jax.lab.config import ConfigError, DatasetName

NAMES = typing.get_args(DatasetName)
IMAGE_SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}  # height, width, channels


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 ``(n, height, width, channels)`` and labels int32 ``(n,)``."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A training and a test split, and the largest value a pixel can have."""

    train: Split
    test: Split
    max_pixel: int


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Loads a dataset.

    Args:
      name: one of ``NAMES``.
      data_dir: data directory of TensorFlow Datasets; by default the environment's ``TFDS_DATA_DIR``, or else TFDS's
        own (``~/tensorflow_datasets``). Not used for ``digits``.

    Returns:
      The dataset, 10 classes.

    Raises:
      ConfigError: for an unknown name, and if the dataset is not prepared or damaged.

    Example:
      >>> from laperm_jax.lab import data
      >>> digits = data.load("digits")
      >>> digits.train.images.shape, digits.test.images.shape, digits.max_pixel
      ((1437, 8, 8, 1), (360, 8, 8, 1), 16)
    """
    check_name(name)
    return _load_digits() if name == "digits" else _load_tfds(name, _resolve(data_dir))


def hold_out(split: Split, size: int, seed: int = 0) -> tuple[Split, Split]:
    """Sets ``size`` random examples aside for validation; the same ones for the same seed.

    Args:
      split: the training split.
      size: number of examples to hold out, less than there are.
      seed: which ones.

    Returns:
      What is left for training, and the validation split.
    """
    order = np.random.default_rng(seed).permutation(len(split))
    pick = lambda indices: Split(split.images[indices], split.labels[indices])
    return pick(np.sort(order[size:])), pick(np.sort(order[:size]))


def prepare(name: str, data_dir: Path | None = None) -> Path:
    """Downloads a dataset and prepares it for random access (array_record).

    Args:
      name: ``"mnist"`` or ``"cifar10"``.
      data_dir: as for :func:`load`.

    Returns:
      The folder of the prepared dataset.

    Raises:
      ConfigError: for an unknown name, and for digits.
      ModuleNotFoundError: if TensorFlow is not installed.
    """
    check_name(name)
    if name == "digits":
        raise ConfigError("digits come with scikit-learn: there is nothing to prepare")
    builder = _builder(name, _resolve(data_dir))
    if not builder.is_prepared():
        import tensorflow  # noqa: F401  # what TFDS prepares with; fails here, by name, rather than deep inside

        builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_dir)


def check_name(name: str) -> None:
    """Raises ConfigError for a name that no dataset has."""
    if name not in NAMES:
        raise ConfigError(f"there is no dataset {name!r}; there are {', '.join(NAMES)}")


@functools.cache
def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8)[..., None], digits.target.astype(np.int32)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=0
    )
    return Dataset(Split(train_images, train_labels), Split(test_images, test_labels), max_pixel=16)


@functools.cache
def _load_tfds(name: str, data_dir: Path | None) -> Dataset:
    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        raise ConfigError(
            f"{name} is not prepared in {builder.data_dir}: run `laperm data prepare {name}`, or set TFDS_DATA_DIR to "
            "the data directory that holds it"
        )

    def split(which: str) -> Split:
        source = builder.as_data_source(split=which)
        examples = source.__getitems__(range(len(source)))
        return Split(
            np.stack([example["image"] for example in examples]),
            np.array([example["label"] for example in examples], np.int32),
        )

    try:
        return Dataset(split("train"), split("test"), max_pixel=255)
    except Exception as error:  # TFDS and array_record, which keeps checksums, have many
        first_line = str(error).partition("\n")[0]
        problem = f"{name} in {builder.data_dir} cannot be read: {first_line}"
        raise ConfigError(f"{problem}; remove that folder and run `laperm data prepare {name}`") from error


def _resolve(data_dir: Path | None) -> Path | None:
    """The data directory asked for; TFDS itself reads the variable only once, when it is imported."""
    from_environment = os.environ.get("TFDS_DATA_DIR")
    return data_dir or (Path(from_environment) if from_environment else None)


def _builder(name: str, data_dir: Path | None) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import absl.logging
    import tensorflow_datasets as tfds

    # TFDS warns of every folder that does not exist.
    absl.logging.set_verbosity(min(absl.logging.get_verbosity(), absl.logging.ERROR))
    try:
        return tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # as above
        raise ConfigError(f"the description of {name} in {data_dir or 'its folder'} cannot be read: {error}") from error
