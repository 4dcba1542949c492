"""Language models against Adam and frozen kernels."""

from collections.abc import Iterator
from typing import Any

from laperm_jax.lab.config import TrainConfig
from laperm_jax.lab.experiments.catalogue.settings import (
    LARGE_TRANSFORMER,
    SMALL_TRANSFORMER,
    TINY_TRANSFORMER,
    Networks,
    at_rates,
    transformer,
)
from laperm_jax.lab.experiments.core import Claim, Experiment, Method, Variant
from laperm_jax.lab.experiments.judges import judge_gap
from laperm_jax.lab.experiments.statistics import at_most

_WIDE: Networks = {
    "smoke": {"1 x 16": TINY_TRANSFORMER},
    "cpu": {"4 x 128, 3,000 steps": SMALL_TRANSFORMER},
    "full": {"6 x 384": LARGE_TRANSFORMER},
}
_NARROW = {f"{layers} x 64, 800 steps": transformer(layers, 64, steps=800) for layers in (2, 4)}
_NAMES = [name for networks in _WIDE.values() for name in networks]


def _variants(config: TrainConfig) -> Iterator[Variant]:
    """Of each method the best settings of earlier trials on validation text."""
    if config.model.features == 64:
        yield from at_rates(Method.INNER, (4e-3, 8e-3))
        faster: dict[str, Any] = {"learning_rate": 4e-3, "others_learning_rate": 3.2e-2}
        yield Variant("LaPerm, k = 20", settings=faster | {"sync_period": 20})
        yield Variant("LaPerm, k = 50", settings=faster)
        feedback: dict[str, Any] = {"init": "normal:0.1", "sync_period": 5, "error_feedback": True}
        yield Variant("LaPerm, k = 5, normal:0.1, error feedback", settings=faster | feedback)
    else:
        # Adam gains nothing by a learning rate of its own for embeddings.
        yield from at_rates(Method.INNER, (2e-3,))
        yield from at_rates(Method.LAPERM, (4e-3,), others=(None, 3.2e-2))
        yield from at_rates(Method.FROZEN, (0.128,))


LANGUAGE = Experiment(
    name="language",
    title="Language",
    question="Can a transformer learn to write by reordering alone?",
    networks={**_WIDE, "cpu": {**_WIDE["cpu"], **_NARROW}},
    variants=lambda config: tuple(_variants(config)),
    curves=True,
    claims=(
        Claim(
            "A transformer of 4 x 128 whose kernels are only reordered comes within 0.05 nats of one that Adam trains",
            "test loss at most 0.05 nats a character above Adam's, each at its best learning rate on validation text",
            judge_gap({"method": Method.LAPERM}, {"method": Method.INNER}, at_most(0.05), networks=_NAMES),
        ),
        Claim(
            "It is the reordering that learns, and not the embeddings and norms beside it",
            "test loss at least 0.6 nats a character below that with kernels at their initial values",
            judge_gap({"method": Method.LAPERM}, {"method": Method.FROZEN}, at_most(-0.6), networks=_NAMES),
        ),
        Claim(
            "A narrow transformer, of 64 features, comes within 0.05 nats of one that Adam trains",
            "test loss at most 0.05 nats a character above Adam's with two and with four blocks, each at the best "
            "settings tried on validation text",
            judge_gap({"method": Method.LAPERM}, {"method": Method.INNER}, at_most(0.05), networks=_NARROW),
        ),
    ),
)
