"""Language models: against Adam and against frozen kernels, settings, and kinds of matrices."""

from laperm_jax.lab.config import with_settings
from laperm_jax.lab.experiments.catalogue.settings import (
    LARGE_TRANSFORMER,
    SMALL_TRANSFORMER,
    TINY_TRANSFORMER,
    at_rates,
    transformer,
)
from laperm_jax.lab.experiments.core import (
    ADAM,
    FROZEN,
    INNER_ALONE,
    KERNELS_FROZEN,
    LAPERM,
    Claim,
    Experiment,
    Judgement,
    Results,
    Settings,
    graded,
    judge_gap,
    nats,
)

LANGUAGE = Experiment(
    name="language",
    title="Language",
    question="Can a transformer learn to write by reordering alone?",
    networks={
        "smoke": {"1 x 16": TINY_TRANSFORMER},
        "cpu": {"4 x 128, 3,000 steps": SMALL_TRANSFORMER},
        "full": {"6 x 384": LARGE_TRANSFORMER},
    },
    variants={
        # Of each the best of language-settings: Adam gains nothing by a learning rate of its own for embeddings.
        **at_rates({ADAM: INNER_ALONE}, (2e-3,)),
        **at_rates({LAPERM: {}}, (4e-3,), others=(None, 3.2e-2)),
        **at_rates({KERNELS_FROZEN: FROZEN}, (0.128,)),
    },
    curves=True,
    claims=(
        Claim(
            "A transformer whose kernels are only reordered writes as well as one that Adam trains",
            "ours; left by the authors for future work",
            "-",
            "test loss at most 0.05 nats a character above Adam's, each at its best learning rate; partly: 0.15",
            judge_gap(LAPERM, ADAM, lambda gap: gap <= 0.05, lambda gap: gap <= 0.15),
        ),
        Claim(
            "It is the reordering that learns, and not the embeddings and norms beside it",
            "ours",
            "-",
            "test loss at least 0.6 nats a character below that with kernels at their initial values; partly: 0.2",
            judge_gap(LAPERM, KERNELS_FROZEN, lambda gap: gap <= -0.6, lambda gap: gap <= -0.2),
        ),
    ),
)


def _settings(network: str) -> dict[str, Settings]:
    """The variants of a network: fewer where the initial values are not those that were found."""
    small = "LeCun" not in network
    rates = {
        ADAM: (1e-3, 2e-3, 4e-3) if small else (2e-3,),
        LAPERM: (1e-3, 2e-3, 4e-3, 8e-3) if small else (1e-3, 2e-3, 4e-3),
        KERNELS_FROZEN: (4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 0.128) if small else (4e-3,),
    }
    variants: dict[str, Settings] = {
        **at_rates({ADAM: INNER_ALONE}, rates[ADAM]),
        **{f"{LAPERM}, {rate:g}, k = 50": {"learning_rate": rate} for rate in rates[LAPERM]},
        **{f"{LAPERM}, 0.002, k = {k}": {"learning_rate": 2e-3, "sync_period": k} for k in (20, 100)},
        f"{LAPERM}, 0.002, k = 50, embeddings too": {"learning_rate": 2e-3, "permute_embeddings": True},
        **at_rates({KERNELS_FROZEN: FROZEN}, rates[KERNELS_FROZEN]),
    }
    if not small:
        return variants
    return variants | {
        f"{LAPERM}, 0.004, k = 20": {"learning_rate": 4e-3, "sync_period": 20},
        **at_rates({ADAM: INNER_ALONE}, (2e-3,), others=(1.6e-2,)),
        **at_rates({LAPERM: {}}, (4e-3,), others=(1.6e-2, 3.2e-2, 6.4e-2)),
        f"{LAPERM}, 0.002, shrinking period": {"learning_rate": 2e-3, "sync_schedule": "shrinking"},
        f"{LAPERM}, 0.002, one sync at the end": {"learning_rate": 2e-3, "sync_schedule": "end"},
    }


def _values_matter(results: Results) -> Judgement | None:
    """The best of each method on validation text, of the variants that were trained from either kind of values."""
    variants = dict.fromkeys(variant for _, variant in results.runs)
    shared = [name for name in variants if all((network, name) in results.runs for network in results.networks)]
    texts, best = [], {}
    for network in results.networks:
        for method in (ADAM, LAPERM, KERNELS_FROZEN):
            losses = {name: results.mean(network, name, "val_loss") for name in shared if name.startswith(method)}
            variant = min(losses, key=losses.__getitem__, default="")
            best[network, method] = results.mean(network, variant, "val_loss")
            texts.append(f"{network}: {variant} {best[network, method]:.3f}")
    if len(results.networks) < 2:
        return None
    large, small = results.networks
    gain = best[large, LAPERM] - best[small, LAPERM]
    return graded(gain >= 0.05, gain > 0, "; ".join(texts))


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
    variants=_settings,
    claims=(
        Claim(
            "Reordering cannot make weights smaller: a transformer has to begin with small ones",
            "ours",
            "-",
            "the best validation loss of LaPerm is at least 0.05 nats a character lower from the smaller values, at "
            "settings that were tried with both; partly: lower",
            _values_matter,
        ),
    ),
    metrics={"val_loss": "validation loss", "syncs": "syncs"},
    seeds={"smoke": 1, "cpu": 1, "full": 1},
)

_KINDS = {
    "query": "query",
    "key": "key/",
    "value": "value",
    "out": "/out/",
    "up": "/up/",
    "down": "/down/",
    "output": "^output",
}


def _kinds(results: Results) -> Judgement | None:
    texts, spreads = [], []
    for network in results.networks:
        freed = {kind: results.gap(network, f"{kind} freed", LAPERM) for kind in _KINDS}
        frozen = {kind: results.gap(network, f"{kind} frozen", LAPERM) for kind in _KINDS}
        best, worst = min(freed, key=freed.__getitem__), max(frozen, key=frozen.__getitem__)
        texts.append(f"most is gained by freeing {best} ({nats(freed[best])})")
        texts.append(f"most is lost by freezing {worst} ({nats(frozen[worst])})")
        spreads.append(frozen[worst] - min(frozen.values()))
    return graded(min(spreads) >= 0.1, min(spreads) >= 0.05, "; ".join(texts))


LANGUAGE_KINDS = Experiment(
    name="language-kinds",
    title="Language: what each kind of matrix contributes",
    question="What changes when one kind of kernel alone is freed, or stays at its initial values?",
    networks={
        "smoke": {"1 x 16": TINY_TRANSFORMER},
        "cpu": {"2 x 64, 800 steps": transformer(2, 64, steps=800, learning_rate=2e-3)},
        "full": {"6 x 384": with_settings(LARGE_TRANSFORMER, steps=2000, learning_rate=2e-3)},
    },
    variants={
        LAPERM: {},
        **{f"{kind} freed": {"free": (pattern,)} for kind, pattern in _KINDS.items()},
        **{f"{kind} frozen": {"freeze": (pattern,)} for kind, pattern in _KINDS.items()},
        "embeddings reordered": {"permute_embeddings": True},
        "embeddings frozen": {"freeze": ("embedding",)},
        ADAM: INNER_ALONE,
    },
    claims=(
        Claim(
            "Some kinds of matrices matter more than others",
            "ours",
            "-",
            "freezing one kind costs at least 0.1 nats a character more than freezing another; partly: 0.05",
            _kinds,
        ),
    ),
    seeds={"smoke": 1, "cpu": 1, "full": 1},
)
