"""Options that several commands share, and what is checked before a command takes its time."""

import os
from pathlib import Path
from typing import Annotated

import tyro

from laperm_jax.lab.config import ConfigError

DataDir = Annotated[
    Path | None,
    tyro.conf.arg(help="Data directory of TensorFlow Datasets (TFDS_DATA_DIR, or else ~/tensorflow_datasets)."),
]
RunArgument = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="Folder of the run.", metavar="RUN")]


def check_writable(path: Path, option: str = "--out") -> None:
    """Raises ConfigError where neither a file nor a folder can be made at a path."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if existing != path and not existing.is_dir():
        raise ConfigError(f"{option} {path} cannot be written: {existing} is a file")
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"{option} {path} cannot be written: {existing} is read-only")
