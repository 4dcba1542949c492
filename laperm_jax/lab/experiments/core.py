"""Experiments as data: a grid of runs, the claims it answers, and what its results say about each."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from laperm_jax.lab.config import TrainConfig, with_settings
from laperm_jax.lab.config.names import ScaleName
from laperm_jax.lab.config.scores import SCORES, goodness
from laperm_jax.lab.runs.run import Summary
from laperm_jax.lab.runs.run_folder import CONFIG, METRICS, SUMMARY

Settings = Mapping[str, Any]  # fields of TrainConfig; of start, the name of the variant whose weights to begin with
Verdict = Literal["reproduced", "partly reproduced", "not reproduced"]


ADAM, LAPERM, ALONE, KERNELS_FROZEN = "Adam", "LaPerm", "inner alone", "kernels frozen"  # names of variants
INNER_ALONE: Settings = {"sync_period": None, "sync_schedule": "constant", "last_sync_period": None}
FROZEN: Settings = {**INNER_ALONE, "freeze": ("kernel",)}


class Judgement(NamedTuple):
    """What was measured, in a few words, and what it says about a claim."""

    verdict: Verdict
    measured: str


def graded(good: bool, fair: bool, measured: str) -> Judgement:
    """What a criterion, and one that asks for less, say about what was measured."""
    verdict: Verdict = "reproduced" if good else "partly reproduced" if fair else "not reproduced"
    return Judgement(verdict, measured)


def points(gap: float) -> str:
    """A difference of accuracies."""
    return f"{100 * gap:+.2f} points"


def nats(gap: float) -> str:
    """A difference of cross-entropies."""
    return f"{gap:+.3f} nats"


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
                    made = with_settings(config, preset=None, seed=seed, **settings)
                    if made.model.start:
                        made = with_settings(made, start=Cell(network, str(made.model.start), made).folder)
                    yield Cell(network, variant, made)


class Cell(NamedTuple):
    """One run of a grid; ``config.model.start`` and ``folder`` are relative to the folder of the experiment."""

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
        self.score = SCORES[next(iter(experiment.networks[scale].values())).task]

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

    def best(self, network: str, method: str) -> str:
        """The variant called so; without one, that of ``method, ...`` with the best mean validation score."""
        means = {
            variant: np.mean([goodness(summary) for summary in summaries])
            for (name, variant), summaries in self.runs.items()
            if name == network and variant.startswith(f"{method},") and (network, method) not in self.runs
        }
        return max(means, key=means.__getitem__, default=method)

    def gap(self, network: str, variant: str, reference: str) -> float:
        """The mean test score of a variant less that of another, each the best of that name."""
        return self.mean(network, self.best(network, variant)) - self.mean(network, self.best(network, reference))


def judge_gap(
    variant: str, reference: str, good: Callable[[float], bool], fair: Callable[[float], bool] | None = None
) -> Callable[[Results], Judgement | None]:
    """A judge of how far the mean test score of a variant is above that of another.

    Args:
      variant: name of the variant, or of a method, whose best variant it then is (:meth:`Results.best`).
      reference: the same of the other.
      good: whether a gap is as claimed; it has to be so on every network.
      fair: the same, asking for less; without it, a good gap on one network is fair.
    """

    def judge(results: Results) -> Judgement | None:
        gaps = {network: results.gap(network, variant, reference) for network in results.networks}
        unit = points if results.score == "accuracy" else nats
        met = [good(gap) for gap in gaps.values()]
        fairly = all(map(fair, gaps.values())) if fair else any(met)
        return graded(all(met), fairly, "; ".join(f"{network}: {unit(gap)}" for network, gap in gaps.items()))

    return judge


def _seeds_in(folder: Path) -> int:
    numbers = [int(path.name.removeprefix("seed-")) for path in folder.glob("*/*/seed-*") if path.suffix != ".partial"]
    return max(numbers, default=0) + 1
