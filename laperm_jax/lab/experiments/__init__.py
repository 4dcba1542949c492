"""The catalogue: experiments of the paper and of its rebuttal, and those that go past it."""

from laperm_jax.lab.experiments.base import Cell, Claim, Experiment, Judgement, Results, graded, judge_gap
from laperm_jax.lab.experiments.batchnorm import GAMMA_BETA_RESET
from laperm_jax.lab.experiments.dense import DENSE, INITIALISATIONS, INNER_OPTIMISERS
from laperm_jax.lab.experiments.functions import APPROXIMATION
from laperm_jax.lab.experiments.language import LANGUAGE, LANGUAGE_KINDS, LANGUAGE_SETTINGS
from laperm_jax.lab.experiments.scale import SCALE
from laperm_jax.lab.experiments.sparse import SHARED_VALUE, SPARSITY
from laperm_jax.lab.experiments.syncs import SCHEDULES, SINGLE_SYNC, SYNC_COST, SYNC_PERIOD
from laperm_jax.lab.experiments.transfer import TRANSFER
from laperm_jax.lab.experiments.vision import VISION

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
