"""Sparse networks."""

from laperm_jax.lab.config import PAPER
from laperm_jax.lab.experiments.catalogue.settings import DIGITS, MLP
from laperm_jax.lab.experiments.core import Claim, Experiment, Finding, Variant
from laperm_jax.lab.experiments.judges import judge_gap, percent
from laperm_jax.lab.experiments.results import Results
from laperm_jax.lab.experiments.statistics import above, at_least, estimate, every, some

_KEEPS = (1.0, 0.7, 0.5, 0.3, 0.1, 0.05, 0.01)


def _high_sparsity(results: Results) -> Finding:
    accuracies = {
        (network, keep): estimate(results.best(network, keep=(keep,)).values())
        for network in results.networks
        for keep in (0.05, 0.01)
    }
    text = "; ".join(
        f"{network} with {100 * keep:g} %: {percent(accuracy)}" for (network, keep), accuracy in accuracies.items()
    )
    learnt = [above(0.2).holds(accuracy) for accuracy in accuracies.values()]
    return Finding(every(learnt), text, some(learnt))


SPARSITY = Experiment(
    name="sparsity",
    title="Sparse networks",
    question="How few of the initial weights have to be different from zero?",
    networks={
        "smoke": {"mlp": DIGITS},
        "cpu": {"mlp": MLP},
        "full": {"conv4": PAPER["conv4"], "resnet50": PAPER["resnet50"]},
    },
    variants=tuple(Variant(f"keep {100 * keep:g} %", settings={"keep": (keep,)}) for keep in _KEEPS),
    curves=True,
    claims=(
        Claim(
            "70 % of the weights can be pruned at random before training, at a small loss",
            "keeping 30 % costs every network at most 2 points; partly: at most 5",
            judge_gap({"keep": (0.3,)}, {"keep": (1.0,)}, at_least(-0.02), at_least(-0.05)),
            source="paper, ResNet50",
            paper="90.97 % against 92.53 %: -1.56 points",
        ),
        Claim(
            "Networks with 5 % and 1 % of the weights left still learn",
            "twice the accuracy of chance, 20 %, with 5 % and with 1 %; partly: with one of them",
            _high_sparsity,
            source="rebuttal, answer 7",
            paper="training curves of Conv4",
        ),
    ),
)
