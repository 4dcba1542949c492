"""Experiments past classification: language, vision transformers, scale, functions, and orders taken over."""

from dataclasses import replace

from laperm_jax.lab.config import DEFAULTS
from laperm_jax.lab.grid import INNER_ALONE, Claim, Experiment, Judgement, Results, Settings, graded

FROZEN: Settings = {**INNER_ALONE, "freeze": ("kernel",)}
_ADAM, _LAPERM, _KERNELS_FROZEN = "Adam", "LaPerm", "kernels frozen"

# Transformers of seconds, of minutes on two CPU cores, and of minutes on a GPU.
_TINY = replace(DEFAULTS["language"], layers=1, features=16, heads=2, context=16, steps=20, sync_period=5)
_SMALL = replace(DEFAULTS["language"], steps=3000, sync_period=50)
_LARGE = replace(DEFAULTS["language"], layers=6, features=384, heads=6, context=256, batch_size=64, steps=5000)


def _nats(difference: float) -> str:
    return f"{difference:+.3f} nats"


def _language_as_good(results: Results) -> Judgement | None:
    gaps = {name: results.mean(name, _LAPERM) - results.mean(name, _ADAM) for name in results.networks}
    text = "; ".join(f"{name}: {_nats(gap)}" for name, gap in gaps.items())
    return graded(all(gap <= 0.05 for gap in gaps.values()), all(gap <= 0.15 for gap in gaps.values()), text)


def _better_than_frozen(results: Results) -> Judgement | None:
    gains = {name: results.mean(name, _LAPERM) - results.mean(name, _KERNELS_FROZEN) for name in results.networks}
    text = "; ".join(f"{name}: {_nats(gain)}" for name, gain in gains.items())
    return graded(all(gain <= -0.6 for gain in gains.values()), all(gain <= -0.2 for gain in gains.values()), text)


LANGUAGE = Experiment(
    name="language",
    title="Language",
    question="Can a transformer learn to write by reordering alone?",
    networks={"smoke": {"1 x 16": _TINY}, "cpu": {"4 x 128, 3,000 steps": _SMALL}, "full": {"6 x 384": _LARGE}},
    variants={
        _ADAM: {**INNER_ALONE, "learning_rate": 2e-3},
        _LAPERM: {"learning_rate": 2e-3},
        _KERNELS_FROZEN: {**FROZEN, "learning_rate": 4e-3},
    },
    curves=True,
    claims=(
        Claim(
            "A transformer whose kernels are only reordered writes as well as one that Adam trains",
            "ours; left by the authors for future work",
            "-",
            "test loss at most 0.05 nats a character above Adam's, each at its best learning rate; partly: 0.15",
            _language_as_good,
        ),
        Claim(
            "It is the reordering that learns, and not the embeddings and norms beside it",
            "ours",
            "-",
            "test loss at least 0.6 nats a character below that with kernels at their initial values; partly: 0.2",
            _better_than_frozen,
        ),
    ),
)


def _best_settings(results: Results) -> Judgement | None:
    """The best of each method on validation text."""
    texts, losses = [], {}
    for network in results.networks:
        for method in (_ADAM, _LAPERM, _KERNELS_FROZEN):
            means = {
                variant: results.mean(*key, "val_loss")
                for key in results.runs
                for name, variant in [key]
                if name == network and variant.startswith(method)
            }
            best = min(means, key=lambda variant: means[variant])
            losses[network, method] = means[best]
            texts.append(f"{best}: {means[best]:.3f}")
    gaps = [losses[network, _LAPERM] - losses[network, _ADAM] for network in results.networks]
    return graded(max(gaps) <= 0.05, max(gaps) <= 0.15, "; ".join(texts))


LANGUAGE_SETTINGS = Experiment(
    name="language-settings",
    title="Language: learning rates, periods and schedules",
    question="Which learning rate, sync period, schedule and initial values suit a transformer?",
    networks={
        "smoke": {"1 x 16": _TINY},
        "cpu": {"4 x 128, 1,000 steps": replace(_SMALL, steps=1000)},
        "full": {"6 x 384": replace(_LARGE, steps=2000)},
    },
    variants={
        **{f"{_ADAM}, {rate:g}": {**INNER_ALONE, "learning_rate": rate} for rate in (1e-3, 2e-3, 4e-3)},
        **{f"{_LAPERM}, {rate:g}, k = 50": {"learning_rate": rate} for rate in (1e-3, 2e-3, 4e-3)},
        **{f"{_LAPERM}, 0.002, k = {k}": {"learning_rate": 2e-3, "sync_period": k} for k in (20, 100, 200)},
        f"{_LAPERM}, 0.002, shrinking period": {"learning_rate": 2e-3, "sync_schedule": "shrinking"},
        f"{_LAPERM}, 0.002, one sync at the end": {"learning_rate": 2e-3, "sync_schedule": "end"},
        f"{_LAPERM}, 0.002, k = 50, He-uniform": {"learning_rate": 2e-3, "init": "he_uniform"},
        f"{_LAPERM}, 0.002, k = 50, embeddings too": {"learning_rate": 2e-3, "permute_embeddings": True},
        **{f"{_KERNELS_FROZEN}, {rate:g}": {**FROZEN, "learning_rate": rate} for rate in (2e-3, 4e-3)},
    },
    claims=(
        Claim(
            "The best setting of LaPerm comes near to the best of Adam",
            "ours",
            "-",
            "validation loss at most 0.05 nats a character above; partly: 0.15",
            _best_settings,
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
        freed = {kind: results.mean(network, f"{kind} freed") - results.mean(network, _LAPERM) for kind in _KINDS}
        frozen = {kind: results.mean(network, f"{kind} frozen") - results.mean(network, _LAPERM) for kind in _KINDS}
        best, worst = min(freed, key=freed.__getitem__), max(frozen, key=frozen.__getitem__)
        texts.append(f"most is gained by freeing {best} ({_nats(freed[best])})")
        texts.append(f"most is lost by freezing {worst} ({_nats(frozen[worst])})")
        spreads.append(frozen[worst] - min(frozen.values()))
    return graded(min(spreads) >= 0.1, min(spreads) >= 0.05, "; ".join(texts))


LANGUAGE_KINDS = Experiment(
    name="language-kinds",
    title="Language: what each kind of matrix contributes",
    question="What changes when one kind of kernel alone is freed, or stays at its initial values?",
    networks={
        "smoke": {"1 x 16": _TINY},
        "cpu": {"4 x 128, 500 steps": replace(_SMALL, steps=500, learning_rate=2e-3)},
        "full": {"6 x 384": replace(_LARGE, steps=2000, learning_rate=2e-3)},
    },
    variants={
        _LAPERM: {},
        **{f"{kind} freed": {"free": (pattern,)} for kind, pattern in _KINDS.items()},
        **{f"{kind} frozen": {"freeze": (pattern,)} for kind, pattern in _KINDS.items()},
        "embeddings reordered": {"permute_embeddings": True},
        "embeddings frozen": {"freeze": ("embedding",)},
        _ADAM: INNER_ALONE,
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

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment for experiment in (LANGUAGE, LANGUAGE_SETTINGS, LANGUAGE_KINDS)
}
