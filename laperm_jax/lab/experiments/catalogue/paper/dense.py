"""Dense networks against their inner optimiser alone."""

from laperm_jax.lab.config import PAPER
from laperm_jax.lab.experiments.catalogue.settings import CONV2, CONV7, DIGITS, MLP, Networks
from laperm_jax.lab.experiments.core import Claim, Experiment, Finding, Method, Variant
from laperm_jax.lab.experiments.judges import judge_gap, percent
from laperm_jax.lab.experiments.results import Results
from laperm_jax.lab.experiments.statistics import at_least, estimate

_PUBLISHED = {"conv7": 0.9972, "conv2": 0.7821, "conv4": 0.8917, "conv13": 0.9221, "resnet50": 0.9253}


def _dense_networks() -> Networks:
    cpu = {"mlp": MLP, "conv7, 1 epoch": CONV7, "conv2, 500 steps": CONV2}
    return {"smoke": {"mlp": DIGITS}, "cpu": cpu, "full": {name: PAPER[name] for name in _PUBLISHED}}


def _published(model: str, accuracy: float) -> Claim:
    def judge(results: Results) -> Finding | None:
        if results.scale != "full":
            return None
        mean = estimate(results.best(model, method=Method.LAPERM).values())
        full, partial = (at_least(accuracy - less).holds(mean) for less in (0.005, 0.02))
        return Finding(full, percent(mean), partial)

    return Claim(
        f"{model} reaches {accuracy:.2%}",
        "the published accuracy less 0.5 points is reached; partly: less 2 points",
        judge,
        source="paper, table of results",
        paper=f"{accuracy:.2%}",
    )


DENSE = Experiment(
    name="dense",
    title="Dense networks",
    question="Is reordering the initial weights as good as training them freely?",
    networks=_dense_networks(),
    variants=(Variant("LaPerm"), Variant("inner alone", Method.INNER)),
    seeds={"smoke": 1, "cpu": 5, "full": 3},
    claims=(
        Claim(
            "LaPerm is as accurate as its inner optimiser alone",
            "every network is at most 0.5 points below its inner optimiser alone; partly: at least one",
            judge_gap({"method": Method.LAPERM}, {"method": Method.INNER}, at_least(-0.005)),
            source="paper, section 5",
            paper="level",
        ),
        *(_published(model, accuracy) for model, accuracy in _PUBLISHED.items()),
    ),
)
