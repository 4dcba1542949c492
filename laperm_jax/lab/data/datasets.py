"""Datasets as arrays: images, a text, and points of functions.

Scikit-learn brings the digits; MNIST, CIFAR-10 and tiny_shakespeare come through TensorFlow Datasets. A dataset is
small enough to sit in memory, and on the accelerator, whole. Neither reading nor preparing needs TensorFlow.
"""

import dataclasses
import functools
import os
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from laperm_jax.lab.config import ConfigError, TrainConfig
from laperm_jax.lab.config.names import DATASETS, DatasetName
from laperm_jax.lab.data import preparation

NAMES = typing.get_args(DatasetName)
PREPARED = ("mnist", "cifar10", "tiny_shakespeare")  # by `laperm data prepare`
_COME_ALONG = {"digits": "digits come with scikit-learn"} | {
    name: f"{name} is a formula" for name in DATASETS["regression"]
}
IMAGE_SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}  # height, width, channels
_CLASSES, _VOCABULARY = 10, 65


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


@dataclasses.dataclass(frozen=True)
class Text:
    """Training, validation and test text as tokens uint8 ``(n,)``, the numbers of characters in the vocabulary.

    The vocabulary holds the bytes of the training text, ascending.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    vocabulary: bytes


def encode(vocabulary: bytes, text: bytes) -> np.ndarray:
    """The tokens of a text.

    Raises:
      ConfigError: for characters that are not in the vocabulary.

    Example:
      >>> from laperm_jax.lab.data import datasets
      >>> datasets.encode(b"abc", b"cab").tolist()
      [2, 0, 1]
    """
    if unknown := set(text) - set(vocabulary):
        names = ", ".join(repr(chr(byte)) for byte in sorted(unknown))
        raise ConfigError(f"the text holds {names}; the characters known are {vocabulary.decode(errors='replace')!r}")
    return np.searchsorted(np.frombuffer(vocabulary, np.uint8), np.frombuffer(text, np.uint8)).astype(np.uint8)


class Points(NamedTuple):
    """Points float32 ``(n, dimensions)`` and the values of a function there, float32 ``(n, 1)``."""

    x: np.ndarray
    y: np.ndarray


@dataclasses.dataclass(frozen=True)
class Function:
    """Points of a function: an even grid to train on, random ones to validate and to test."""

    train: Points
    validation: Points
    test: Points


AnyDataset = Dataset | Text | Function


def load(name: str, data_dir: Path | None = None) -> AnyDataset:
    """Loads a dataset.

    Args:
      name: one of ``NAMES``.
      data_dir: data directory of TensorFlow Datasets; by default the environment's ``TFDS_DATA_DIR``, or else TFDS's
        own (``~/tensorflow_datasets``). Not used for ``digits`` and functions.

    Returns:
      Images of 10 classes, text, or points of a function.

    Raises:
      ConfigError: for an unknown name, and if the dataset is not prepared or damaged.

    Example:
      >>> from laperm_jax.lab.data import datasets
      >>> digits = datasets.load("digits")
      >>> digits.train.images.shape, digits.test.images.shape, digits.max_pixel
      ((1437, 8, 8, 1), (360, 8, 8, 1), 16)
    """
    check_name(name)
    if name in DATASETS["regression"]:
        return _load_function(1 if name == "sine" else 2)
    if name in DATASETS["language"]:
        return load_text(name, data_dir)
    return load_images(name, data_dir)


def load_images(name: str, data_dir: Path | None = None) -> Dataset:
    """Like :func:`load`, for datasets of images."""
    return _load_digits() if name == "digits" else _load_images(name, _resolve(data_dir))


def load_text(name: str, data_dir: Path | None = None) -> Text:
    """Like :func:`load`, for texts."""
    return _load_text(name, _resolve(data_dir))


def shapes(config: TrainConfig) -> tuple[tuple[int, ...], int]:
    """Shape of one example's input, and number of features that the network of a run returns, without its data."""
    match config.data.dataset:
        case "tiny_shakespeare":
            return (config.model.context,), _VOCABULARY
        case "sine" | "sine2d":
            return (1 if config.data.dataset == "sine" else 2,), 1
        case name:
            return IMAGE_SHAPES[name], _CLASSES


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


def prepare(name: str, data_dir: Path | None = None, say: preparation.Say = lambda line: None) -> Path:
    """Downloads a dataset and prepares it for random access (array_record).

    Args:
      name: ``"mnist"``, ``"cifar10"`` or ``"tiny_shakespeare"``.
      data_dir: as for :func:`load`.
      say: prints a line on what is done.

    Returns:
      The folder of the prepared dataset.

    Raises:
      ConfigError: for an unknown name, for what needs no preparing, and where a download fails.
    """
    check_name(name)
    if name in _COME_ALONG:
        raise ConfigError(f"{_COME_ALONG[name]}: there is nothing to prepare")
    builder = _builder(name, _resolve(data_dir))
    if not builder.is_prepared():
        preparation.prepare(builder, say)
    return Path(builder.data_dir)


def folder(name: str, data_dir: Path | None = None) -> tuple[Path, bool]:
    """Where a dataset is kept, and whether it is prepared there.

    Args:
      name: one of ``PREPARED``.
      data_dir: as for :func:`load`.
    """
    builder = _builder(name, _resolve(data_dir))
    return Path(builder.data_dir), builder.is_prepared()


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
def _load_function(dimensions: int) -> Function:
    """-sin(2 pi x) on the interval from 0 to 1, or the product of two such on the square."""
    rng = np.random.default_rng(0)
    count = 16_384 if dimensions == 1 else 128
    side = (np.arange(count) + 0.5) / count
    grid = np.stack(np.meshgrid(*[side] * dimensions), axis=-1).reshape(-1, dimensions)

    def points(x: np.ndarray) -> Points:
        y = -np.sin(2 * np.pi * x).prod(axis=1, keepdims=True)
        return Points(x.astype(np.float32), y.astype(np.float32))

    return Function(points(grid), points(rng.random((400, dimensions))), points(rng.random((1000, dimensions))))


@functools.cache
def _load_images(name: str, data_dir: Path | None) -> Dataset:
    def split(examples: list[dict[str, Any]]) -> Split:
        return Split(
            np.stack([example["image"] for example in examples]),
            np.array([example["label"] for example in examples], np.int32),
        )

    train, test = map(split, _read(name, data_dir, ("train", "test")))
    return Dataset(train, test, max_pixel=255)


@functools.cache
def _load_text(name: str, data_dir: Path | None) -> Text:
    train, validation, test = (
        b"".join(example["text"] for example in examples)
        for examples in _read(name, data_dir, ("train", "validation", "test"))
    )
    vocabulary = bytes(sorted(set(train)))
    return Text(encode(vocabulary, train), encode(vocabulary, validation), encode(vocabulary, test), vocabulary)


def _read(name: str, data_dir: Path | None, splits: Sequence[str]) -> list[list[dict[str, Any]]]:
    """The examples of each split of a prepared dataset."""
    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        raise ConfigError(
            f"{name} is not prepared in {builder.data_dir}: run `laperm data prepare {name}`, or set TFDS_DATA_DIR to "
            "the data directory that holds it"
        )
    try:
        sources = [builder.as_data_source(split=split) for split in splits]
        return [list(source.__getitems__(range(len(source)))) for source in sources]
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
