"""Orders of trained networks, given to other values."""

from laperm_jax.lab.config import PAPER, make_config, with_settings
from laperm_jax.lab.experiments.catalogue.settings import MLP
from laperm_jax.lab.experiments.core import Claim, Experiment, Finding, Method, Variant
from laperm_jax.lab.experiments.judges import points
from laperm_jax.lab.experiments.results import Results, difference
from laperm_jax.lab.experiments.statistics import at_least, every

_ADAM = "Adam"
_VALUES = {
    "its initial values": "he_uniform",
    "normal values": "he_normal",
    "16 levels": "levels:16",
    "4 levels": "levels:4",
    "two values": "levels:2",
}
_SHORTER = {"epochs": 2, "learning_rate": 1e-3}


def _survives(results: Results) -> Finding:
    texts, held = [], []
    for network in results.networks:
        adam = results.best(network, method=Method.INNER)
        for name, init in _VALUES.items():
            row = results.best(network, start=_ADAM, init=init)
            start, gap = 100 * row.mean("test_accuracy_start"), difference(row, adam)
            texts.append(f"{network} onto {name}: {start:.1f} % at once, then {points(gap)} against Adam")
            held.append(at_least(-0.01).holds(gap))
    return Finding(every(held), "; ".join(texts))


TRANSFER = Experiment(
    name="transfer",
    title="Transferring a learned ordering",
    question="How much of a network that Adam has trained survives if other values take its order?",
    networks={
        "smoke": {"mlp": make_config(widths=(32,), epochs=4, sync_period=10)},
        "cpu": {"mlp": MLP},
        "full": {"mlp": MLP, "conv4": with_settings(PAPER["conv4"], epochs=40)},
    },
    variants=(
        Variant(_ADAM, Method.INNER),
        *(Variant(f"onto {name}", settings={"init": init, **_SHORTER}, start=_ADAM) for name, init in _VALUES.items()),
        *(Variant(f"from scratch, {name}", settings={"init": init}) for name, init in _VALUES.items()),
    ),
    claims=(
        Claim(
            "The ordering of a trained network transfers to other values, at the price of a short training",
            "after a fifth of the epochs at most a point below Adam, for all values",
            _survives,
        ),
    ),
    metrics={"test_accuracy_start": "at once"},
)
