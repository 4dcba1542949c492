"""One process at a time writes to a folder."""

import contextlib
from collections.abc import Generator
from pathlib import Path

import filelock

from laperm_jax.lab.config import ConfigError

LOCK = ".lock"  # in the folder that is locked; empty, and left behind


@contextlib.contextmanager
def locked(folder: Path) -> Generator[None]:
    """Locks a folder against other processes within the block; makes it if it is missing.

    The lock belongs to the process: the operating system releases it when the process ends, however it ends.

    Args:
      folder: the folder.

    Raises:
      ConfigError: if another process holds the lock, or the folder cannot be written.

    Example:
      >>> import pathlib
      >>> import tempfile
      >>> from laperm_jax.lab.runs.lock import locked
      >>> with tempfile.TemporaryDirectory() as folder, locked(pathlib.Path(folder)):
      ...     pass
    """
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise ConfigError(
            f"{folder} is in use by another process; wait until it ends, or name another folder"
        ) from None
    except OSError as error:
        raise ConfigError(f"--out {folder} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()
