"""Networks and variants that several experiments share."""

from collections.abc import Mapping, Sequence
from typing import Any

from laperm_jax.lab.config import DEFAULTS, PAPER, TrainConfig, make_config, with_settings
from laperm_jax.lab.config.names import ScaleName
from laperm_jax.lab.experiments.core import Method, Variant

Networks = Mapping[ScaleName, Mapping[str, TrainConfig]]

# On digits, in seconds: for tests.
DIGITS = make_config(widths=(32,), epochs=2, sync_period=10)
DIGITS_CONV = with_settings(DIGITS, model="conv2", epochs=None, steps=4, batch_size=16, sync_period=2)
# On two CPU cores, in minutes.
MLP = make_config(dataset="mnist", batch_size=128, epochs=10, sync_period=100)
CONSTANT = with_settings(MLP, schedule="constant", learning_rate=1e-3)
CONV7 = with_settings(PAPER["conv7"], schedule="cosine", augment=False, epochs=1)
_CIFAR: dict[str, Any] = {"epochs": None, "augment": False, "schedule": "cosine", "sync_period": 50}
CONV2 = with_settings(PAPER["conv2"], steps=500, **_CIFAR)
CONV4 = with_settings(PAPER["conv4"], steps=400, **_CIFAR)

MLP_OR_CONV4: Networks = {"smoke": {"mlp": DIGITS}, "cpu": {"mlp": MLP}, "full": {"conv4": PAPER["conv4"]}}

# Transformers of seconds, of minutes on two CPU cores, and of minutes on a GPU, with one learning rate for all.
_LANGUAGE = with_settings(DEFAULTS["language"], learning_rate=2e-3, others_learning_rate=None)
TINY_TRANSFORMER = with_settings(_LANGUAGE, layers=1, features=16, heads=2, context=16, steps=20, sync_period=5)
SMALL_TRANSFORMER = with_settings(_LANGUAGE, steps=3000, sync_period=50)
LARGE_TRANSFORMER = with_settings(
    _LANGUAGE, layers=6, features=384, heads=6, context=256, batch_size=64, steps=5000, init="normal:0.02"
)

EVERY_STEP: dict[str, Any] = {"error_feedback": True, "sync_period": 1}
WITHOUT_FEEDBACK: dict[str, Any] = {"method": Method.LAPERM, "error_feedback": False}  # what Results.select takes

LABELS = {Method.LAPERM: "LaPerm", Method.INNER: "Adam", Method.FROZEN: "kernels frozen"}  # where the inner is Adam


def at_rates(method: Method, rates: Sequence[float], others: Sequence[float | None] = (None,)) -> tuple[Variant, ...]:
    """A method at each learning rate, with each learning rate of non-kernel parameters.

    Args:
      method: the method.
      rates: learning rates.
      others: learning rates of non-kernel parameters; None for that of the kernels.
    """
    return tuple(
        Variant(
            f"{LABELS[method]}, {rate:g}" + (f", others {other:g}" if other else ""),
            method,
            {"learning_rate": rate, "others_learning_rate": other},
        )
        for rate in rates
        for other in others
    )


def transformer(layers: int, features: int, **more: Any) -> TrainConfig:
    """The small transformer with another number of blocks and features, 32 of them to a head."""
    return with_settings(SMALL_TRANSFORMER, layers=layers, features=features, heads=features // 32, **more)
