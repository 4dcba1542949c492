"""Orders of trained networks, given to other values."""

from laperm_jax.lab.config import PAPER, make_config, with_settings
from laperm_jax.lab.experiments.catalogue.settings import MLP
from laperm_jax.lab.experiments.core import Claim, Experiment, Judgement, Method, Variant, verdict
from laperm_jax.lab.experiments.results import Results

_ADAM = "Adam"
_VALUES = {
    "its initial values": "he_uniform",
    "normal values": "he_normal",
    "16 levels": "levels:16",
    "4 levels": "levels:4",
    "two values": "levels:2",
}
_SHORTER = {"epochs": 2, "learning_rate": 1e-3}


def _survives(results: Results) -> Judgement:
    texts, after = [], []
    for network in results.networks:
        adam = results.best(network, method=Method.INNER).mean()
        for name, init in _VALUES.items():
            row = results.best(network, start=_ADAM, init=init)
            start, end = row.mean("test_accuracy_start"), row.mean()
            texts.append(f"{network} onto {name}: {start:.1%} at once, {end:.2%} after")
            after.append(end >= adam - 0.01)
    return verdict(all(after), any(after), "; ".join(texts))


TRANSFER = Experiment(
    name="transfer",
    title="Orders taken over",
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
            "The order of a trained network can be taken over by other values, at the price of a short training",
            "ours",
            "-",
            "after a fifth of the epochs at most a point below Adam, for all values; partly: for some",
            _survives,
        ),
    ),
    metrics={"test_accuracy_start": "at once"},
)
