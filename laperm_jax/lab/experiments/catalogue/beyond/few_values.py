"""Networks of few different weights, and what error feedback is worth."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from laperm_jax.lab.config import PAPER, TrainConfig, with_settings
from laperm_jax.lab.experiments.catalogue.beyond.vision import VIT_CIFAR10
from laperm_jax.lab.experiments.catalogue.settings import (
    CONV7,
    DIGITS,
    EVERY_STEP,
    LARGE_TRANSFORMER,
    MLP,
    SMALL_TRANSFORMER,
    TINY_TRANSFORMER,
    WITHOUT_FEEDBACK,
    at_rates,
)
from laperm_jax.lab.experiments.core import Claim, Experiment, Method, Variant
from laperm_jax.lab.experiments.judges import judge_gap
from laperm_jax.lab.experiments.statistics import Range, above, at_least, at_most

_FEEDBACK: dict[str, Any] = {"error_feedback": True}
_NOISE: dict[str, Any] = {"residual_noise": 1.0}

_DIVIDED = "at first one claim about every network; divided after the first runs of the mlp"
_FASTER = "; 0.002 was tried for Adam and for reordering after it had helped quantisation-aware training"
_ADDED = "added after the first runs of both"

_MLP = with_settings(MLP, sync_period=50)
_CONV7 = with_settings(CONV7, epochs=2)
_VIT = with_settings(VIT_CIFAR10, steps=700, learning_rate=1e-3, sync_period=20)
_LANGUAGE = with_settings(
    SMALL_TRANSFORMER, steps=1000, learning_rate=4e-3, others_learning_rate=3.2e-2, sync_period=20
)


def _levels(config: TrainConfig, number: int) -> dict[str, Any]:
    """Initial kernels of a few values: of the standard deviation of the network's own, where it names one."""
    name, _, std = config.model.init.partition(":")
    return {"init": f"levels:{number}:{std}" if name == "normal" else f"levels:{number}"}


def _of(values: int | None, method: str) -> str:
    return f"{values or 'all'} values, {method}"


def _variants(config: TrainConfig) -> Iterator[Variant]:
    """Two to sixteen values by each method, and all values; of four and more fewer where a run takes minutes."""
    fast, convolution, vision = (config.model.model == name for name in ("mlp", "conv7", "vit"))
    rate = config.optimizer.learning_rate
    higher = (2 * rate, 4 * rate) if convolution else (2 * rate,)
    yield Variant("Adam", Method.INNER)
    others = {"vit": (rate / 4, rate / 2, 2 * rate), "conv7": higher}
    yield from at_rates(Method.INNER, others.get(config.model.model, ()))
    yield Variant(_of(None, "LaPerm"))
    for faster in () if fast else higher:
        yield Variant(_of(None, f"LaPerm, {faster:g}"), settings={"learning_rate": faster})
    for values in (2, 3, 4, 8, 16) if fast else (2, 3):
        levels = _levels(config, values)
        yield from _by_feedback(config, values, () if fast else higher)
        yield Variant(_of(values, "LaPerm"), settings=levels)
        yield from _rounded("Adam", values)
        if vision:
            yield from _rounded(f"Adam, {rate / 2:g}", values)
        rates: Sequence[float] = (rate, rate / 2) if fast else (rate, rate / 2, *higher)
        yield from _through(f"nearest:{values}", _of(values, "quantisation-aware Adam"), rates)
        if not fast:
            yield Variant(_of(values, "error feedback, noise"), settings=levels | _FEEDBACK | _NOISE)
    # edge-popup chooses among random weights of one size and two signs: a bit a weight, and a seed
    rates = (rate, 2 * rate) if fast else (rate / 8, rate / 4, rate / 2, rate, *higher)
    for share in (0.5, 0.3) if fast else (0.3,):
        yield from _through(f"supermask:{share}", f"supermask of {share:.0%}", rates)
    rates = (2 * rate,) if convolution else (rate, rate / 2)
    for values in () if fast else (4, 8, 16):  # at the learning rates that were best with two and three values
        yield from _by_feedback(config, values, rates if convolution else ())
        yield from _through(f"nearest:{values}", _of(values, "quantisation-aware Adam"), rates)
        if convolution or vision:
            yield from _rounded(f"Adam, {rates[-1]:g}", values)
    yield Variant(_of(None, "error feedback"), settings=_FEEDBACK)


def _of_language(config: TrainConfig) -> Iterator[Variant]:
    """The same, and other learning rates and a longer period where these are better than the transformer's own."""
    yield from _variants(config)
    slower: dict[str, Any] = {"learning_rate": config.optimizer.learning_rate / 2}
    adam = f"Adam, {slower['learning_rate']:g} for all"
    yield Variant(adam, Method.INNER, slower | {"others_learning_rate": None})
    for values in (2, 3, 4, 8, 16):
        yield from _rounded(adam, values)
    yield Variant(_of(None, "LaPerm, k = 50"), settings={"sync_period": 50})
    yield Variant(_of(None, "error feedback, k = 50"), settings={"sync_period": 50, **_FEEDBACK})
    for values, noise in ((2, _NOISE), (3, _NOISE), (16, {})):
        label = _of(values, f"error feedback, k = 1, {'noise, ' * bool(noise)}{slower['learning_rate']:g}")
        yield Variant(label, settings=_levels(config, values) | EVERY_STEP | noise | slower)


def _by_feedback(config: TrainConfig, values: int, rates: Sequence[float]) -> Iterator[Variant]:
    """Error feedback, but for mlps with noise in the residual too; at every step at other learning rates too."""
    levels = _levels(config, values)
    yield Variant(_of(values, "error feedback"), settings=levels | _FEEDBACK)
    yield Variant(_of(values, "error feedback, k = 1"), settings=levels | EVERY_STEP)
    if config.model.model != "mlp":
        yield Variant(_of(values, "error feedback, k = 1, noise"), settings=levels | EVERY_STEP | _NOISE)
    for rate in rates:
        settings = levels | EVERY_STEP | {"learning_rate": rate}
        yield Variant(_of(values, f"error feedback, k = 1, {rate:g}"), settings=settings)


def _rounded(start: str, values: int) -> Iterator[Variant]:
    """The weights of a variant that was trained freely, quantised afterwards."""
    for way in ("nearest", "kmeans"):
        settings = {"freeze": (".",), "epochs": None, "steps": 1, "quantize": f"{way}:{values}"}
        yield Variant(_of(values, f"{start}, then {way}"), Method.INNER, settings, start=start)


def _through(quantize: str, label: str, rates: Sequence[float]) -> Iterator[Variant]:
    """Training through a quantisation with Adam, at each learning rate."""
    for rate in rates:
        yield Variant(f"{label}, {rate:g}", Method.INNER, {"quantize": quantize, "learning_rate": rate})


def _of_images(
    text: str,
    criterion: str,
    ours: Mapping[str, Any],
    reference: Mapping[str, Any],
    within: Range,
    amended: tuple[str, str],
) -> Iterator[Claim]:
    """A claim about the mlp and the same about Conv7, each with its own note of what was amended."""
    for name, network, changed in zip(("An mlp", "Conv7"), ("mlp", "conv7, 2 epochs"), amended, strict=True):
        judge = judge_gap(ours, reference, within, networks=[network])
        yield Claim(f"{name}: {text}", criterion, judge, amended=changed)


BITS = Experiment(
    name="bits",
    title="Few values: accuracy against bits a weight",
    question="How well does a network classify whose weights are two, three or a few numbers?",
    networks={
        "smoke": {"mlp": DIGITS},
        "cpu": {"mlp": _MLP, "conv7, 2 epochs": _CONV7, "vit, CIFAR-10": _VIT},
        "full": {"conv4": PAPER["conv4"]},
    },
    variants=lambda config: tuple(_variants(config)),
    claims=(
        *_of_images(
            "two values, half of each in a neuron, only their order learnt, are within a point of Adam",
            "with error feedback at most 1 point below it, each at its best on validation images",
            {"init": "levels:2", **_FEEDBACK},
            {"method": Method.INNER, "quantize": None},
            at_least(-0.01),
            amended=(_DIVIDED, _DIVIDED + _FASTER),
        ),
        *_of_images(
            "three values are as good as all",
            "with error feedback at most 0.5 points below LaPerm with all values, each at its best on validation "
            "images",
            {"init": "levels:3", **_FEEDBACK},
            {"init": "he_uniform", **WITHOUT_FEEDBACK},
            at_least(-0.005),
            amended=(_DIVIDED, _DIVIDED + _FASTER),
        ),
        Claim(
            "Two values need error feedback",
            "mlp: with it more accurate than without, at the best period on validation images",
            judge_gap(
                {"init": "levels:2", **_FEEDBACK},
                {"init": "levels:2", "error_feedback": False},
                above(0),
                networks=["mlp"],
            ),
            amended="at first on every network; narrowed after the first runs of the mlp",
        ),
        *_of_images(
            "reordering two values is as accurate as quantisation-aware training",
            "at most 0.1 points below training through the rounding, each at its best on validation images",
            {"init": "levels:2", **_FEEDBACK},
            {"quantize": "nearest:2", "start": None},
            at_least(-0.001),
            amended=(_ADDED, _ADDED + _FASTER),
        ),
    ),
    seeds={"smoke": 1, "cpu": 3, "full": 3},
)

_ALL_OF_TEXT: dict[str, Any] = {"init": "normal:0.05", **WITHOUT_FEEDBACK}

BITS_LANGUAGE = Experiment(
    name="bits-language",
    title="Few values: language",
    question="How well does a transformer write whose weights are two, three or sixteen numbers?",
    networks={
        "smoke": {"1 x 16": TINY_TRANSFORMER},
        "cpu": {"4 x 128, 1,000 steps": _LANGUAGE},
        "full": {"6 x 384": with_settings(LARGE_TRANSFORMER, learning_rate=4e-3, others_learning_rate=3.2e-2)},
    },
    variants=lambda config: tuple(_of_language(config)),
    claims=(
        *(
            Claim(
                f"{name} values are within {within} nats a character of all",
                f"the test loss with error feedback is at most {within} nats above that of LaPerm with all values, "
                "each at the best settings tried on validation text",
                judge_gap({"init": f"levels:{values}:0.05", **_FEEDBACK}, _ALL_OF_TEXT, at_most(within)),
            )
            for name, values, within in (("Sixteen", 16, 0.02), ("Three", 3, 0.07), ("Two", 2, 0.09))
        ),
        Claim(
            "With all values a transformer of text loses by error feedback",
            "k = 50: the test loss is higher with it than without",
            judge_gap({"label": _of(None, "error feedback, k = 50")}, {"label": _of(None, "LaPerm, k = 50")}, above(0)),
        ),
    ),
    seeds={"smoke": 1, "cpu": 3, "full": 3},
)

_SPARSE = {
    f"mlp, keep {100 * keep:g} %": with_settings(_MLP, keep=(keep,), keep_rescale=True)
    for keep in (0.3, 0.1, 0.05, 0.01)
}


def _switches(config: TrainConfig) -> Iterator[Variant]:
    """Error feedback off and on; sparse mlps at other periods, F2 and the vision transformer at other rates too."""
    yield Variant("off")
    yield Variant("on", settings=_FEEDBACK)
    yield Variant("on, noise", settings={**_FEEDBACK, "residual_noise": 0.1})
    yield Variant("on, k = 1", settings=EVERY_STEP)
    if min(config.sparsity.keep) < 1 and config.model.model == "mlp":
        yield Variant("on, k = 5", settings={**_FEEDBACK, "sync_period": 5})
        for period in (5, 200):
            yield Variant(f"off, k = {period}", settings={"sync_period": period})
    yield Variant("Adam", Method.INNER)
    if config.model.model == "f2":
        for rate in (5e-4, 2e-3):
            cosine: dict[str, Any] = {"schedule": "cosine", "learning_rate": rate}
            yield Variant(f"off, cosine from {rate:g}", settings=cosine)
            yield Variant(f"on, cosine from {rate:g}", settings=cosine | _FEEDBACK)
            yield Variant(f"Adam, cosine from {rate:g}", Method.INNER, cosine)
    if config.model.model == "vit":
        rate = config.optimizer.learning_rate / 2
        yield Variant(f"on, {rate:g}", settings={"learning_rate": rate, **_FEEDBACK})
        yield Variant("on, k = 1, noise 1", settings=EVERY_STEP | _NOISE)
        yield from at_rates(Method.INNER, (rate / 2, rate))


FEEDBACK = Experiment(
    name="feedback",
    title="Error feedback on and off",
    question="Where does it help to keep what a sync rounds off?",
    networks={
        "smoke": {"mlp": DIGITS},
        "cpu": {
            "mlp": _MLP,
            **_SPARSE,
            "f1, shared value": with_settings(PAPER["f1"], schedule="cosine", learning_rate=2e-3),
            "f2, shared value": PAPER["f2"],
            "vit, CIFAR-10": _VIT,
        },
        "full": {"conv4": PAPER["conv4"]},
    },
    variants=lambda config: tuple(_switches(config)),
    claims=(
        Claim(
            "With error feedback a vision transformer learns as with Adam",
            "at most 0.5 points below Adam on CIFAR-10 after 700 steps, each at its best on validation images",
            judge_gap(_FEEDBACK, {"method": Method.INNER}, at_least(-0.005), networks=["vit, CIFAR-10"]),
            amended="at first both at one learning rate, which was not Adam's best; k = 1 was run last, when three "
            "seeds at k = 20 could not tell",
        ),
        Claim(
            "Very sparse networks gain by error feedback",
            "keep 1 %: more accurate with it than without, each at its best period on validation images",
            judge_gap(_FEEDBACK, WITHOUT_FEEDBACK, above(0), networks=["mlp, keep 1 %"]),
            amended="at first at k = 50 alone without it; 5 and 200 were added after 5 had helped with it",
        ),
        Claim(
            "F2, whose weights share one value, gains by error feedback",
            "more accurate with it than without, each at the best settings tried on validation images",
            judge_gap(_FEEDBACK, WITHOUT_FEEDBACK, above(0), networks=["f2, shared value"]),
            amended="five seeds more were run after five could not tell",
        ),
        Claim(
            "A dense network does not gain by error feedback",
            "mlp: within 0.3 points of LaPerm without it, at the same period",
            judge_gap({"label": "on"}, {"label": "off"}, Range(-0.003, 0.003), networks=["mlp"]),
        ),
    ),
    seeds={"smoke": 1, "cpu": 3, "full": 3},
)
