"""Results of an experiment: its runs by network and variant, and how judges select among them."""

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from laperm_jax.lab.config import resolve, settings
from laperm_jax.lab.config.names import ScaleName
from laperm_jax.lab.config.scores import SCORES, Score, selection_score
from laperm_jax.lab.experiments.core import Claim, Experiment, Judgement, MissingRunsError, Variant, Verdict
from laperm_jax.lab.experiments.statistics import Estimate, estimate
from laperm_jax.lab.experiments.table import Run, Table


@dataclasses.dataclass(frozen=True)
class Row:
    """The runs of one network with one variant.

    Attributes:
      network: name of the network.
      variant: how it was trained.
      settings: its settings by name, of seed 0.
      score: name of the score, ``accuracy`` or ``loss``.
      runs: one for each seed, in ascending order of seeds.
    """

    network: str
    variant: Variant
    settings: Mapping[str, Any]
    score: Score
    runs: list[Run] = dataclasses.field(default_factory=list)

    @property
    def label(self) -> str:
        """The label of the variant."""
        return self.variant.label

    def values(self, metric: str | None = None) -> np.ndarray:
        """An entry of the summaries, by default the test score: float64 ``(seeds,)``.

        Raises:
          KeyError: if a summary has no such entry.
        """
        return np.array([run.summary[metric or f"test_{self.score}"] for run in self.runs], np.float64)

    def mean(self, metric: str | None = None) -> float:
        """The mean of an entry of the summaries, by default of the test score."""
        return float(self.values(metric).mean())

    def spread(self, metric: str | None = None) -> float:
        """The standard deviation over the seeds (``ddof=1``) of an entry, by default the test score; 0 of one seed."""
        values = self.values(metric)
        return float(values.std(ddof=1)) if values.size > 1 else 0.0

    @property
    def seeds(self) -> set[int]:
        """The seeds of the runs."""
        return {run.seed for run in self.runs}

    def selection_score(self, seeds: Collection[int]) -> float:
        """The mean validation score of some seeds; larger is better."""
        return float(np.mean([selection_score(run.summary) for run in self.runs if run.seed in seeds]))

    def has(self, where: Mapping[str, Any]) -> bool:
        """Whether the row is of the given method, label and settings."""
        own = {**self.settings, "method": self.variant.method, "label": self.label, "start": self.variant.start}
        return all(own[name] == value for name, value in where.items())


class Results:
    """The finished runs of an experiment at one scale.

    Attributes:
      experiment, scale: what was run.
      rows: the networks and variants that have runs, in the order of the experiment.
      score: name of the score, ``accuracy`` or ``loss``.

    Args:
      experiment: the experiment.
      scale: the scale.
      folder: the folder of ``SCALE.jsonl``.
    """

    def __init__(self, experiment: Experiment, scale: ScaleName, folder: Path):
        self.experiment, self.scale = experiment, scale
        runs = Table(folder / f"{scale}.jsonl").read()
        self.score = SCORES[next(iter(experiment.networks[scale].values())).task]
        self.rows: list[Row] = []
        self._cells = list(experiment.cells(scale, seeds=1))
        for cell in self._cells:
            of_cell = sorted((run for run in runs if run.key[:2] == cell.key[:2]), key=lambda run: run.seed)
            if of_cell:
                self.rows.append(Row(cell.network, cell.variant, settings(resolve(cell.config)), self.score, of_cell))

    def judgements(self) -> list[tuple[Claim, Judgement]]:
        """The claims that these results are about, with the judgement of each; those with missing runs are left out.

        Runs of the smoke scale are too small to judge.
        """
        judged = []
        for claim in self.experiment.claims:
            with contextlib.suppress(MissingRunsError):
                if finding := claim.judge(self):
                    verdict: Verdict = "too small to judge" if self.scale == "smoke" else claim.verdict(finding)
                    judged.append((claim, Judgement(verdict, finding.measured)))
        return judged

    @property
    def networks(self) -> list[str]:
        """Names of the networks of the experiment: a claim about all of them needs runs of all."""
        return list(self.experiment.networks[self.scale])

    @property
    def networks_with_runs(self) -> list[str]:
        """Names of the networks that have runs."""
        return list(dict.fromkeys(row.network for row in self.rows))

    def select(self, network: str | None = None, **where: Any) -> list[Row]:
        """The rows of a network, or of all, that have the given ``method``, ``start``, ``label`` and settings.

        Args:
          network: name of the network.
          **where: fields of the variant, and settings of the run by name.
        """
        return [row for row in self.rows if network in (None, row.network) and row.has(where)]

    def all_rows(self, network: str) -> list[Row]:
        """The rows of a network.

        Raises:
          MissingRunsError: if one of its variants has no runs.
        """
        rows = self.select(network)
        if {row.label for row in rows} < {cell.variant.label for cell in self._cells if cell.network == network}:
            raise MissingRunsError(f"{self.experiment.name} lacks runs of {network}")
        return rows

    def best(self, network: str, **where: Any) -> Row:
        """The row among :meth:`select` that is best :func:`by_validation`.

        Raises:
          MissingRunsError: if there is none.
        """
        if rows := self.select(network, **where):
            return max(rows, key=by_validation(rows))
        raise MissingRunsError(f"{self.experiment.name} has no runs of {network} with {where}")

    def gap(self, network: str, where: Mapping[str, Any], reference: Mapping[str, Any]) -> Estimate:
        """The test score of a row less that of another, each the best on validation data of those selected.

        Raises:
          MissingRunsError: if either has no runs.
        """
        return difference(self.best(network, **where), self.best(network, **reference))


def by_validation(rows: Sequence[Row]) -> Callable[[Row], float]:
    """How rows are ranked: by the mean validation score over the seeds that all have, else over each one's own.

    Over its own, one seed that does well would win against the mean of three.
    """
    shared = _shared_seeds(rows)
    return lambda row: row.selection_score(shared or row.seeds)


def _shared_seeds(rows: Sequence[Row]) -> set[int]:
    return set.intersection(*(row.seeds for row in rows)) if rows else set()


def by_seed(rows: Sequence[Row], of: Callable[[Row], np.ndarray] = Row.values) -> np.ndarray:
    """One number for each seed that all of some rows have, and each row: float64 ``(seeds, rows)``.

    Args:
      rows: the rows.
      of: the numbers of a row, ``(seeds,)``; by default its test scores.

    Raises:
      MissingRunsError: if the rows have no seed in common.
    """
    columns = [dict(zip((run.seed for run in row.runs), of(row), strict=True)) for row in rows]
    if seeds := sorted(_shared_seeds(rows)):
        return np.array([[column[seed] for column in columns] for seed in seeds])
    raise MissingRunsError(f"{rows[0].network}: {', '.join(row.label for row in rows)} have no seed in common")


def difference(row: Row, reference: Row) -> Estimate:
    """The test score of a row less that of another, seed by seed.

    Raises:
      MissingRunsError: if they have no seed in common.
    """
    ours, theirs = by_seed([row, reference]).T
    return estimate(ours - theirs)
