"""Orders of trained networks, given to other values."""

from laperm_jax.lab.config import PAPER, make_config, with_settings
from laperm_jax.lab.experiments.catalogue.settings import MLP
from laperm_jax.lab.experiments.core import ADAM, INNER_ALONE, Claim, Experiment, Judgement, Results, Settings, graded

_ONTO: dict[str, Settings] = {
    "its initial values": {},
    "normal values": {"init": "he_normal"},
    "16 levels": {"init": "levels:16"},
    "4 levels": {"init": "levels:4"},
    "two values": {"init": "levels:2"},
}


def _transfer(shorter: Settings) -> dict[str, Settings]:
    return {
        ADAM: INNER_ALONE,
        **{f"onto {name}": {"start": ADAM, **settings, **shorter} for name, settings in _ONTO.items()},
        **{f"from scratch, {name}": settings for name, settings in _ONTO.items()},
    }


def _survives(results: Results) -> Judgement | None:
    texts, after = [], []
    for network in results.networks:
        adam = results.mean(network, ADAM)
        for name in _ONTO:
            start = results.mean(network, f"onto {name}", "test_accuracy_start")
            end = results.mean(network, f"onto {name}")
            texts.append(f"{network} onto {name}: {start:.1%} at once, {end:.2%} after")
            after.append(end >= adam - 0.01)
    return graded(all(after), any(after), "; ".join(texts))


TRANSFER = Experiment(
    name="transfer",
    title="Orders taken over",
    question="How much of a network that Adam has trained survives if other values take its order?",
    networks={
        "smoke": {"mlp": make_config(widths=(32,), epochs=4, sync_period=10)},
        "cpu": {"mlp": MLP},
        "full": {"mlp": MLP, "conv4": with_settings(PAPER["conv4"], epochs=40)},
    },
    variants=_transfer({"epochs": 2, "learning_rate": 1e-3}),
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
