"""Networks with one value for all weights."""

from collections.abc import Callable

from laperm_jax.lab.config import PAPER, TrainConfig, with_settings
from laperm_jax.lab.experiments.catalogue.settings import DIGITS
from laperm_jax.lab.experiments.core import Claim, Experiment, Judgement, Settings, Variant, verdict
from laperm_jax.lab.experiments.results import Results

_SHIPPED, _FOUND = "as shipped", "settings found"
_SETTINGS_FOUND: dict[str, Settings] = {  # the best of those tried, on validation images (docs/experiments.md)
    "f1": {"inner": "momentum", "learning_rate": 0.02, "schedule": "cosine", "sync_period": 1000, "epochs": 50},
    "f2": {"schedule": "cosine"},
}


def _variants(config: TrainConfig) -> tuple[Variant, ...]:
    return Variant(_SHIPPED), Variant(_FOUND, settings=_SETTINGS_FOUND.get(config.model.model, _SETTINGS_FOUND["f1"]))


def _reaches(network: str, label: str, full: float, partial: float) -> Callable[[Results], Judgement]:
    def judge(results: Results) -> Judgement:
        values = results.best(network, label=label).values()
        text = f"{values.mean():.2%}, best seed {values.max():.2%}"
        return verdict(bool(values.mean() >= full), bool(values.mean() >= partial), text)

    return judge


SHARED_VALUE = Experiment(
    name="shared-value",
    title="One value for all weights",
    question="What does a network learn whose weights are zero or one and the same value?",
    networks={
        "smoke": {"f1": with_settings(DIGITS, init="shared:0.2", keep=(0.5,))},
        "cpu": {"f1": PAPER["f1"], "f2": PAPER["f2"]},
        "full": {"f1": PAPER["f1"], "f2": PAPER["f2"]},
    },
    variants=_variants,
    seeds={"smoke": 1, "cpu": 5, "full": 5},
    claims=(
        Claim(
            "F1 with one value reaches 85.46 % as shipped",
            "paper, table of results; the notebook",
            "85.46 %",
            "the mean over the seeds is at least 85 %; partly: at least 84 %",
            _reaches("f1", _SHIPPED, 0.85, 0.84),
        ),
        Claim(
            "F1 with one value reaches 85.46 % with the settings found",
            "paper, table of results",
            "85.46 %",
            "the mean over the seeds is at least 85 %; partly: at least 84 %",
            _reaches("f1", _FOUND, 0.85, 0.84),
        ),
        Claim(
            "F2 with one value reaches 78.14 %",
            "paper, table of results",
            "78.14 % (the released weights score 70.68 %)",
            "the mean over the seeds is at least 77 %; partly: at least 70 %",
            _reaches("f2", _FOUND, 0.77, 0.70),
        ),
    ),
    metrics={"val_accuracy": "validation", "train_seconds": "seconds"},
)
