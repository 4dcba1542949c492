"""The catalogue: experiments of the paper and of its rebuttal, and those that go past it."""

from laperm_jax.lab.experiments.catalogue.batchnorm import GAMMA_BETA_RESET
from laperm_jax.lab.experiments.catalogue.dense import DENSE, INITIALISATIONS, INNER_OPTIMISERS
from laperm_jax.lab.experiments.catalogue.functions import APPROXIMATION
from laperm_jax.lab.experiments.catalogue.language import LANGUAGE, LANGUAGE_KINDS, LANGUAGE_SETTINGS
from laperm_jax.lab.experiments.catalogue.scale import SCALE
from laperm_jax.lab.experiments.catalogue.sparse import SHARED_VALUE, SPARSITY
from laperm_jax.lab.experiments.catalogue.syncs import SCHEDULES, SINGLE_SYNC, SYNC_COST, SYNC_PERIOD
from laperm_jax.lab.experiments.catalogue.transfer import TRANSFER
from laperm_jax.lab.experiments.catalogue.vision import VISION
from laperm_jax.lab.experiments.core import Cell, Claim, Experiment, Judgement, Results, graded, judge_gap

_OF_THE_PAPER = (
    DENSE,
    SYNC_PERIOD,
    SINGLE_SYNC,
    SPARSITY,
    SHARED_VALUE,
    GAMMA_BETA_RESET,
    INITIALISATIONS,
    INNER_OPTIMISERS,
    SCHEDULES,
    SYNC_COST,
)
PAST_CLASSIFICATION = (LANGUAGE, LANGUAGE_SETTINGS, LANGUAGE_KINDS, VISION, SCALE, APPROXIMATION, TRANSFER)
EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment for experiment in (*_OF_THE_PAPER, *PAST_CLASSIFICATION)
}

__all__ = [
    "EXPERIMENTS",
    "PAST_CLASSIFICATION",
    "Cell",
    "Claim",
    "Experiment",
    "Judgement",
    "Results",
    "graded",
    "judge_gap",
]
