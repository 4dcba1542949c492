"""How reordering and Adam compare as networks grow."""

from laperm_jax.lab.config import with_settings
from laperm_jax.lab.experiments.catalogue.settings import TINY_TRANSFORMER, at_rates, transformer
from laperm_jax.lab.experiments.core import (
    ADAM,
    INNER_ALONE,
    LAPERM,
    Claim,
    Experiment,
    Judgement,
    Results,
    Settings,
    graded,
)

_ON_A_GPU: Settings = {"context": 256, "batch_size": 64, "activations": "bfloat16"}


def _gap_closes(results: Results) -> Judgement | None:
    """Of the families of sizes, such as ``width``, whose networks are called by their name and a number."""
    texts, closes = [], []
    for family in dict.fromkeys(name.split()[0] for name in results.networks):
        names = sorted((n for n in results.networks if n.startswith(family)), key=lambda name: int(name.split()[1]))
        gaps = [results.gap(name, LAPERM, ADAM) for name in names]
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
        "smoke": {f"width {width}": with_settings(TINY_TRANSFORMER, features=width) for width in (16, 32)},
        "cpu": {
            **{f"width {width}": transformer(4, width, steps=250) for width in (64, 128, 256)},
            **{f"depth {layers}": transformer(layers, 128, steps=250) for layers in (2, 8)},
        },
        "full": {
            **{f"width {width}": transformer(6, width, **_ON_A_GPU, steps=2000) for width in (64, 128, 256, 512)},
            **{f"depth {layers}": transformer(layers, 256, **_ON_A_GPU, steps=2000) for layers in (2, 4, 8, 16)},
            "large 768": transformer(12, 768, **_ON_A_GPU, steps=1000),
        },
    },
    variants=at_rates({ADAM: INNER_ALONE, LAPERM: {}}, (1e-3, 2e-3, 4e-3, 8e-3)),
    claims=(
        Claim(
            "The gap between LaPerm and Adam closes as networks grow",
            "ours",
            "-",
            "test loss less Adam's, each at its best learning rate on validation text, is smaller for the largest "
            "network than for the smallest, in width and in depth; partly: in one of them",
            _gap_closes,
        ),
    ),
    metrics={"examples_per_second": "pieces of text a second", "train_seconds": "seconds"},
    seeds={"smoke": 1, "cpu": 1, "full": 1},
)
