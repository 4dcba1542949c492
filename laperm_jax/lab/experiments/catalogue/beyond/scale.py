"""How LaPerm and Adam compare as networks grow."""

from collections.abc import Mapping
from typing import Any

from laperm_jax.lab.config import TrainConfig, with_settings
from laperm_jax.lab.config.names import ScaleName
from laperm_jax.lab.experiments.catalogue.settings import TINY_TRANSFORMER, at_rates, transformer
from laperm_jax.lab.experiments.core import Claim, Experiment, Finding, Method
from laperm_jax.lab.experiments.judges import nats
from laperm_jax.lab.experiments.results import Results, by_seed
from laperm_jax.lab.experiments.statistics import below, estimate, every

_SIZES: Mapping[ScaleName, Mapping[str, tuple[int, ...]]] = {
    "smoke": {"width": (16, 32)},
    "cpu": {"width": (64, 128, 256), "depth": (2, 8)},
    "full": {"width": (64, 128, 256, 512), "depth": (2, 4, 8, 16)},
}


def _name(family: str, size: int) -> str:
    return f"{family} {size}"


def _sized(scale: ScaleName, family: str, size: int) -> TrainConfig:
    if scale == "smoke":
        return with_settings(TINY_TRANSFORMER, features=size)
    if scale == "cpu":
        layers, features = (4, size) if family == "width" else (size, 128)
        return transformer(layers, features, steps=250)
    layers, features = (6, size) if family == "width" else (size, 256)
    return _on_a_gpu(layers, features, steps=2000)


def _on_a_gpu(layers: int, features: int, **more: Any) -> TrainConfig:
    return transformer(layers, features, context=256, batch_size=64, activations="bfloat16", **more)


def _networks(scale: ScaleName) -> dict[str, TrainConfig]:
    return {
        _name(family, size): _sized(scale, family, size) for family, sizes in _SIZES[scale].items() for size in sizes
    }


def _gap_closes(results: Results) -> Finding:
    texts, closes = [], []
    for family, sizes in _SIZES[results.scale].items():
        rows = [
            results.best(_name(family, size), method=method)
            for size in sizes
            for method in (Method.LAPERM, Method.INNER)
        ]
        losses = by_seed(rows)
        gaps = losses[:, ::2] - losses[:, 1::2]  # (seeds, sizes)
        closes.append(estimate(gaps[:, -1] - gaps[:, 0]))
        behind = ", ".join(f"{size}: {nats(estimate(gap))}" for size, gap in zip(sizes, gaps.T, strict=True))
        texts.append(f"{family} {behind}, from first to last {nats(closes[-1])}")
    return Finding(every(below(0).holds(change) for change in closes), "; ".join(texts))


SCALE = Experiment(
    name="scale",
    title="Scale",
    question="Does the gap between LaPerm and Adam close as networks grow, at equal tokens?",
    networks={scale: _networks(scale) for scale in _SIZES},
    variants=(
        *at_rates(Method.INNER, (1e-3, 2e-3, 4e-3, 8e-3)),
        *at_rates(Method.LAPERM, (1e-3, 2e-3, 4e-3, 8e-3)),
    ),
    claims=(
        Claim(
            "The gap between LaPerm and Adam closes as networks grow",
            "test loss less Adam's, each at its best learning rate on validation text, is smaller for the largest "
            "network than for the smallest, in width and in depth",
            _gap_closes,
            amended="at first with one learning rate for all",
        ),
    ),
    metrics={"examples_per_second": "pieces of text a second", "train_seconds": "seconds"},
    seeds={"smoke": 1, "cpu": 3, "full": 3},
)

LARGE = Experiment(
    name="large",
    title="A hundred million weights",
    question="Does a transformer of a hundred million weights learn by reordering alone?",
    networks={
        "smoke": {"1 x 16": TINY_TRANSFORMER},
        "cpu": {"8 x 256, 250 steps": transformer(8, 256, steps=250)},
        "full": {"14 x 768, 500 steps": _on_a_gpu(14, 768, steps=500)},
    },
    variants=(*at_rates(Method.INNER, (5e-4, 1e-3, 2e-3)), *at_rates(Method.LAPERM, (5e-4, 1e-3, 2e-3))),
    claims=(),  # of one seed there is nothing to claim
    metrics={"examples_per_second": "pieces of text a second", "train_seconds": "seconds"},
    seeds={"smoke": 1, "cpu": 1, "full": 1},
    curves=True,
)
