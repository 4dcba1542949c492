"""Initialisations, and other inner optimisers than Adam: each with LaPerm and alone."""

from collections.abc import Mapping

import numpy as np

from laperm_jax.lab.experiments.catalogue.settings import MLP_OR_CONV4
from laperm_jax.lab.experiments.core import Claim, Experiment, Judgement, Method, Settings, Variant, verdict
from laperm_jax.lab.experiments.judges import points
from laperm_jax.lab.experiments.results import Results


def _and_inner_alone(variants: Mapping[str, Settings]) -> tuple[Variant, ...]:
    """Each variant with LaPerm, and after it with the inner optimiser alone."""
    return tuple(
        Variant(label + suffix, method, settings)
        for label, settings in variants.items()
        for suffix, method in {"": Method.LAPERM, ", inner alone": Method.INNER}.items()
    )


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
    after = {
        str(row.settings["init"]): row.mean("profile_similarity_free") for row in results.select(method=Method.INNER)
    }
    if not after:
        return None
    lowest = min(after, key=lambda init: after[init])
    share = np.mean([value >= 0.95 for value in after.values()])
    return verdict(bool(share == 1), bool(share >= 0.5), f"lowest similarity {after[lowest]:.3f} ({lowest})")


def _gaps(results: Results, setting: str) -> dict[str, float]:
    """LaPerm's mean test score less that of the inner optimiser alone, for each value of a setting."""
    return {
        str(row.settings[setting]): results.gap(
            row.network,
            {"method": Method.LAPERM, setting: row.settings[setting]},
            {"method": Method.INNER, setting: row.settings[setting]},
        )
        for row in results.select(method=Method.LAPERM)
    }


def _any_init(results: Results) -> Judgement | None:
    gaps = _gaps(results, "init")
    near = [gap >= -0.01 for gap in gaps.values()]
    worst = points(min(gaps.values()))
    return verdict(all(near), any(near), f"{sum(near)} of {len(near)} within a point; worst {worst}")


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

_INNER: dict[str, float] = {  # learning rates
    "sgd": 0.1,
    "momentum": 0.05,
    "adam": 2e-3,
    "adamw": 2e-3,
    "lion": 3e-4,
    "rmsprop": 1e-3,
    "muon": 1e-2,
}


def _any_inner(results: Results) -> Judgement | None:
    gaps = _gaps(results, "inner")
    near = [gap >= -0.01 for gap in gaps.values()]
    text = "; ".join(f"{inner} {points(gap)}" for inner, gap in gaps.items())
    return verdict(all(near), sum(near) >= len(near) / 2, text)


INNER_OPTIMISERS = Experiment(
    name="inner-optimisers",
    title="Inner optimisers",
    question="Does LaPerm need Adam?",
    networks=MLP_OR_CONV4,
    variants=_and_inner_alone({inner: {"inner": inner, "learning_rate": rate} for inner, rate in _INNER.items()}),
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
