"""Judges that several claims share, and how they write what was measured."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from laperm_jax.lab.experiments.core import Finding
from laperm_jax.lab.experiments.results import Results
from laperm_jax.lab.experiments.statistics import Estimate, Range, every, some

Where = Mapping[str, Any]  # what Results.select takes


def points(gap: Estimate) -> str:
    """A difference of accuracies in percentage points.

    Example:
      >>> from laperm_jax.lab.experiments.judges import points
      >>> from laperm_jax.lab.experiments.statistics import estimate
      >>> points(estimate([0.001, 0.002, 0.003])), points(estimate([0.001]))
      ('+0.20 [-0.05, +0.45] points', '+0.10 points (one seed)')
    """
    return _written(gap, lambda value: f"{100 * value:+.2f}", " points")


def nats(gap: Estimate) -> str:
    """A difference of cross-entropies in nats."""
    return _written(gap, lambda value: f"{value:+.3f}", " nats")


def percent(value: Estimate, decimals: int = 1) -> str:
    """An accuracy in percent."""
    return _written(value, lambda share: f"{100 * share:.{decimals}f}", " %")


def number(value: Estimate, digits: str = "+.2f") -> str:
    """A number without a unit."""
    return _written(value, lambda value: format(value, digits), "")


def judge_gap(
    variant: Where,
    reference: Where,
    full: Range,
    partial: Range | None = None,
    *,
    networks: Collection[str] | None = None,
) -> Callable[[Results], Finding | None]:
    """A judge of how far the test score of a variant is above that of another.

    Args:
      variant: what selects the variant; of several, the best on validation data counts.
      reference: the same for the other.
      full: where the difference has to be, on every network.
      partial: where it has to be on every network to meet the claim partly; by default ``full`` on one network.
      networks: the networks that the claim is about, of which a scale may lack some; by default all.
    """

    def judge(results: Results) -> Finding | None:
        meant = [name for name in results.networks if networks is None or name in networks]
        if not meant:
            return None
        gaps = {name: results.gap(name, variant, reference) for name in meant}
        unit = points if results.score == "accuracy" else nats
        met = [full.holds(gap) for gap in gaps.values()]
        partly = every(partial.holds(gap) for gap in gaps.values()) if partial else some(met)
        return Finding(every(met), "; ".join(f"{name}: {unit(gap)}" for name, gap in gaps.items()), partly)

    return judge


def few_seeds(count: int) -> str:
    """What is said behind a number of fewer than three seeds.

    Example:
      >>> from laperm_jax.lab.experiments.judges import few_seeds
      >>> few_seeds(1), few_seeds(2), few_seeds(3)
      (' (one seed)', ' (two seeds)', '')
    """
    return {1: " (one seed)", 2: " (two seeds)"}.get(count, "")


def _written(value: Estimate, write: Callable[[float], str], unit: str) -> str:
    interval = "" if math.isinf(value.low) else f" [{write(value.low)}, {write(value.high)}]"
    return f"{write(value.mean)}{interval}{unit}{few_seeds(value.seeds)}"
