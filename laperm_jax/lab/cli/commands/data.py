"""``laperm data``."""

import dataclasses
import functools
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from laperm_jax.lab.cli.options import DataDir
from laperm_jax.lab.cli.output import Output
from laperm_jax.lab.config.names import DatasetName


@dataclasses.dataclass(frozen=True)
class Data:
    """Download a dataset and prepare it for training.

    Downloads 12 MB for mnist, 170 MB for cifar10, 1 MB for tiny_shakespeare. A download that was cut short is resumed,
    and checked. Needs no TensorFlow.
    """

    action: Annotated[Literal["prepare"], Positional, tyro.conf.arg(metavar="prepare")]
    """What to do."""
    name: Positional[DatasetName]
    """Which dataset."""
    data_dir: DataDir = None


def run(command: Data, console: Output) -> int:
    """Prepares the dataset, and prints where it is."""
    from laperm_jax.lab.data import datasets

    say = functools.partial(console.print, soft_wrap=True)
    folder = datasets.prepare(command.name, command.data_dir, say)
    console.print(f"{command.name} is prepared in {folder}", soft_wrap=True)
    return 0
