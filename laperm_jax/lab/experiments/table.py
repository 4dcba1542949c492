"""The results of an experiment at one scale as a file: a line of JSON for each run."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from laperm_jax.lab.config import ConfigError, OutputError

Key = tuple[str, str, int]  # network, label of the variant, seed


class Run(NamedTuple):
    """One finished run.

    Attributes:
      network, variant, seed: what identifies it.
      settings: the settings by name, as ``config.json`` holds them.
      summary: what ``summary.json`` holds.
      curve: the metrics after each epoch, as ``metrics.jsonl`` holds them.
    """

    network: str
    variant: str
    seed: int
    settings: Mapping[str, Any]
    summary: Mapping[str, Any]
    curve: Sequence[Mapping[str, Any]]

    @property
    def key(self) -> Key:
        """Identity of the run: network, label of the variant, seed."""
        return self.network, self.variant, self.seed


class Table:
    """A file of runs, one JSON object a line. Several processes may add to it.

    Args:
      path: the file, ``SCALE.jsonl``; it need not exist.

    Example:
      >>> import pathlib, tempfile
      >>> from laperm_jax.lab.experiments.table import Run, Table
      >>> table = Table(pathlib.Path(tempfile.mkdtemp()) / "smoke.jsonl")
      >>> table.add([Run("mlp", "k = 2", 0, {}, {"test_accuracy": 0.9}, [])], order=[("mlp", "k = 2")])
      >>> [run.summary for run in table.read()]
      [{'test_accuracy': 0.9}]
    """

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> list[Run]:
        """The runs, in the order of the file; none if there is no file.

        Raises:
          ConfigError: naming the first line that is not a run.
        """
        if not self.path.exists():
            return []
        try:
            lines = self.path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.path} cannot be read: {error}; remove it, or name another folder") from error
        runs = []
        for number, line in enumerate(lines, 1):
            try:
                runs.append(Run(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise ConfigError(f"line {number} of {self.path} is not a run ({error}); remove the line") from error
        return runs

    def add(self, runs: Iterable[Run], order: Sequence[tuple[str, str]]) -> None:
        """Adds runs, in place of those of the same network, variant and seed. The file is replaced as a whole.

        Args:
          runs: the runs to add.
          order: networks and variants in the order of the file; others follow by name. Within each, by seed.

        Raises:
          ConfigError: if the file has a line that is not a run.
          OutputError: if it cannot be written.
        """
        places = {cell: place for place, cell in enumerate(order)}
        make_folder(self.path.parent)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            found = {run.key: run for run in [*self.read(), *runs]}
            ordered = sorted(found.values(), key=lambda run: (places.get(run.key[:2], len(places)), run.key))
            temporary = self.path.with_name(f"{self.path.name}.tmp")
            try:
                temporary.write_text("".join(json.dumps(run._asdict()) + "\n" for run in ordered))
                temporary.replace(self.path)
            except OSError as error:
                raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error


def make_folder(path: Path) -> None:
    """Makes a folder for results.

    Raises:
      OutputError: if it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise OutputError(f"{path} cannot be written: it is read-only")
