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


def check_writable(path: Path, option: str = "--out", *, folder: bool = False) -> None:
    """Raises ConfigError where a file, or a folder of files, cannot be written."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if existing.is_dir() == (existing == path and not folder):
        raise ConfigError(
            f"{option} {path} cannot be written: {existing} is a {'folder' if existing.is_dir() else 'file'}"
        )
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"{option} {path} cannot be written: {existing} is read-only")
