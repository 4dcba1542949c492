"""Universal approximation: networks of which one vector of coefficients is reordered."""

from typing import Any

import numpy as np

from laperm_jax.lab.config import DEFAULTS, TrainConfig, with_settings
from laperm_jax.lab.experiments.core import Claim, Experiment, Finding, Settings, Variant
from laperm_jax.lab.experiments.judges import number
from laperm_jax.lab.experiments.results import Results, by_seed
from laperm_jax.lab.experiments.statistics import below, estimate, every, some

_WIDTHS = (10, 20, 40, 80, 160, 320, 640)
_PERIODS: dict[str, Settings] = {
    "constant period": {"sync_period": 20},
    "relaxed period": {"sync_period": 5, "sync_schedule": "geometric", "last_sync_period": 100},
}
_STARTS = {"equidistant": "equidistant:1", "random": "uniform:1"}


def _functions(**more: Any) -> dict[str, TrainConfig]:
    function = with_settings(DEFAULTS["regression"], learning_rate=0.1, **more)
    return {
        f"{dataset}, {start}, {period}": with_settings(function, dataset=dataset, init=init, **settings)
        for dataset in ("sine", "sine2d")
        for start, init in _STARTS.items()
        for period, settings in _PERIODS.items()
    }


def _falls(results: Results) -> Finding:
    texts, on_the_line, rates = [], [], []
    for network in results.networks:
        rows = [results.best(network, widths=(width,)) for width in _WIDTHS]
        errors = by_seed(rows, lambda row: np.sqrt(row.values()))  # (seeds, widths)
        rate = estimate(np.polyfit(np.log(_WIDTHS), np.log(errors).T, 1)[0])
        rates.append(below(0).holds(rate))
        if rows[0].settings["dataset"] == "sine":
            on_the_line.append(every(below(0).holds(estimate(step)) for step in np.diff(errors).T))
        first, *_, last = errors.mean(axis=0)
        texts.append(f"{network}: {first:.2g} to {last:.2g}, rate {number(rate)}")
    return Finding(every(on_the_line + rates), "; ".join(texts), some(on_the_line))


APPROXIMATION = Experiment(
    name="approximation",
    title="Universal approximation",
    question="How well does a network approximate a function if one vector of coefficients is all that is reordered?",
    networks={
        "smoke": {"sine, equidistant, constant period": with_settings(DEFAULTS["regression"], steps=100)},
        "cpu": _functions(),
        "full": _functions(epochs=100),
    },
    variants=tuple(Variant(f"width {width}", settings={"widths": (width,)}) for width in _WIDTHS),
    x="widths",
    claims=(
        Claim(
            "The error falls with the width",
            "on the line the root of the mean squared error falls with each doubling of the width from 10 to 640, for "
            "every start and period, and in the plane on the whole; partly: for one start and period. The rate is the "
            "slope of the root's logarithm, half of that in the figures",
            _falls,
            source="Cai, Chen & Qiao, arXiv 2407.01033",
            paper="falling",
        ),
    ),
    seeds={"smoke": 2, "cpu": 10, "full": 10},
)
