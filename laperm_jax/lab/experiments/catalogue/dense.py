"""Dense networks, against their inner optimiser alone: initial values, and other optimisers than Adam."""

from collections.abc import Mapping

import numpy as np

from laperm_jax.lab.config import PAPER
from laperm_jax.lab.experiments.catalogue.settings import CONV2, CONV7, DIGITS, MLP, MLP_OR_CONV4, Networks
from laperm_jax.lab.experiments.core import (
    ALONE,
    INNER_ALONE,
    LAPERM,
    Claim,
    Experiment,
    Judgement,
    Results,
    Settings,
    graded,
    judge_gap,
    points,
)


def _dense_networks() -> Networks:
    names = ("conv7", "conv2", "conv4", "conv13", "resnet50")
    cpu = {"mlp": MLP, "conv7, 1 epoch": CONV7, "conv2, 500 steps": CONV2}
    return {"smoke": {"mlp": DIGITS}, "cpu": cpu, "full": {name: PAPER[name] for name in names}}


def _published(model: str, accuracy: float) -> Claim:
    def judge(results: Results) -> Judgement | None:
        mean = results.mean(model, LAPERM)
        if results.scale != "full" or np.isnan(mean):
            return None
        return graded(mean >= accuracy - 0.005, mean >= accuracy - 0.02, f"{mean:.2%}")

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
    variants={LAPERM: {}, ALONE: INNER_ALONE},
    claims=(
        Claim(
            "LaPerm is as accurate as its inner optimiser alone",
            "paper, section 5",
            "level",
            "every network is at most 0.5 points below its inner optimiser alone; partly: at least one",
            judge_gap(LAPERM, ALONE, lambda gap: gap >= -0.005),
        ),
        *(
            _published(model, accuracy)
            for model, accuracy in {
                "conv7": 0.9972,
                "conv2": 0.7821,
                "conv4": 0.8917,
                "conv13": 0.9221,
                "resnet50": 0.9253,
            }.items()
        ),
    ),
)


def _and_inner_alone(variants: Mapping[str, Settings]) -> dict[str, Settings]:
    """Each variant, and after it the same with the inner optimiser alone."""
    return {
        f"{name}{suffix}": {**settings, **more}
        for name, settings in variants.items()
        for suffix, more in {"": {}, ", inner alone": INNER_ALONE}.items()
    }


_INITS = (
    "he_uniform",
    "he_normal",
    "truncated_normal:0.05",
    "orthogonal",
    "glorot_uniform",
    "lecun_normal",
    "equidistant:0.1",
    "uniform:0.02",
    "uniform:0.2",
    "normal:0.01",
    "normal:0.2",
)


def _keeps_profiles(results: Results) -> Judgement | None:
    trained = [key for key in results.runs if key[1].endswith("inner alone")]
    if not trained:
        return None
    after = {key[1].split(",")[0]: results.mean(*key, "profile_similarity_free") for key in trained}
    lowest = min(after, key=lambda name: after[name])
    share = np.mean([value >= 0.95 for value in after.values()])
    return graded(bool(share == 1), bool(share >= 0.5), f"lowest similarity {after[lowest]:.3f} ({lowest})")


def _any_init(results: Results) -> Judgement | None:
    gaps = [
        results.gap(network, variant, f"{variant}, inner alone")
        for network, variant in results.runs
        if (network, f"{variant}, inner alone") in results.runs
    ]
    near = [gap >= -0.01 for gap in gaps]
    return graded(all(near), any(near), f"{sum(near)} of {len(near)} within a point; worst {points(min(gaps))}")


INITIALISATIONS = Experiment(
    name="initialisations",
    title="Initialisations",
    question="Do trained weights keep similar profiles whatever they start from, and what may LaPerm start from?",
    networks=MLP_OR_CONV4,
    variants=_and_inner_alone({init: {"init": init} for init in _INITS}),
    seeds={"smoke": 1, "cpu": 2, "full": 3},
    claims=(
        Claim(
            "Weights trained by Adam keep similar profiles (SoWP) from other initialisations too",
            "rebuttal, answer 1",
            "pictures",
            "the profile similarity after training by Adam alone is 0.95 or more for every initialisation; partly: for "
            "half of them",
            _keeps_profiles,
        ),
        Claim(
            "LaPerm works from any initialisation that its inner optimiser works from",
            "ours",
            "-",
            "at most one point below the inner optimiser alone from every initialisation; partly: from one",
            _any_init,
        ),
    ),
    metrics={
        "profile_similarity_initial": "profile similarity before",
        "profile_similarity_free": "after (free weights)",
    },
)

_INNER: dict[str, Settings] = {
    "sgd": {"learning_rate": 0.1},
    "momentum": {"learning_rate": 0.05},
    "adam": {"learning_rate": 2e-3},
    "adamw": {"learning_rate": 2e-3},
    "lion": {"learning_rate": 3e-4},
    "rmsprop": {"learning_rate": 1e-3},
    "muon": {"learning_rate": 1e-2},
}


def _any_inner(results: Results) -> Judgement | None:
    gaps = {
        inner: results.gap(network, inner, f"{inner}, inner alone") for network in results.networks for inner in _INNER
    }
    near = [gap >= -0.01 for gap in gaps.values()]
    text = "; ".join(f"{inner} {points(gap)}" for inner, gap in gaps.items())
    return graded(all(near), sum(near) >= len(near) / 2, text)


INNER_OPTIMISERS = Experiment(
    name="inner-optimisers",
    title="Inner optimisers",
    question="Does LaPerm need Adam?",
    networks=MLP_OR_CONV4,
    variants=_and_inner_alone({inner: {"inner": inner, **rate} for inner, rate in _INNER.items()}),
    seeds={"smoke": 1, "cpu": 2, "full": 3},
    claims=(
        Claim(
            "LaPerm works with other optimisers than Adam",
            "left by the authors for future work",
            "-",
            "at most one point below the same optimiser alone, for all; partly: for half of them",
            _any_inner,
        ),
    ),
)
