"""The runs of an experiment at one scale: which are finished, which process makes one, which files are kept."""

import contextlib
import json
import shutil
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock, Timeout

from laperm_jax.lab.config import ConfigError, from_settings, resolve, settings
from laperm_jax.lab.config.names import ScaleName
from laperm_jax.lab.experiments.core import Cell, Experiment
from laperm_jax.lab.experiments.table import Run, Table, make_folder
from laperm_jax.lab.runs.run_folder import CONFIG, METRICS, WEIGHTS


class Grid:
    """The runs of an experiment at one scale, which several processes may share.

    Finished runs are lines of ``folder/SCALE.jsonl``; each run has a folder below ``folder/SCALE.runs`` while it is
    made.

    Attributes:
      cells: the runs.
      runs: the folder of the folders of runs.

    Args:
      experiment: the experiment.
      scale: size of the networks and of their training.
      seeds: number of seeds; by default the experiment's own.
      folder: folder of the table.
      networks: the networks to run; by default all.
      variants: labels of the variants to run; by default all.
      keep_runs: whether to keep the folders of finished runs.

    Raises:
      ConfigError: if the table has a run of other settings, or there is no such network or variant.
    """

    def __init__(
        self,
        experiment: Experiment,
        scale: ScaleName,
        seeds: int | None,
        folder: Path,
        *,
        networks: Collection[str] = (),
        variants: Collection[str] = (),
        keep_runs: bool = False,
    ):
        self.cells = _chosen(experiment.cells(scale, seeds), networks, variants)
        self.runs = folder / f"{scale}.runs"
        self._order = [cell.key[:2] for cell in experiment.cells(scale, 1)]
        self._table = Table(folder / f"{scale}.jsonl")
        self._keep_runs, self._side_by_side = keep_runs, experiment.side_by_side
        self._check_settings()

    def unfinished(self) -> list[Cell]:
        """The runs that are not in the table, and those that one of them starts from, if their weights are gone."""
        missing = self._missing()
        starts = {cell.start for cell in missing}
        return [
            cell for cell in self.cells if cell in missing or (cell.folder in starts and not self._has(cell.folder))
        ]

    def claim(self) -> Iterator[list[Cell]]:
        """Yields unfinished runs to make together, and locks them until the next is asked for.

        Runs that another process has locked come last; those that it has finished by then are left out.
        """
        for wait in (False, True):
            for name, group in self._groups(self.unfinished()).items():
                with self._locked(name, wait) as locked:
                    left = [cell for cell in self.unfinished() if cell in group] if locked else []
                    if left and all(cell.start is None or self._has(cell.start) for cell in left):
                        yield left

    def add(self, cells: Sequence[Cell], summaries: Sequence[Mapping[str, Any]]) -> None:
        """Adds finished runs to the table, and removes the folders of runs that are not needed any more.

        Args:
          cells: the runs; their folders are below :attr:`runs`.
          summaries: the summary of each.
        """
        self._table.add((self._read(*run) for run in zip(cells, summaries, strict=True)), self._order)
        self.clean_up()

    def clean_up(self) -> None:
        """Removes the folders of finished runs, but for those that an unfinished run starts from."""
        missing = self._missing()
        needed = {folder for cell in missing for folder in (cell.folder, cell.start)}
        for cell in self.cells:
            if not self._keep_runs and cell.folder not in needed:
                shutil.rmtree(self.runs / cell.folder, ignore_errors=True)
        _remove_empty(self.runs, {cell.folder for cell in self.cells})

    def _groups(self, cells: Iterable[Cell]) -> dict[str, list[Cell]]:
        """Runs to make together, by the name of their lock: the seeds of a variant, where the device gains by it.

        On a CPU, small networks without convolutions do.
        """
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            slow = jax.default_backend() == "cpu" and cell.config.model.model not in ("mlp", "f1", "f2", "approximator")
            alone = cell.config.sync.redraw or cell.variant.start or slow or not self._side_by_side
            folder = cell.folder if alone else cell.folder.parent
            groups.setdefault("--".join(folder.parts), []).append(cell)
        return groups

    def _read(self, cell: Cell, summary: Mapping[str, Any]) -> Run:
        folder = self.runs / cell.folder
        config = json.loads((folder / CONFIG).read_text())
        curve = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
        return Run(*cell.key, config, summary, curve)

    def _missing(self) -> list[Cell]:
        done = {run.key for run in self._table.read()}
        return [cell for cell in self.cells if cell.key not in done]

    def _has(self, folder: Path) -> bool:
        return (self.runs / folder / WEIGHTS).is_file()

    def _check_settings(self) -> None:
        done = {run.key: run for run in self._table.read()}
        for cell in self.cells:
            if cell.key not in done:
                continue
            made, wanted = settings(from_settings(done[cell.key].settings)), settings(resolve(cell.config))
            if names := [name for name, value in wanted.items() if made[name] != value]:
                raise ConfigError(
                    f"{self._table.path} has a run of other settings ({', '.join(names)}): {cell.network}, "
                    f"{cell.variant.label}, seed {cell.config.seed}; remove its line, or give another --out"
                )

    @contextlib.contextmanager
    def _locked(self, name: str, wait: bool) -> Generator[bool]:
        """Whether the runs of that name are locked by this process."""
        path = self.runs / f"{name}.lock"
        held = None
        while not held:
            make_folder(self.runs)
            try:
                held = FileLock(path).acquire(timeout=-1 if wait else 0)
            except Timeout:
                yield False
                return
            except FileNotFoundError:
                pass  # another process has made its last run, and removed the folder
        with held:
            yield True
            path.unlink(missing_ok=True)  # who waits for it finds the runs in the table


def _chosen(cells: Iterable[Cell], networks: Collection[str], variants: Collection[str]) -> list[Cell]:
    """The runs of some networks and variants, and those that one of them starts from."""
    cells = list(cells)
    _check_names("network", networks, [cell.network for cell in cells])
    _check_names("variant", variants, [cell.variant.label for cell in cells])
    chosen = [
        cell
        for cell in cells
        if (not networks or cell.network in networks) and (not variants or cell.variant.label in variants)
    ]
    folders = {folder for cell in chosen for folder in (cell.folder, cell.start)}
    return [cell for cell in cells if cell.folder in folders]


def _check_names(kind: str, names: Collection[str], known: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        there_are = "; ".join(dict.fromkeys(known))
        raise ConfigError(f"there is no {kind} {'; '.join(unknown)} at this scale; there are {there_are}")


def _remove_empty(root: Path, folders: Iterable[Path]) -> None:
    """Removes the parents of some folders below a root, and the root, as far as they are empty."""
    parents = {root / parent for folder in folders for parent in folder.parents}
    for parent in sorted(parents, key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):
            parent.rmdir()
