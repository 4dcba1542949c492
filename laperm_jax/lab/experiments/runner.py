"""Runs the grid of an experiment; a run that was stopped resumes."""

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from laperm_jax.lab.config import with_settings
from laperm_jax.lab.config.names import ScaleName
from laperm_jax.lab.config.scores import SCORES, format_score
from laperm_jax.lab.experiments.core import Cell, Experiment
from laperm_jax.lab.experiments.grid import Grid
from laperm_jax.lab.runs.run import train_seeds

Summary = dict[str, Any]
OnProgress = Callable[[int, int], None]


def run(
    experiment: Experiment,
    scale: ScaleName,
    seeds: int | None,
    folder: Path,
    console: Console,
    *,
    networks: Collection[str] = (),
    variants: Collection[str] = (),
    keep_runs: bool = False,
) -> bool:
    """Makes the runs of an experiment that are not finished, and adds each to ``folder/SCALE.jsonl``.

    While a run is made its files are in ``folder/SCALE.runs/NETWORK/VARIANT/seed-N``, from which it resumes if it was
    stopped. Several processes may share the work. The seeds of a variant run side by side where that is faster.

    Args:
      experiment: the experiment.
      scale: size of the networks and of their training.
      seeds: number of seeds; by default the experiment's own.
      folder: folder of the table.
      console: where finished runs are reported.
      networks: the networks to run; by default all.
      variants: labels of the variants to run; by default all.
      keep_runs: whether to keep the folders of finished runs.

    Returns:
      Whether all runs are finished; False after Ctrl-C.

    Raises:
      ConfigError: if the table has a run of other settings, or a run cannot be made.
    """
    grid = Grid(experiment, scale, seeds, folder, networks=networks, variants=variants, keep_runs=keep_runs)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        total = len(grid.cells)
        all_runs = progress.add_task(f"{experiment.name}, runs", total=total)
        one_run = progress.add_task("")
        for cells in grid.claim():
            progress.update(all_runs, completed=total - len(grid.unfinished()))
            progress.reset(one_run, description=_name(cells))
            show = lambda step, steps: progress.update(one_run, completed=step, total=steps)
            for made, summaries in _train(grid.runs, cells, show):
                if summaries[0]["status"] == "interrupted":
                    return False
                grid.add(made, summaries)
                score = SCORES[made[0].config.task]
                scores = (format_score(score, summary[f"test_{score}"]) for summary in summaries)
                console.print(f"{_name(made)}: {', '.join(scores)} reconnected", soft_wrap=True)
    grid.clean_up()
    return True


def _name(cells: Sequence[Cell]) -> str:
    seeds = ", ".join(str(cell.config.seed) for cell in cells)
    return f"{cells[0].network}, {cells[0].variant.label}, seed {seeds}"


def _train(
    runs: Path, cells: Sequence[Cell], on_progress: OnProgress
) -> Iterator[tuple[Sequence[Cell], list[Summary]]]:
    """Trains runs together in their folders below ``runs``, or one by one if that diverges; yields them as they end."""
    folders = [runs / cell.folder for cell in cells]
    configs = [with_settings(cell.config, start=runs / cell.start) if cell.start else cell.config for cell in cells]
    summaries = train_seeds(configs, folders, resume=True, on_progress=on_progress)
    if summaries[0]["status"] == "diverged" and len(cells) > 1:  # together, all stop where one diverges
        for folder in folders:
            shutil.rmtree(folder)
        for cell in cells:
            yield from _train(runs, [cell], on_progress)
    else:
        yield cells, summaries
