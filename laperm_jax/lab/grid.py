"""Experiments as data: a grid of runs, the claims it answers, and how it is run, stopped and run on."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from laperm_jax.lab.config import ConfigError, ScaleName, TrainConfig, resolve
from laperm_jax.lab.run import Summary, train_seeds
from laperm_jax.lab.run_folder import CONFIG, METRICS, SUMMARY, differing_settings

Settings = Mapping[str, Any]  # fields of TrainConfig; of start, the name of the variant whose weights to begin with
Verdict = Literal["reproduced", "partly reproduced", "not reproduced"]


INNER_ALONE: Settings = {"sync_period": None, "sync_schedule": "constant", "last_sync_period": None}


class Judgement(NamedTuple):
    """What was measured, in a few words, and what it says about a claim."""

    verdict: Verdict
    measured: str


def graded(good: bool, fair: bool, measured: str) -> Judgement:
    """What a criterion, and one that asks for less, say about what was measured."""
    verdict: Verdict = "reproduced" if good else "partly reproduced" if fair else "not reproduced"
    return Judgement(verdict, measured)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of the paper, of its rebuttal or of ours, and how results decide about it.

    Attributes:
      text: the claim.
      source: where it is made.
      paper: the number given there.
      criterion: in words, what ``judge`` does.
      judge: decides; None where these results cannot (another network, another scale).
    """

    text: str
    source: str
    paper: str
    criterion: str
    judge: Callable[["Results"], Judgement | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """A grid: every network with every variant, for several seeds.

    Attributes:
      name: on the command line.
      title, question: of its section in the report.
      networks: for each scale, name of a network to its settings.
      variants: name to settings that replace those of the network; or a function from a network's name to these.
      claims: what it answers.
      x: a setting to draw scores against; without it they stand beside the names of the variants.
      curves: whether to draw training curves as well.
      metrics: further entries of ``summary.json`` for the table, with their titles.
      seeds: for each scale, number of seeds.
    """

    name: str
    title: str
    question: str
    networks: Mapping[ScaleName, Mapping[str, TrainConfig]]
    variants: Mapping[str, Settings] | Callable[[str], Mapping[str, Settings]]
    claims: tuple[Claim, ...]
    x: str | None = None
    curves: bool = False
    metrics: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seeds: Mapping[ScaleName, int] = dataclasses.field(default_factory=lambda: {"smoke": 1, "cpu": 3, "full": 3})

    def cells(self, scale: ScaleName, seeds: int | None = None) -> Iterator["Cell"]:
        """The runs of the grid, seed by seed."""
        for seed in range(seeds or self.seeds[scale]):
            for network, config in self.networks[scale].items():
                variants = self.variants(network) if callable(self.variants) else self.variants
                for variant, settings in variants.items():
                    made = replace(config, preset=None, seed=seed, **settings)
                    if made.start:
                        made = replace(made, start=Cell(network, str(made.start), made).folder)
                    yield Cell(network, variant, made)


class Cell(NamedTuple):
    """One run of a grid; its ``config.start``, if any, is a folder below that of the experiment, as ``folder`` is."""

    network: str
    variant: str
    config: TrainConfig

    @property
    def folder(self) -> Path:
        """Where its results lie, below those of the experiment."""
        slug = lambda text: re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
        return Path(slug(self.network), slug(self.variant), f"seed-{self.config.seed}")


class Results:
    """The finished runs of an experiment at one scale.

    Attributes:
      runs: ``(network, variant)`` to the summaries of its seeds, in the order of the grid.
      curves: the same to the records of ``metrics.jsonl``.
      configs: the same to the settings of one run.
      score: name of what the runs are judged by, ``accuracy`` or ``loss``.
    """

    def __init__(self, experiment: Experiment, scale: ScaleName, folder: Path):
        self.experiment, self.scale = experiment, scale
        self.runs: dict[tuple[str, str], list[Summary]] = {}
        self.curves: dict[tuple[str, str], list[list[Summary]]] = {}
        self.configs: dict[tuple[str, str], Summary] = {}
        for cell in experiment.cells(scale, seeds=_seeds_in(folder)):
            run, key = folder / cell.folder, (cell.network, cell.variant)
            if (run / SUMMARY).exists():
                self.runs.setdefault(key, []).append(json.loads((run / SUMMARY).read_text()))
                self.curves.setdefault(key, []).append(
                    [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
                )
                self.configs[key] = json.loads((run / CONFIG).read_text())
        summaries = [summary for runs in self.runs.values() for summary in runs]
        self.score = "loss" if any("test_loss" in summary for summary in summaries) else "accuracy"

    @property
    def networks(self) -> list[str]:
        """Names of the networks with results."""
        return list(dict.fromkeys(network for network, _ in self.runs))

    def values(self, network: str, variant: str, metric: str | None = None) -> np.ndarray:
        """An entry of the summaries of all seeds, the test score if None; empty without results."""
        metric = metric or f"test_{self.score}"
        return np.array([summary[metric] for summary in self.runs.get((network, variant), [])], np.float64)

    def mean(self, network: str, variant: str, metric: str | None = None) -> float:
        """The mean over the seeds; NaN without results."""
        values = self.values(network, variant, metric)
        return float(values.mean()) if values.size else float("nan")


def _seeds_in(folder: Path) -> int:
    numbers = [int(path.name.removeprefix("seed-")) for path in folder.glob("*/*/seed-*") if path.suffix != ".partial"]
    return max(numbers, default=0) + 1


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
        slow = jax.default_backend() == "cpu" and config.model not in ("mlp", "f1", "f2", "approximator")
        alone = config.redraw or config.start or slow
        groups.setdefault((cell.network, cell.variant, config.seed if alone else None), []).append(cell)
    yield from groups.values()


def _make(cells: list[Cell], out: Path, show: Callable[[int, int], None]) -> list[str] | None:
    """Makes the runs of some cells, together, and returns their test scores; None if it was interrupted."""
    folders = [out / cell.folder for cell in cells]
    partial = [folder.with_name(folder.name + ".partial") for folder in folders]
    begun = lambda config: replace(config, start=out / config.start if config.start else None, resume=True)
    configs = [replace(begun(cell.config), out=path) for cell, path in zip(cells, partial, strict=True)]
    summaries = train_seeds(configs, on_progress=show)
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
    return [
        f"{summary['test_accuracy']:.2%}" if "test_accuracy" in summary else f"{summary['test_loss']:.4g}"
        for summary in summaries
    ]


def _is_finished(folder: Path, config: TrainConfig) -> bool:
    if not (folder / SUMMARY).exists():
        return False
    if names := differing_settings(folder, resolve(config)):
        raise ConfigError(
            f"{folder} holds a run of other settings ({', '.join(names)}); remove it or give another --out"
        )
    return True
