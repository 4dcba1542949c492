"""Experiments of the paper and of its rebuttal."""

from laperm_jax.lab.experiments.catalogue.paper.batchnorm import GAMMA_BETA_RESET
from laperm_jax.lab.experiments.catalogue.paper.dense import DENSE, PAPER_TABLE
from laperm_jax.lab.experiments.catalogue.paper.schedules import SCHEDULES
from laperm_jax.lab.experiments.catalogue.paper.shared import SHARED_VALUE
from laperm_jax.lab.experiments.catalogue.paper.sparse import SPARSITY
from laperm_jax.lab.experiments.catalogue.paper.starts import INITIALISATIONS, INNER_OPTIMISERS
from laperm_jax.lab.experiments.catalogue.paper.syncs import SINGLE_SYNC, SYNC_COST, SYNC_PERIOD

PAPER_EXPERIMENTS = (
    DENSE,
    PAPER_TABLE,
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

__all__ = ["PAPER_EXPERIMENTS"]
