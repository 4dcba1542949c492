"""How claims are judged: criteria for differences between variants."""

from collections.abc import Callable, Mapping
from typing import Any

from laperm_jax.lab.experiments.core import Judgement, verdict
from laperm_jax.lab.experiments.results import Results

Where = Mapping[str, Any]  # what Results.select takes


def points(gap: float) -> str:
    """A difference of accuracies."""
    return f"{100 * gap:+.2f} points"


def nats(gap: float) -> str:
    """A difference of cross-entropies."""
    return f"{gap:+.3f} nats"


def judge_gap(
    variant: Where, reference: Where, full: Callable[[float], bool], partial: Callable[[float], bool] | None = None
) -> Callable[[Results], Judgement | None]:
    """A judge of how far the mean test score of a variant is above that of another.

    Args:
      variant: what selects the variant; of several, the best on validation data counts.
      reference: the same for the other.
      full: whether a difference is as claimed; it has to be so on every network.
      partial: a weaker condition for every network; by default, that ``full`` holds on one network.
    """

    def judge(results: Results) -> Judgement:
        gaps = {network: results.gap(network, variant, reference) for network in results.networks}
        unit = points if results.score == "accuracy" else nats
        met = [full(gap) for gap in gaps.values()]
        partly = all(map(partial, gaps.values())) if partial else any(met)
        return verdict(all(met), partly, "; ".join(f"{network}: {unit(gap)}" for network, gap in gaps.items()))

    return judge
