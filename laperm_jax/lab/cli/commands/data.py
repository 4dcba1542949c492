"""``laperm data``."""

import dataclasses
from typing import Literal

from tyro.conf import Positional

from laperm_jax.lab.cli.options import DataDir
from laperm_jax.lab.cli.output import Output
from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.config.names import DatasetName


@dataclasses.dataclass(frozen=True)
class Data:
    """Download a dataset and prepare it for training.

    Preparing takes a minute or two, and TensorFlow (the extra [prepare]).
    """

    action: Positional[Literal["prepare"]]
    """What to do."""
    name: Positional[DatasetName]
    """Which dataset."""
    data_dir: DataDir = None


def run(command: Data, console: Output) -> int:
    """Prepares the dataset, and prints where it is."""
    from laperm_jax.lab.data import datasets

    try:
        folder = datasets.prepare(command.name, command.data_dir)
    except ModuleNotFoundError as error:
        raise ConfigError(f"preparing {command.name} needs {error.name}: install laperm-jax[prepare]") from None
    console.print(f"{command.name} is prepared in {folder}", soft_wrap=True)
    return 0
