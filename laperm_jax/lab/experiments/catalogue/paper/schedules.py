"""Sync periods that change over a run."""

import numpy as np

from laperm_jax.lab.config import PAPER, TrainConfig, with_settings
from laperm_jax.lab.experiments.catalogue.settings import CONSTANT, CONV7, DIGITS, MLP
from laperm_jax.lab.experiments.core import Claim, Experiment, Judgement, Variant, verdict
from laperm_jax.lab.experiments.judges import points
from laperm_jax.lab.experiments.results import Results

_CONSTANT = tuple(Variant(f"k = {k}", settings={"sync_period": k}) for k in (10, 20, 50, 100, 200))
_CHANGING = (
    Variant("shrinking", settings={"sync_schedule": "shrinking"}),
    Variant("growing 10 to 400", settings={"sync_period": 10, "sync_schedule": "geometric", "last_sync_period": 400}),
)
_WITH_LEARNING_RATE = tuple(
    Variant(f"with the learning rate from {k}", settings={"sync_period": k, "sync_schedule": "learning-rate"})
    for k in (20, 50)
)


def _variants(config: TrainConfig) -> tuple[Variant, ...]:
    """A period that follows a constant learning rate is constant too."""
    return (*_CONSTANT, *_CHANGING, *(() if config.optimizer.schedule == "constant" else _WITH_LEARNING_RATE))


def _beats_constant(results: Results) -> Judgement:
    constant = {
        network: max(row.mean() for row in results.all_rows(network) if row.settings["sync_schedule"] == "constant")
        for network in results.networks
    }
    gains = {
        variant.label: {row.network: row.mean() - constant[row.network] for row in rows}
        for variant in (*_CHANGING, *_WITH_LEARNING_RATE)
        if (rows := results.select(label=variant.label))
    }
    wins = {label: sum(gain > 0 for gain in of_label.values()) for label, of_label in gains.items()}
    winner = max(gains, key=lambda label: (wins[label], np.mean(list(gains[label].values()))))
    text = f"{winner}: " + "; ".join(f"{network} {points(gain)}" for network, gain in gains[winner].items())
    return verdict(wins[winner] >= 3, wins[winner] >= 1, text)


SCHEDULES = Experiment(
    name="schedules",
    title="Sync schedules",
    question="Does a period that changes over the run beat the best constant one, at equal epochs?",
    networks={
        "smoke": {"mlp": DIGITS},
        "cpu": {
            "mlp, constant learning rate": CONSTANT,
            "mlp, cosine": MLP,
            "mlp, keep 30 %": with_settings(MLP, keep=(0.3,)),
            "conv7, constant learning rate, 600 steps": with_settings(
                CONV7, schedule="constant", epochs=None, steps=600
            ),
            "f1, shared value": with_settings(PAPER["f1"], schedule="cosine", learning_rate=2e-3),
        },
        "full": {name: PAPER[name] for name in ("conv2", "conv4", "conv7")},
    },
    variants=_variants,
    claims=(
        Claim(
            "A period that changes over the run beats the best constant one",
            "ours",
            "-",
            "one schedule beats the best constant period in mean accuracy on three networks; partly: on one",
            _beats_constant,
        ),
    ),
    metrics={"syncs": "syncs"},
)
