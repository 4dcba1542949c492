"""BatchNorm beside weights that are only reordered."""

from laperm_jax.lab.config import PAPER, with_settings
from laperm_jax.lab.experiments.catalogue.settings import CONV2, DIGITS_CONV
from laperm_jax.lab.experiments.core import Claim, Experiment, Variant
from laperm_jax.lab.experiments.judges import judge_gap
from laperm_jax.lab.experiments.statistics import Range, below

GAMMA_BETA_RESET = Experiment(
    name="gamma-beta-reset",
    title="BatchNorm reset at every sync",
    question="Is it BatchNorm's scale and shift that learn, rather than the order of the weights?",
    networks={
        "smoke": {"conv2": DIGITS_CONV},
        "cpu": {"conv2, 300 steps": with_settings(CONV2, steps=300)},
        "full": {"resnet50": with_settings(PAPER["resnet50"], sync_period=800), "conv4": PAPER["conv4"]},
    },
    variants=(
        Variant("never reset"),
        Variant("reset", settings={"reset_batchnorm": True}),
        Variant("never reset, statistics re-estimated", settings={"reestimate_batchnorm": 20}),
        Variant("reset, statistics re-estimated", settings={"reset_batchnorm": True, "reestimate_batchnorm": 20}),
    ),
    claims=(
        Claim(
            "Resetting BatchNorm's scale and shift at every sync costs about one point",
            "resetting costs from 0.3 to 2 points; partly: it costs anything",
            judge_gap(
                {"reset_batchnorm": True, "reestimate_batchnorm": 0},
                {"reset_batchnorm": False, "reestimate_batchnorm": 0},
                Range(-0.02, -0.003),
                below(0),
            ),
            source="rebuttal, answer 2",
            paper="about -1 point (ResNet50, k = 800)",
        ),
    ),
)
