"""Settings of language models: initial values, learning rates, periods and schedules."""

from laperm_jax.lab.config import TrainConfig, with_settings
from laperm_jax.lab.experiments.catalogue.settings import (
    LARGE_TRANSFORMER,
    SMALL_TRANSFORMER,
    TINY_TRANSFORMER,
    at_rates,
)
from laperm_jax.lab.experiments.core import Claim, Experiment, Finding, Method, MissingRunsError, Variant
from laperm_jax.lab.experiments.judges import nats, number
from laperm_jax.lab.experiments.results import Results, Row, by_validation, difference
from laperm_jax.lab.experiments.statistics import at_least, estimate


def _laperm(label: str, rate: float, **settings: object) -> Variant:
    return Variant(f"LaPerm, {rate:g}, {label}", settings={"learning_rate": rate, **settings})


def _variants(config: TrainConfig) -> tuple[Variant, ...]:
    """The variants of a network: fewer for LeCun's initial values, which turned out worse."""
    small_values = config.model.init != "lecun_normal"
    rates = {
        Method.INNER: (1e-3, 2e-3, 4e-3) if small_values else (2e-3,),
        Method.LAPERM: (1e-3, 2e-3, 4e-3, 8e-3) if small_values else (1e-3, 2e-3, 4e-3),
        Method.FROZEN: (4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 0.128) if small_values else (4e-3,),
    }
    variants = (
        *at_rates(Method.INNER, rates[Method.INNER]),
        *(_laperm("k = 50", rate) for rate in rates[Method.LAPERM]),
        *(_laperm(f"k = {k}", 2e-3, sync_period=k) for k in (20, 100)),
        _laperm("k = 50, embeddings too", 2e-3, permute_embeddings=True),
        *at_rates(Method.FROZEN, rates[Method.FROZEN]),
    )
    if not small_values:
        return variants
    return (
        *variants,
        _laperm("k = 20", 4e-3, sync_period=20),
        *at_rates(Method.INNER, (2e-3,), others=(1.6e-2,)),
        *at_rates(Method.LAPERM, (4e-3,), others=(1.6e-2, 3.2e-2, 6.4e-2)),
        _laperm("shrinking period", 2e-3, sync_schedule="shrinking"),
        _laperm("one sync at the end", 2e-3, sync_schedule="end"),
    )


def _values_matter(results: Results) -> Finding | None:
    """Compares the best variants of each method, among those that were trained from either kind of values."""
    if len(results.networks) < 2:
        return None
    shared = [
        row for row in results.rows if all(results.select(network, label=row.label) for network in results.networks)
    ]
    best: dict[tuple[str, Method], Row] = {}
    for network in results.networks:
        for method in (Method.INNER, Method.LAPERM, Method.FROZEN):
            rows = [row for row in shared if row.network == network and row.variant.method == method]
            if not rows:
                raise MissingRunsError(f"language-settings has no {method} that was trained from both kinds of values")
            best[network, method] = max(rows, key=by_validation(rows))
    large, small = results.networks
    gain = difference(best[large, Method.LAPERM], best[small, Method.LAPERM])
    loss = lambda row: number(estimate(row.values()), ".3f")
    texts = (f"{network}: {row.label} {loss(row)}" for (network, _), row in best.items())
    return Finding(at_least(0.05).holds(gain), f"LaPerm gains {nats(gain)}; {'; '.join(texts)}")


LANGUAGE_SETTINGS = Experiment(
    name="language-settings",
    title="Language: initial values, learning rates, periods and schedules",
    question="Which initial values, learning rate, sync period and schedule suit a transformer?",
    networks={
        "smoke": {"1 x 16": TINY_TRANSFORMER},
        "cpu": {
            "LeCun-normal": with_settings(SMALL_TRANSFORMER, init="lecun_normal", steps=1000),
            "normal, 0.05": with_settings(SMALL_TRANSFORMER, steps=1000),
        },
        "full": {
            "LeCun-normal": with_settings(LARGE_TRANSFORMER, init="lecun_normal", steps=2000),
            "normal, 0.02": with_settings(LARGE_TRANSFORMER, init="normal:0.02", steps=2000),
        },
    },
    variants=_variants,
    claims=(
        Claim(
            "Reordering cannot make weights smaller: a transformer has to begin with small ones",
            "the test loss of LaPerm is at least 0.05 nats a character lower from the smaller values, with each at the "
            "best settings on validation text of those tried with both",
            _values_matter,
            amended="at first over all settings, also those tried with one kind of values only, and of the validation "
            "loss",
        ),
    ),
    metrics={"val_loss": "validation loss", "syncs": "syncs"},
    seeds={"smoke": 1, "cpu": 3, "full": 3},
)
