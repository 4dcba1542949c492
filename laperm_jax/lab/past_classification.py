"""Experiments past classification: language, vision transformers, scale, functions, and orders taken over."""

from dataclasses import replace
from typing import Any

import numpy as np

from laperm_jax.lab.config import DEFAULTS, PAPER, TrainConfig
from laperm_jax.lab.grid import INNER_ALONE, Claim, Experiment, Judgement, Results, Settings, graded

FROZEN: Settings = {**INNER_ALONE, "freeze": ("kernel",)}
_ADAM, _LAPERM, _KERNELS_FROZEN = "Adam", "LaPerm", "kernels frozen"

# Transformers of seconds, of minutes on two CPU cores, and of minutes on a GPU.
_TINY = replace(DEFAULTS["language"], layers=1, features=16, heads=2, context=16, steps=20, sync_period=5)
_SMALL = replace(DEFAULTS["language"], steps=3000, sync_period=50)
_LARGE = replace(
    DEFAULTS["language"], layers=6, features=384, heads=6, context=256, batch_size=64, steps=5000, init="normal:0.02"
)


def _sized(layers: int, features: int, **more: Any) -> TrainConfig:
    return replace(_SMALL, layers=layers, features=features, heads=features // 32, learning_rate=2e-3, **more)


def _nats(difference: float) -> str:
    return f"{difference:+.3f} nats"


def _language_as_good(results: Results) -> Judgement | None:
    gaps = {name: results.mean(name, _LAPERM) - results.mean(name, _ADAM) for name in results.networks}
    text = "; ".join(f"{name}: {_nats(gap)}" for name, gap in gaps.items())
    return graded(all(gap <= 0.05 for gap in gaps.values()), all(gap <= 0.15 for gap in gaps.values()), text)


def _better_than_frozen(results: Results) -> Judgement | None:
    gains = {name: results.mean(name, _LAPERM) - results.mean(name, _KERNELS_FROZEN) for name in results.networks}
    text = "; ".join(f"{name}: {_nats(gain)}" for name, gain in gains.items())
    return graded(all(gain <= -0.6 for gain in gains.values()), all(gain <= -0.2 for gain in gains.values()), text)


LANGUAGE = Experiment(
    name="language",
    title="Language",
    question="Can a transformer learn to write by reordering alone?",
    networks={"smoke": {"1 x 16": _TINY}, "cpu": {"4 x 128, 3,000 steps": _SMALL}, "full": {"6 x 384": _LARGE}},
    variants={
        _ADAM: {**INNER_ALONE, "learning_rate": 2e-3},  # each the best of language-settings
        _LAPERM: {"learning_rate": 4e-3},
        _KERNELS_FROZEN: {**FROZEN, "learning_rate": 8e-3},
    },
    curves=True,
    claims=(
        Claim(
            "A transformer whose kernels are only reordered writes as well as one that Adam trains",
            "ours; left by the authors for future work",
            "-",
            "test loss at most 0.05 nats a character above Adam's, each at its best learning rate; partly: 0.15",
            _language_as_good,
        ),
        Claim(
            "It is the reordering that learns, and not the embeddings and norms beside it",
            "ours",
            "-",
            "test loss at least 0.6 nats a character below that with kernels at their initial values; partly: 0.2",
            _better_than_frozen,
        ),
    ),
)


def _settings(network: str) -> dict[str, Settings]:
    """The variants of a network: fewer where the initial values are not those that were found."""
    small = "LeCun" not in network
    rates = {
        _ADAM: (1e-3, 2e-3, 4e-3) if small else (2e-3,),
        _LAPERM: (1e-3, 2e-3, 4e-3),
        _KERNELS_FROZEN: (4e-3, 8e-3, 1.6e-2) if small else (4e-3,),
    }
    variants: dict[str, Settings] = {
        **{f"{_ADAM}, {rate:g}": {**INNER_ALONE, "learning_rate": rate} for rate in rates[_ADAM]},
        **{f"{_LAPERM}, {rate:g}, k = 50": {"learning_rate": rate} for rate in rates[_LAPERM]},
        **{f"{_LAPERM}, 0.002, k = {k}": {"learning_rate": 2e-3, "sync_period": k} for k in (20, 100)},
        f"{_LAPERM}, 0.002, k = 50, embeddings too": {"learning_rate": 2e-3, "permute_embeddings": True},
        **{f"{_KERNELS_FROZEN}, {rate:g}": {**FROZEN, "learning_rate": rate} for rate in rates[_KERNELS_FROZEN]},
    }
    if not small:
        return variants
    return variants | {
        f"{_LAPERM}, 0.004, k = 20": {"learning_rate": 4e-3, "sync_period": 20},
        f"{_LAPERM}, 0.002, shrinking period": {"learning_rate": 2e-3, "sync_schedule": "shrinking"},
        f"{_LAPERM}, 0.002, one sync at the end": {"learning_rate": 2e-3, "sync_schedule": "end"},
    }


def _values_matter(results: Results) -> Judgement | None:
    """The best of each method on validation text, from either kind of initial values."""
    texts, best = [], {}
    for network in results.networks:
        for method in (_ADAM, _LAPERM, _KERNELS_FROZEN):
            losses = {
                variant: results.mean(name, variant, "val_loss")
                for name, variant in results.runs
                if name == network and variant.startswith(method)
            }
            variant = min(losses, key=losses.__getitem__, default="")
            best[network, method] = losses.get(variant, np.nan)
            texts.append(f"{network}: {variant} {best[network, method]:.3f}")
    if len(results.networks) < 2:
        return None
    large, small = results.networks
    gains = {method: best[large, method] - best[small, method] for method in (_ADAM, _LAPERM)}
    return graded(gains[_LAPERM] >= 0.05, gains[_LAPERM] > 0, "; ".join(texts))


LANGUAGE_SETTINGS = Experiment(
    name="language-settings",
    title="Language: initial values, learning rates, periods and schedules",
    question="Which initial values, learning rate, sync period and schedule suit a transformer?",
    networks={
        "smoke": {"1 x 16": _TINY},
        "cpu": {
            "LeCun-normal": replace(_SMALL, init="lecun_normal", steps=1000),
            "normal, 0.05": replace(_SMALL, steps=1000),
        },
        "full": {
            "LeCun-normal": replace(_LARGE, init="lecun_normal", steps=2000),
            "normal, 0.02": replace(_LARGE, init="normal:0.02", steps=2000),
        },
    },
    variants=_settings,
    claims=(
        Claim(
            "Reordering cannot make weights smaller: a transformer has to begin with small ones",
            "ours",
            "-",
            "the best validation loss of LaPerm is at least 0.05 nats a character lower from the smaller values; "
            "partly: lower",
            _values_matter,
        ),
    ),
    metrics={"val_loss": "validation loss", "syncs": "syncs"},
    seeds={"smoke": 1, "cpu": 1, "full": 1},
)

_KINDS = {
    "query": "query",
    "key": "key/",
    "value": "value",
    "out": "/out/",
    "up": "/up/",
    "down": "/down/",
    "output": "^output",
}


def _kinds(results: Results) -> Judgement | None:
    texts, spreads = [], []
    for network in results.networks:
        freed = {kind: results.mean(network, f"{kind} freed") - results.mean(network, _LAPERM) for kind in _KINDS}
        frozen = {kind: results.mean(network, f"{kind} frozen") - results.mean(network, _LAPERM) for kind in _KINDS}
        best, worst = min(freed, key=freed.__getitem__), max(frozen, key=frozen.__getitem__)
        texts.append(f"most is gained by freeing {best} ({_nats(freed[best])})")
        texts.append(f"most is lost by freezing {worst} ({_nats(frozen[worst])})")
        spreads.append(frozen[worst] - min(frozen.values()))
    return graded(min(spreads) >= 0.1, min(spreads) >= 0.05, "; ".join(texts))


LANGUAGE_KINDS = Experiment(
    name="language-kinds",
    title="Language: what each kind of matrix contributes",
    question="What changes when one kind of kernel alone is freed, or stays at its initial values?",
    networks={
        "smoke": {"1 x 16": _TINY},
        "cpu": {"2 x 64, 800 steps": _sized(2, 64, steps=800)},
        "full": {"6 x 384": replace(_LARGE, steps=2000, learning_rate=2e-3)},
    },
    variants={
        _LAPERM: {},
        **{f"{kind} freed": {"free": (pattern,)} for kind, pattern in _KINDS.items()},
        **{f"{kind} frozen": {"freeze": (pattern,)} for kind, pattern in _KINDS.items()},
        "embeddings reordered": {"permute_embeddings": True},
        "embeddings frozen": {"freeze": ("embedding",)},
        _ADAM: INNER_ALONE,
    },
    claims=(
        Claim(
            "Some kinds of matrices matter more than others",
            "ours",
            "-",
            "freezing one kind costs at least 0.1 nats a character more than freezing another; partly: 0.05",
            _kinds,
        ),
    ),
    seeds={"smoke": 1, "cpu": 1, "full": 1},
)

_VIT = TrainConfig(model="vit", init="normal:0.05", sync_period=50)
_VIT_MNIST = replace(_VIT, dataset="mnist", layers=2, patch=7, epochs=5)
_VIT_CIFAR10 = replace(_VIT, dataset="cifar10", features=64, patch=8)


def _vit_as_good(results: Results) -> Judgement | None:
    gaps = {name: results.mean(name, _LAPERM) - results.mean(name, _ADAM) for name in results.networks}
    text = "; ".join(f"{name}: {100 * gap:+.2f} points" for name, gap in gaps.items())
    near = [gap >= -0.005 for gap in gaps.values()]
    return graded(all(near), any(near), text)


VISION = Experiment(
    name="vision-transformer",
    title="Vision transformers",
    question="Can a transformer learn to see by reordering alone?",
    networks={
        "smoke": {"digits": replace(_VIT, layers=1, features=16, heads=2, epochs=2, sync_period=5)},
        "cpu": {"MNIST, 5 epochs": _VIT_MNIST, "CIFAR-10, 700 steps": replace(_VIT_CIFAR10, steps=700)},
        "full": {
            "MNIST, 20 epochs": replace(_VIT_MNIST, epochs=20),
            "CIFAR-10, 50 epochs": replace(_VIT_CIFAR10, layers=6, features=192, patch=4, epochs=50, augment=True),
        },
    },
    variants={
        _ADAM: {**INNER_ALONE, "learning_rate": 1e-3},
        _LAPERM: {"learning_rate": 1e-3},
        _KERNELS_FROZEN: {**FROZEN, "learning_rate": 4e-3},
    },
    curves=True,
    claims=(
        Claim(
            "A vision transformer whose kernels are only reordered is as accurate as one that Adam trains",
            "ours; left by the authors for future work",
            "-",
            "at most 0.5 points below Adam on every dataset; partly: on one",
            _vit_as_good,
        ),
    ),
    seeds={"smoke": 1, "cpu": 1, "full": 3},
)


def _gap_closes(results: Results) -> Judgement | None:
    """Of the families of sizes, such as ``width``, whose networks are called by their name and a number."""
    texts, closes = [], []
    for family in dict.fromkeys(name.split()[0] for name in results.networks):
        names = sorted((n for n in results.networks if n.startswith(family)), key=lambda name: int(name.split()[1]))
        gaps = [results.mean(name, _LAPERM) - results.mean(name, _ADAM) for name in names]
        texts.append(
            f"{family} " + ", ".join(f"{n.split()[1]}: {gap:+.3f}" for n, gap in zip(names, gaps, strict=True))
        )
        closes.append(gaps[-1] < gaps[0])
    return graded(all(closes), any(closes), "; ".join(texts) + " nats")


SCALE = Experiment(
    name="scale",
    title="Scale",
    question="Does the gap between LaPerm and Adam close as networks grow, at equal tokens?",
    networks={
        "smoke": {f"width {width}": replace(_TINY, features=width) for width in (16, 32)},
        "cpu": {
            **{f"width {width}": _sized(4, width, steps=250) for width in (64, 128, 256)},
            **{f"depth {layers}": _sized(layers, 128, steps=250) for layers in (2, 8)},
        },
        "full": {
            **{
                f"width {width}": _sized(6, width, steps=2000, context=256, batch_size=64, activations="bfloat16")
                for width in (64, 128, 256, 512)
            },
            **{
                f"depth {layers}": _sized(layers, 256, steps=2000, context=256, batch_size=64, activations="bfloat16")
                for layers in (2, 4, 8, 16)
            },
            "large 768": _sized(12, 768, steps=1000, context=256, batch_size=64, activations="bfloat16"),
        },
    },
    variants={_ADAM: INNER_ALONE, _LAPERM: {}},
    claims=(
        Claim(
            "The gap between LaPerm and Adam closes as networks grow",
            "ours",
            "-",
            "test loss less Adam's is smaller for the largest network than for the smallest, in width and in depth; "
            "partly: in one of them",
            _gap_closes,
        ),
    ),
    metrics={"examples_per_second": "pieces of text a second", "train_seconds": "seconds"},
    seeds={"smoke": 1, "cpu": 1, "full": 1},
)

_WIDTHS = (10, 20, 40, 80, 160, 320, 640)
_PERIODS: dict[str, Settings] = {
    "constant period": {"sync_period": 20},
    "relaxed period": {"sync_period": 5, "sync_schedule": "geometric", "last_sync_period": 100},
}
_STARTS = {"equidistant": "equidistant:1", "random": "uniform:1"}


def _functions(**more: Any) -> dict[str, TrainConfig]:
    function = replace(DEFAULTS["regression"], learning_rate=0.1, **more)
    return {
        f"{dataset}, {start}, {period}": replace(function, dataset=dataset, init=init, **settings)
        for dataset in ("sine", "sine2d")
        for start, init in _STARTS.items()
        for period, settings in _PERIODS.items()
    }


def _rate(results: Results, network: str) -> tuple[float, list[float]]:
    """The slope of log error against log width, and the errors."""
    errors = [float(np.sqrt(results.values(network, f"width {width}")).mean()) for width in _WIDTHS]
    return float(np.polyfit(np.log(_WIDTHS), np.log(errors), 1)[0]), errors


def _falls(results: Results) -> Judgement | None:
    if any((network, f"width {width}") not in results.runs for network in results.networks for width in _WIDTHS):
        return None
    found = {name: _rate(results, name) for name in results.networks}
    text = "; ".join(
        f"{name}: {errors[0]:.2g} to {errors[-1]:.2g}, rate {rate:+.2f}" for name, (rate, errors) in found.items()
    )
    on_the_line = [bool(np.all(np.diff(errors) < 0)) for name, (_, errors) in found.items() if name.startswith("sine,")]
    rates = [rate for rate, _ in found.values()]
    return graded(all(on_the_line) and max(rates) < 0, any(on_the_line), text)


APPROXIMATION = Experiment(
    name="approximation",
    title="Universal approximation",
    question="How well does a network approximate a function if one vector of coefficients is all that is reordered?",
    networks={
        "smoke": {"sine, equidistant, constant period": replace(DEFAULTS["regression"], steps=100)},
        "cpu": _functions(),
        "full": _functions(epochs=100),
    },
    variants={f"width {width}": {"widths": (width,)} for width in _WIDTHS},
    x="widths",
    claims=(
        Claim(
            "The error falls with the width",
            "Cai, Chen & Qiao, arXiv 2407.01033",
            "falling",
            "on the line the mean root of the mean squared error falls with each doubling of the width from 10 to 640, "
            "for every start and period, and in the plane on the whole; partly: for one start and period",
            _falls,
        ),
    ),
    seeds={"smoke": 2, "cpu": 10, "full": 10},
)

_ONTO: dict[str, Settings] = {
    "its initial values": {},
    "normal values": {"init": "he_normal"},
    "16 levels": {"init": "levels:16"},
    "4 levels": {"init": "levels:4"},
    "two values": {"init": "levels:2"},
}
_MLP = TrainConfig(dataset="mnist", batch_size=128, epochs=10, sync_period=100)


def _transfer(shorter: Settings) -> dict[str, Settings]:
    return {
        _ADAM: INNER_ALONE,
        **{f"onto {name}": {"start": _ADAM, **settings, **shorter} for name, settings in _ONTO.items()},
        **{f"from scratch, {name}": settings for name, settings in _ONTO.items()},
    }


def _survives(results: Results) -> Judgement | None:
    texts, after = [], []
    for network in results.networks:
        adam = results.mean(network, _ADAM)
        for name in _ONTO:
            start = results.mean(network, f"onto {name}", "test_accuracy_start")
            end = results.mean(network, f"onto {name}")
            texts.append(f"{network} onto {name}: {start:.1%} at once, {end:.2%} after")
            after.append(end >= adam - 0.01)
    return graded(all(after), any(after), "; ".join(texts))


TRANSFER = Experiment(
    name="transfer",
    title="Orders taken over",
    question="How much of a network that Adam has trained survives if other values take its order?",
    networks={
        "smoke": {"mlp": TrainConfig(widths=(32,), epochs=4, sync_period=10)},
        "cpu": {"mlp": _MLP},
        "full": {"mlp": _MLP, "conv4": replace(PAPER["conv4"], epochs=40)},
    },
    variants=_transfer({"epochs": 2, "learning_rate": 1e-3}),
    claims=(
        Claim(
            "The order of a trained network can be taken over by other values, at the price of a short training",
            "ours",
            "-",
            "after a fifth of the epochs at most a point below Adam, for all values; partly: for some",
            _survives,
        ),
    ),
    metrics={"test_accuracy_start": "at once"},
)

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (LANGUAGE, LANGUAGE_SETTINGS, LANGUAGE_KINDS, VISION, SCALE, APPROXIMATION, TRANSFER)
}
