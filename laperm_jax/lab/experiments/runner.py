"""How the grid of an experiment is run, stopped and run on."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from laperm_jax.lab.config import ConfigError, TrainConfig, resolve, with_settings
from laperm_jax.lab.config.names import ScaleName
from laperm_jax.lab.config.scores import SCORES, format_score
from laperm_jax.lab.experiments.core import Cell, Experiment
from laperm_jax.lab.runs.run import train_seeds
from laperm_jax.lab.runs.run_folder import SUMMARY, differing_settings


def run(experiment: Experiment, scale: ScaleName, seeds: int | None, out: Path, console: Console) -> bool:
    """Makes the runs of an experiment that are not finished yet, each in its folder below ``out``.

    The seeds of a variant run side by side where the device gains by it, and one by one elsewhere.

    A run is written to a folder of another name, and gets its own when it is finished; it goes on from its last
    checkpoint if it was stopped.

    Returns:
      Whether all are finished; not, after Ctrl-C.

    Raises:
      ConfigError: if a folder holds a run of other settings, or a run cannot be made.
    """
    cells = list(experiment.cells(scale, seeds))
    finished = [cell for cell in cells if _is_finished(out / cell.folder, cell.config)]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        grid = progress.add_task(f"{experiment.name}, runs", total=len(cells), completed=len(finished))
        bar = progress.add_task("")
        for group in _groups([cell for cell in cells if cell not in finished]):
            name = f"{group[0].network}, {group[0].variant}, seed {', '.join(str(cell.config.seed) for cell in group)}"
            progress.reset(bar, description=name)
            show = lambda step, total: progress.update(bar, completed=step, total=total)
            scores = _make(group, out, show)
            if scores is None:
                return False
            progress.advance(grid, len(group))
            console.print(f"{name}: {', '.join(scores)} reconnected", soft_wrap=True)
    return True


def _groups(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Cells to be run together: the seeds of a variant, where the device gains by it.

    On a CPU, small networks without convolutions do.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        config = cell.config
        slow = jax.default_backend() == "cpu" and config.model.model not in ("mlp", "f1", "f2", "approximator")
        alone = config.sync.redraw or config.model.start or slow
        groups.setdefault((cell.network, cell.variant, config.seed if alone else None), []).append(cell)
    yield from groups.values()


def _make(cells: list[Cell], out: Path, show: Callable[[int, int], None]) -> list[str] | None:
    """Makes the runs of some cells, together, and returns their test scores; None if it was interrupted."""
    folders = [out / cell.folder for cell in cells]
    partial = [folder.with_name(folder.name + ".partial") for folder in folders]
    started = lambda config: with_settings(config, start=out / config.model.start) if config.model.start else config
    configs = [started(cell.config) for cell in cells]
    summaries = train_seeds(configs, partial, resume=True, on_progress=show)
    status = summaries[0]["status"]
    if status == "interrupted":
        return None
    if status == "diverged" and len(cells) > 1:  # one of them has; which, they tell alone
        for path in partial:
            shutil.rmtree(path)
        scores = []
        for cell in cells:
            made = _make([cell], out, show)
            if made is None:
                return None
            scores += made
        return scores
    for path, folder in zip(partial, folders, strict=True):
        path.rename(folder)
    score = SCORES[cells[0].config.task]
    return [format_score(score, summary[f"test_{score}"]) for summary in summaries]


def _is_finished(folder: Path, config: TrainConfig) -> bool:
    if not (folder / SUMMARY).exists():
        return False
    if names := differing_settings(folder, resolve(config)):
        raise ConfigError(
            f"{folder} holds a run of other settings ({', '.join(names)}); remove it or give another --out"
        )
    return True
