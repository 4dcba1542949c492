"""Vision transformers."""

from laperm_jax.lab.config import make_config, with_settings
from laperm_jax.lab.experiments.catalogue.settings import EVERY_STEP, WITHOUT_FEEDBACK, at_rates
from laperm_jax.lab.experiments.core import Claim, Experiment, Method, Variant
from laperm_jax.lab.experiments.judges import judge_gap
from laperm_jax.lab.experiments.statistics import at_least

_VIT = make_config(model="vit", init="normal:0.05", sync_period=50)
_VIT_MNIST = with_settings(_VIT, dataset="mnist", layers=2, patch=7, epochs=5)
VIT_CIFAR10 = with_settings(_VIT, dataset="cifar10", features=64, patch=8)


VISION = Experiment(
    name="vision-transformer",
    title="Vision transformers",
    question="Can a transformer learn to see by reordering alone?",
    networks={
        "smoke": {"digits": with_settings(_VIT, layers=1, features=16, heads=2, epochs=2, sync_period=5)},
        "cpu": {"MNIST, 5 epochs": _VIT_MNIST, "CIFAR-10, 700 steps": with_settings(VIT_CIFAR10, steps=700)},
        "full": {
            "MNIST, 20 epochs": with_settings(_VIT_MNIST, epochs=20),
            "CIFAR-10, 50 epochs": with_settings(VIT_CIFAR10, layers=6, features=192, patch=4, epochs=50, augment=True),
        },
    },
    variants=(
        *at_rates(Method.INNER, (2.5e-4, 5e-4, 1e-3, 2e-3)),
        *at_rates(Method.LAPERM, (5e-4, 1e-3, 2e-3)),
        Variant("LaPerm, 0.001, error feedback, k = 1", settings={"learning_rate": 1e-3, **EVERY_STEP}),
        Variant("kernels frozen", Method.FROZEN, {"learning_rate": 4e-3}),
    ),
    curves=True,
    claims=(
        Claim(
            "A vision transformer whose kernels are only reordered is as accurate as one that Adam trains",
            "at most 0.5 points below Adam on every dataset, without error feedback, each at its best learning rate on "
            "validation images",
            judge_gap(WITHOUT_FEEDBACK, {"method": Method.INNER}, at_least(-0.005)),
            amended="at first with one learning rate for both; without error feedback, which was added later",
        ),
    ),
)
