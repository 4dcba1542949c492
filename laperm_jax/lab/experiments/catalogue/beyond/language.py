"""Language models against Adam and frozen kernels."""

from laperm_jax.lab.experiments.catalogue.settings import (
    LARGE_TRANSFORMER,
    SMALL_TRANSFORMER,
    TINY_TRANSFORMER,
    at_rates,
)
from laperm_jax.lab.experiments.core import Claim, Experiment, Method
from laperm_jax.lab.experiments.judges import judge_gap
from laperm_jax.lab.experiments.statistics import at_most

LANGUAGE = Experiment(
    name="language",
    title="Language",
    question="Can a transformer learn to write by reordering alone?",
    networks={
        "smoke": {"1 x 16": TINY_TRANSFORMER},
        "cpu": {"4 x 128, 3,000 steps": SMALL_TRANSFORMER},
        "full": {"6 x 384": LARGE_TRANSFORMER},
    },
    variants=(
        # Of each the best of language-settings: Adam gains nothing by a learning rate of its own for embeddings.
        *at_rates(Method.INNER, (2e-3,)),
        *at_rates(Method.LAPERM, (4e-3,), others=(None, 3.2e-2)),
        *at_rates(Method.FROZEN, (0.128,)),
    ),
    curves=True,
    claims=(
        Claim(
            "A transformer whose kernels are only reordered writes as well as one that Adam trains",
            "test loss at most 0.05 nats a character above Adam's, each at its best learning rate on validation text",
            judge_gap({"method": Method.LAPERM}, {"method": Method.INNER}, at_most(0.05)),
        ),
        Claim(
            "It is the reordering that learns, and not the embeddings and norms beside it",
            "test loss at least 0.6 nats a character below that with kernels at their initial values",
            judge_gap({"method": Method.LAPERM}, {"method": Method.FROZEN}, at_most(-0.6)),
        ),
    ),
)
