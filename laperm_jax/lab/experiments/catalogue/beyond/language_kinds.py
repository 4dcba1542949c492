"""Reordering one kind of matrix of a language model at a time."""

from laperm_jax.lab.config import with_settings
from laperm_jax.lab.experiments.catalogue.settings import LARGE_TRANSFORMER, TINY_TRANSFORMER, transformer
from laperm_jax.lab.experiments.core import Claim, Experiment, Finding, Method, Variant
from laperm_jax.lab.experiments.judges import nats
from laperm_jax.lab.experiments.results import Results, by_validation, difference
from laperm_jax.lab.experiments.statistics import at_least, every

_KINDS = {
    "query": "query",
    "key": "key/",
    "value": "value",
    "out": "/out/",
    "up": "/up/",
    "down": "/down/",
    "output": "^output",
}
_REORDERED = {"method": Method.LAPERM, "free": (), "freeze": (), "permute_embeddings": False}


def _kinds(results: Results) -> Finding:
    texts, held = [], []
    for network in results.networks:
        laperm = results.best(network, **_REORDERED)
        freed = [results.best(network, free=(pattern,)) for pattern in _KINDS.values()]
        frozen = [results.best(network, freeze=(pattern,)) for pattern in _KINDS.values()]
        frozen.sort(key=by_validation(frozen))
        best, worst = max(freed, key=by_validation(freed)), frozen[0]
        texts.append(f"best is {best.label} ({nats(difference(best, laperm))})")
        texts.append(f"worst is {worst.label} ({nats(difference(worst, laperm))})")
        spread = difference(worst, frozen[-1])
        texts.append(f"against {frozen[-1].label} {nats(spread)}")
        held.append(at_least(0.1).holds(spread))
    return Finding(every(held), "; ".join(texts))


LANGUAGE_KINDS = Experiment(
    name="language-kinds",
    title="Language: what each kind of matrix contributes",
    question="What changes when one kind of kernel alone is freed, or stays at its initial values?",
    networks={
        "smoke": {"1 x 16": TINY_TRANSFORMER},
        "cpu": {"2 x 64, 800 steps": transformer(2, 64, steps=800, learning_rate=2e-3)},
        "full": {"6 x 384": with_settings(LARGE_TRANSFORMER, steps=2000, learning_rate=2e-3)},
    },
    variants=(
        Variant("LaPerm"),
        *(Variant(f"{kind} freed", settings={"free": (pattern,)}) for kind, pattern in _KINDS.items()),
        *(Variant(f"{kind} frozen", settings={"freeze": (pattern,)}) for kind, pattern in _KINDS.items()),
        Variant("embeddings reordered", settings={"permute_embeddings": True}),
        Variant("embeddings frozen", settings={"freeze": ("embedding",)}),
        Variant("Adam", Method.INNER),
    ),
    claims=(
        Claim(
            "Some kinds of matrices matter more than others",
            "freezing one kind costs at least 0.1 nats a character more on test text than freezing another: those that "
            "cost most and least on validation text",
            _kinds,
            amended="at first the kinds were those that cost most and least on test text",
        ),
    ),
    seeds={"smoke": 1, "cpu": 3, "full": 3},
)
