"""Dense networks against their inner optimiser alone."""

from laperm_jax.lab.config import PAPER
from laperm_jax.lab.experiments.catalogue.settings import CONV2, CONV7, DIGITS, MLP, Networks
from laperm_jax.lab.experiments.core import Claim, Experiment, Judgement, Method, Variant, verdict
from laperm_jax.lab.experiments.judges import judge_gap
from laperm_jax.lab.experiments.results import Results

_PUBLISHED = {"conv7": 0.9972, "conv2": 0.7821, "conv4": 0.8917, "conv13": 0.9221, "resnet50": 0.9253}


def _dense_networks() -> Networks:
    cpu = {"mlp": MLP, "conv7, 1 epoch": CONV7, "conv2, 500 steps": CONV2}
    return {"smoke": {"mlp": DIGITS}, "cpu": cpu, "full": {name: PAPER[name] for name in _PUBLISHED}}


def _published(model: str, accuracy: float) -> Claim:
    def judge(results: Results) -> Judgement | None:
        if results.scale != "full":
            return None
        mean = results.best(model, method=Method.LAPERM).mean()
        return verdict(mean >= accuracy - 0.005, mean >= accuracy - 0.02, f"{mean:.2%}")

    return Claim(
        f"{model} reaches {accuracy:.2%}",
        "paper, table of results",
        f"{accuracy:.2%}",
        "the published accuracy less 0.5 points is reached; partly: less 2 points",
        judge,
    )


DENSE = Experiment(
    name="dense",
    title="Dense networks",
    question="Is reordering the initial weights as good as training them freely?",
    networks=_dense_networks(),
    variants=(Variant("LaPerm"), Variant("inner alone", Method.INNER)),
    claims=(
        Claim(
            "LaPerm is as accurate as its inner optimiser alone",
            "paper, section 5",
            "level",
            "every network is at most 0.5 points below its inner optimiser alone; partly: at least one",
            judge_gap({"method": Method.LAPERM}, {"method": Method.INNER}, lambda gap: gap >= -0.005),
        ),
        *(_published(model, accuracy) for model, accuracy in _PUBLISHED.items()),
    ),
)
