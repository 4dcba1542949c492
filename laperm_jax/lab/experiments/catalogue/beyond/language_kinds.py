"""What each kind of matrix contributes to a language model."""

from laperm_jax.lab.config import with_settings
from laperm_jax.lab.experiments.catalogue.settings import LARGE_TRANSFORMER, TINY_TRANSFORMER, transformer
from laperm_jax.lab.experiments.core import Claim, Experiment, Judgement, Method, Variant, verdict
from laperm_jax.lab.experiments.judges import nats
from laperm_jax.lab.experiments.results import Results

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


def _kinds(results: Results) -> Judgement:
    texts, spreads = [], []
    for network in results.networks:
        gaps = {
            option: {kind: results.gap(network, {option: (pattern,)}, _REORDERED) for kind, pattern in _KINDS.items()}
            for option in ("free", "freeze")
        }
        freed, frozen = gaps["free"], gaps["freeze"]
        best, worst = min(freed, key=freed.__getitem__), max(frozen, key=frozen.__getitem__)
        texts.append(f"most is gained by freeing {best} ({nats(freed[best])})")
        texts.append(f"most is lost by freezing {worst} ({nats(frozen[worst])})")
        spreads.append(frozen[worst] - min(frozen.values()))
    return verdict(min(spreads) >= 0.1, min(spreads) >= 0.05, "; ".join(texts))


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
            "ours",
            "-",
            "freezing one kind costs at least 0.1 nats a character more than freezing another; partly: 0.05",
            _kinds,
        ),
    ),
    seeds={"smoke": 1, "cpu": 1, "full": 1},
)
