"""The catalogue: experiments of the paper and of its rebuttal, and those that go past it."""

from laperm_jax.lab.experiments.catalogue.beyond import BEYOND_EXPERIMENTS
from laperm_jax.lab.experiments.catalogue.paper import PAPER_EXPERIMENTS
from laperm_jax.lab.experiments.core import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment for experiment in (*PAPER_EXPERIMENTS, *BEYOND_EXPERIMENTS)
}

__all__ = ["BEYOND_EXPERIMENTS", "EXPERIMENTS", "PAPER_EXPERIMENTS"]
