"""Experiments as data: networks, variants that change their settings, and claims that the results decide."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from laperm_jax.lab.config import TrainConfig, with_settings
from laperm_jax.lab.config.names import ScaleName

if TYPE_CHECKING:
    from laperm_jax.lab.experiments.results import Results

Settings = Mapping[str, Any]  # settings of a TrainConfig by name
Verdict = Literal[
    "reproduced",
    "partly reproduced",
    "not reproduced",
    "supported",
    "not supported",
    "inconclusive",
    "too small to judge",
]


class Method(StrEnum):
    """What is done with the kernels."""

    LAPERM = "LaPerm"
    INNER = "inner optimiser alone"
    FROZEN = "kernels frozen"

    @property
    def settings(self) -> Settings:
        """The settings that the method fixes."""
        no_sync: Settings = {"sync_period": None, "sync_schedule": "constant", "last_sync_period": None}
        return {Method.LAPERM: {}, Method.INNER: no_sync, Method.FROZEN: {**no_sync, "freeze": ("kernel",)}}[self]


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to train the networks of an experiment.

    Attributes:
      label: its name in tables and figures.
      method: what is done with the kernels.
      settings: settings that replace those of the network.
      start: label of the variant whose trained weights it starts from (``--start``).
    """

    label: str
    method: Method = Method.LAPERM
    settings: Settings = dataclasses.field(default_factory=dict)
    start: str | None = None


class Cell(NamedTuple):
    """One run of an experiment.

    Attributes:
      network: name of the network.
      variant: how it is trained.
      config: settings of the run, without ``start``.
    """

    network: str
    variant: Variant
    config: TrainConfig

    @property
    def key(self) -> tuple[str, str, int]:
        """Identity of the run in a table of results: network, label of the variant, seed."""
        return self.network, self.variant.label, self.config.seed

    @property
    def folder(self) -> Path:
        """Folder of the run, relative to the folder of all runs."""
        return _folder(*self.key)

    @property
    def start(self) -> Path | None:
        """Folder of the run that it starts from."""
        return _folder(self.network, self.variant.start, self.config.seed) if self.variant.start else None


def _folder(network: str, variant: str, seed: int) -> Path:
    slug = lambda text: re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
    return Path(slug(network), slug(variant), f"seed-{seed}")


class MissingRunsError(LookupError):
    """A claim needs runs that are not there."""


class Finding(NamedTuple):
    """Finding of a judge about a claim. Each criterion is met (True), missed (False), or left open by the seeds (None).

    Attributes:
      full: the criterion of the claim.
      measured: what was measured, in words.
      partial: a weaker criterion.
    """

    full: bool | None
    measured: str
    partial: bool | None = False


class Judgement(NamedTuple):
    """A verdict on a claim, and what was measured, in words."""

    verdict: Verdict
    measured: str


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of a publication or of ours, and how it is judged.

    Attributes:
      text: the claim.
      criterion: in words, what ``judge`` computes.
      judge: what results say about it; None if they cannot decide (another network, another scale). It raises
        MissingRunsError if runs are missing.
      source: where it was published; None for our own.
      paper: the number given there.
      amended: if the criterion was changed after results were seen, how.
    """

    text: str
    criterion: str
    judge: Callable[["Results"], Finding | None]
    source: str | None = None
    paper: str = "-"
    amended: str = ""

    def verdict(self, finding: Finding) -> Verdict:
        """The verdict that a finding amounts to.

        A published claim is *reproduced*, *partly reproduced* or *not reproduced*, one of ours *supported* or *not
        supported*: each as far as 95 % intervals establish it. Otherwise it is *inconclusive*.

        Example:
          >>> from laperm_jax.lab.experiments.core import Claim, Finding
          >>> ours = Claim("It works", "it works", judge=lambda results: None)
          >>> ours.verdict(Finding(None, "+0.1 points [-0.2, +0.4]"))
          'inconclusive'
        """
        if self.source is None:
            return "inconclusive" if finding.full is None else "supported" if finding.full else "not supported"
        if finding.full or finding.partial:
            return "reproduced" if finding.full else "partly reproduced"
        return "inconclusive" if None in (finding.full, finding.partial) else "not reproduced"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """A grid of runs: every network with every variant, for several seeds.

    Attributes:
      name: name on the command line.
      title: heading in the report.
      question: what it asks, in one sentence.
      networks: for each scale, the settings of each network by its name.
      variants: how each network is trained; or a function from the settings of a network to its variants.
      claims: the claims that it tests.
      x: a setting to draw scores against; without it they are drawn beside the labels of the variants.
      curves: whether to draw training curves as well.
      metrics: further entries of the summaries for the table, with their titles.
      seeds: for each scale, the number of seeds.
      side_by_side: whether the seeds of a variant may run together, which makes their times shares of the whole.
    """

    name: str
    title: str
    question: str
    networks: Mapping[ScaleName, Mapping[str, TrainConfig]]
    variants: Sequence[Variant] | Callable[[TrainConfig], Sequence[Variant]]
    claims: tuple[Claim, ...]
    x: str | None = None
    curves: bool = False
    metrics: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seeds: Mapping[ScaleName, int] = dataclasses.field(default_factory=lambda: {"smoke": 1, "cpu": 3, "full": 3})
    side_by_side: bool = True

    def cells(self, scale: ScaleName, seeds: int | None = None) -> Iterator[Cell]:
        """The runs of the experiment, seed by seed.

        Args:
          scale: size of the networks and of their training.
          seeds: number of seeds; by default the experiment's own.
        """
        for seed in range(seeds or self.seeds[scale]):
            for network, config in self.networks[scale].items():
                for variant in self.variants(config) if callable(self.variants) else self.variants:
                    settings = {**variant.method.settings, **variant.settings}
                    yield Cell(network, variant, with_settings(config, preset=None, seed=seed, **settings))
