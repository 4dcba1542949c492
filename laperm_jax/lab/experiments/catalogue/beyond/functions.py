"""Universal approximation: networks of which one vector of coefficients is reordered."""

from typing import Any

import numpy as np

from laperm_jax.lab.config import DEFAULTS, TrainConfig, with_settings
from laperm_jax.lab.experiments.core import Claim, Experiment, Judgement, Settings, Variant, verdict
from laperm_jax.lab.experiments.results import Results

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


def _rate(results: Results, network: str) -> tuple[float, list[float]]:
    """The slope of log error against log width, and the errors."""
    errors = [float(np.sqrt(results.best(network, widths=(width,)).values()).mean()) for width in _WIDTHS]
    return float(np.polyfit(np.log(_WIDTHS), np.log(errors), 1)[0]), errors


def _falls(results: Results) -> Judgement:
    found = {network: _rate(results, network) for network in results.networks}
    text = "; ".join(
        f"{name}: {errors[0]:.2g} to {errors[-1]:.2g}, rate {rate:+.2f}" for name, (rate, errors) in found.items()
    )
    on_the_line = dict.fromkeys(row.network for row in results.select(dataset="sine"))
    falling = [bool(np.all(np.diff(found[network][1]) < 0)) for network in on_the_line]
    rates = [rate for rate, _ in found.values()]
    return verdict(all(falling) and max(rates) < 0, any(falling), text)


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
            "Cai, Chen & Qiao, arXiv 2407.01033",
            "falling",
            "on the line the mean root of the mean squared error falls with each doubling of the width from 10 to 640, "
            "for every start and period, and in the plane on the whole; partly: for one start and period. The rate is "
            "the slope of the root's logarithm, half of that in the figures",
            _falls,
        ),
    ),
    seeds={"smoke": 2, "cpu": 10, "full": 10},
)
