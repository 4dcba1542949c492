"""Sync periods that change over a run."""

from laperm_jax.lab.config import PAPER, TrainConfig, with_settings
from laperm_jax.lab.experiments.catalogue.settings import CONSTANT, CONV7, DIGITS, MLP
from laperm_jax.lab.experiments.core import Claim, Experiment, Finding, Variant
from laperm_jax.lab.experiments.judges import points
from laperm_jax.lab.experiments.results import Results, Row, by_validation, difference
from laperm_jax.lab.experiments.statistics import above, count_of

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


def _beats_constant(results: Results) -> Finding:
    constant = {}
    for network in results.networks:
        rows = [row for row in results.all_rows(network) if row.settings["sync_schedule"] == "constant"]
        constant[network] = max(rows, key=by_validation(rows))

    def gain(row: Row) -> float:
        best = constant[row.network]
        score = by_validation([row, best])
        return score(row) - score(best)

    def on_validation_data(rows: list[Row]) -> tuple[int, float]:
        """On how many networks a schedule is ahead of the constant period, and by how much on average."""
        gains = [gain(row) for row in rows]
        return sum(gain > 0 for gain in gains), sum(gains) / len(gains)

    schedules = [results.select(label=variant.label) for variant in (*_CHANGING, *_WITH_LEARNING_RATE)]
    winner = max(filter(None, schedules), key=on_validation_data)
    gains = {row.network: difference(row, constant[row.network]) for row in winner}
    measured = "; ".join(f"{winner[0].label}, {network}: {points(gain)}" for network, gain in gains.items())
    held = [above(0).holds(gain) for gain in gains.values()]
    return Finding(count_of(held, 3), measured)


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
            "the schedule that does best on validation images beats the constant period that does, on three networks",
            _beats_constant,
            amended="at first the schedule and the period were those with the best mean test accuracy",
        ),
    ),
    metrics={"syncs": "syncs"},
    seeds={"smoke": 1, "cpu": 5, "full": 3},
)
