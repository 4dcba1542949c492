"""Options of the commands `bench` and `evaluate`."""

import dataclasses
import typing
from pathlib import Path
from typing import Literal

from laperm_jax.lab.config.checks import check_fields
from laperm_jax.lab.config.errors import ConfigError
from laperm_jax.lab.config.names import ClassifierName, ImagesName
from laperm_jax.lab.config.ranges import Count

TreeName = Literal["f1", "mlp", "conv7", "conv2", "conv4", "conv13", "resnet50", "gpt2", "vit", "rows-9", "rows-64"]

_SMALLEST = 10**5  # weights, of the scaling series


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """Measure what a sync costs on this machine.

    The matrix of a billion weights takes longest, half a minute for each sync on two CPU cores; --models f1 --largest 0
    takes seconds.
    """

    models: tuple[TreeName, ...] = typing.get_args(TreeName)
    """Parameter trees: networks of the lab, the shapes of gpt2 (small) and vit (base), a million weights in rows."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Dtype of the parameters."""
    largest: int = 10**9
    """Weights in the last matrix of the scaling series, which goes from 100,000 in steps of ten, as memory allows."""
    repeats: Count = 11
    """Timed calls of each function, in turns."""
    peers: bool = False
    """Compare with our other implementations and, in float32, with NumPy, PyTorch, TensorFlow and argsort(argsort) in
    JAX, where they are installed."""
    out: Path | None = None
    """Folder for bench.json and bench.png; nothing is written without it."""


def check_bench(config: BenchConfig) -> None:
    """Checks the options of the benchmark.

    Raises:
      ConfigError: naming the first option that is wrong, its value, and what is allowed.
    """
    check_fields(config)
    if config.largest and config.largest < _SMALLEST:
        raise ConfigError(f"--largest is {config.largest}; it must be {_SMALLEST} or more, or 0 for no series")
    if config.out and config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"--out {config.out} is a file; name a folder")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate released weights: their accuracy, and what each weight vector looks like."""

    keras_weights: Path
    """Keras weight file (HDF5), such as the paper's authors released."""
    model: ClassifierName
    """The network of the file."""
    dataset: ImagesName
    """The dataset whose test images to classify."""
    data_dir: Path | None = None
    """Data directory of TensorFlow Datasets (TFDS_DATA_DIR, or else ~/tensorflow_datasets)."""


def check_evaluate(config: EvaluateConfig) -> None:
    """Checks the options that can be checked without the data.

    Raises:
      ConfigError: for a name that is not one of its choices, and if there is no such file.
    """
    check_fields(config)
    if not config.keras_weights.is_file():
        raise ConfigError(f"--keras-weights {config.keras_weights} is not a file; name a Keras weight file (HDF5)")
