"""Intervals over seeds, what they establish, and the words for it."""

import dataclasses
import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from laperm_jax.lab.config import make_config
from laperm_jax.lab.experiments.core import Claim, Experiment, Finding, MissingRunsError, Variant
from laperm_jax.lab.experiments.judges import judge_gap, nats, percent, points
from laperm_jax.lab.experiments.results import by_seed, difference
from laperm_jax.lab.experiments.statistics import (
    Estimate,
    Range,
    above,
    at_least,
    at_most,
    below,
    count_of,
    estimate,
    every,
    some,
)
from tests.lab.experiments.helpers import write_results

THREE_VALUED = (True, None, False)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_estimate_is_students_interval(seeds):
    values = np.random.default_rng(seeds).normal(size=seeds)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert estimate(values)[:3] == pytest.approx((values.mean(), *expected))


def test_estimate_of_one_seed_has_no_bounds():
    assert estimate([0.3]) == Estimate(0.3, -math.inf, math.inf, 1)
    assert not any(
        value is not None for value in (at_least(-9).holds(estimate([0.3])), at_most(9).holds(estimate([1])))
    )


def test_estimate_of_equal_values_has_bounds_from_five_on():
    """Also of differences that are equal up to rounding."""
    gaps = np.array([0.98, 0.97, 0.96, 0.95, 0.94]) - np.array([0.97, 0.96, 0.95, 0.94, 0.93])
    for count in (2, 3, 4):
        for values in (gaps[:count], -np.ones(count)):
            assert estimate(values) == Estimate(values.mean(), -math.inf, math.inf, count)
            assert above(-2).holds(estimate(values)) is None
    assert above(0).holds(estimate(gaps)) is True
    assert estimate(-np.ones(5)) == Estimate(-1, -1, -1, 5)


def test_estimate_covers_the_true_mean_in_95_percent_of_samples():
    samples = np.random.default_rng(0).normal(size=(2000, 3))
    covered = np.mean([estimate(sample).low <= 0 <= estimate(sample).high for sample in samples])
    assert 0.935 <= covered <= 0.965


@pytest.mark.parametrize(
    ("criterion", "low", "high", "holds"),
    [
        *((at_least(0), 0.0, 1.0, True), (at_least(0), -1.0, 1.0, None), (at_least(0), -2.0, -1.0, False)),
        *((at_most(0), -1.0, 0.0, True), (at_most(0), -1.0, 1.0, None), (at_most(0), 1.0, 2.0, False)),
        *((above(0), 0.0, 1.0, None), (above(0), 0.0, 0.0, False), (above(0), 0.1, 1.0, True)),
        *((below(0), -1.0, 0.0, None), (below(0), 0.0, 0.0, False), (below(0), -1.0, -0.1, True)),
        *((Range(-2, -1), -1.5, -1.2, True), (Range(-2, -1), -1.5, -0.5, None), (Range(-2, -1), -0.5, 0.5, False)),
    ],
)
def test_range_holds(criterion, low, high, holds):
    assert criterion.holds(Estimate((low + high) / 2, low, high, 3)) is holds


@pytest.mark.parametrize("held", list(product(THREE_VALUED, repeat=3)))
def test_count_of_is_decided_as_far_as_any_completion_agrees(held):
    """Compares with all ways in which the open criteria may turn out."""
    completions = [
        [next(filled) if value is None else value for value in held]
        for choice in product((True, False), repeat=held.count(None))
        for filled in [iter(choice)]
    ]
    for needed in range(4):
        outcomes = {sum(completion) >= needed for completion in completions}
        assert count_of(held, needed) is (outcomes.pop() if len(outcomes) == 1 else None)
    assert every(held) is count_of(held, 3)
    assert some(held) is count_of(held, 1)


@pytest.mark.parametrize(
    ("full", "partial", "published", "ours"),
    [
        (True, True, "reproduced", "supported"),
        (False, True, "partly reproduced", "not supported"),
        (None, True, "partly reproduced", "inconclusive"),
        (False, False, "not reproduced", "not supported"),
        (False, None, "inconclusive", "not supported"),
        (None, None, "inconclusive", "inconclusive"),
        (None, False, "inconclusive", "inconclusive"),
    ],
)
def test_verdict(full, partial, published, ours):
    finding = Finding(full, "", partial)
    judge = lambda results: finding
    assert Claim("It works", "it works", judge, source="a paper").verdict(finding) == published
    assert Claim("It works", "it works", judge).verdict(finding) == ours


def test_measurements_have_their_interval_and_say_where_seeds_are_few():
    assert points(estimate([0.01, 0.02])) == "+1.50 [-4.85, +7.85] points (two seeds)"
    assert nats(estimate([0.1])) == "+0.100 nats (one seed)"
    assert percent(estimate([0.5, 0.5])) == "50.0 % (two seeds)"
    assert percent(estimate([0.5, 0.6, 0.7])) == "60.0 [35.2, 84.8] %"


PAIR = Experiment(
    name="pair",
    title="Pair",
    question="Which?",
    networks={"cpu": {"mlp": make_config(), "wide": make_config(widths=(512,))}, "smoke": {"mlp": make_config()}},
    variants=(Variant("slow", settings={"learning_rate": 1e-3}), Variant("fast", settings={"learning_rate": 1e-2})),
    claims=(
        Claim("Fast is better", "more", judge_gap({"learning_rate": 1e-2}, {"learning_rate": 1e-3}, above(0))),
        Claim("Fast is better", "more", judge_gap({"learning_rate": 1e-2}, {"learning_rate": 1e-3}, above(0)), "paper"),
    ),
)


def accuracies(gains):
    """Test accuracies that differ much between seeds; the fast ones by the given gains of mlp and wide."""

    def summary(cell):
        fast = cell.variant.label == "fast"
        seed = cell.config.seed
        return {"test_accuracy": 0.5 + 0.1 * seed + fast * (gains[cell.network] + 0.001 * (seed % 2))}

    return summary


def test_differences_are_taken_seed_by_seed(tmp_path):
    """Seeds differ by ten points, and the gain of a tenth of a point is established."""
    results = write_results(tmp_path, PAIR, "cpu", accuracies({"mlp": 0.01, "wide": 0.01}), seeds=5)
    slow, fast = results.select("mlp")
    assert slow.spread() == pytest.approx(np.std(slow.values(), ddof=1))
    gap = difference(fast, slow)
    assert gap.seeds == 5
    assert gap.mean == pytest.approx(0.0104)
    assert 0.009 < gap.low < gap.mean < gap.high < 0.012


def test_only_seeds_that_both_have_are_compared(tmp_path):
    all_of_slow = lambda cell: cell.variant.label == "slow" or cell.config.seed in (1, 3)
    write = accuracies({"mlp": 0.01, "wide": 0.01})
    results = write_results(tmp_path, PAIR, "cpu", lambda cell: write(cell) if all_of_slow(cell) else None, seeds=4)
    slow, fast = results.select("mlp")
    assert by_seed([slow, fast]) == pytest.approx(np.array([[0.6, 0.611], [0.8, 0.811]]))
    assert difference(fast, slow).seeds == 2
    with pytest.raises(MissingRunsError, match="no seed in common"):
        by_seed([slow, dataclasses.replace(fast, runs=[])])


@pytest.mark.parametrize(
    ("gains", "verdicts"),
    [
        ({"mlp": 0.01, "wide": 0.01}, ["supported", "reproduced"]),
        ({"mlp": 0.01, "wide": -0.0005}, ["inconclusive", "partly reproduced"]),
        ({"mlp": 0.01, "wide": -0.01}, ["not supported", "partly reproduced"]),
        ({"mlp": -0.0005, "wide": -0.0005}, ["inconclusive", "inconclusive"]),
        ({"mlp": -0.01, "wide": -0.01}, ["not supported", "not reproduced"]),
    ],
)
def test_judge_gap_by_what_the_intervals_establish(tmp_path, gains, verdicts):
    results = write_results(tmp_path, PAIR, "cpu", accuracies(gains), seeds=5)
    assert [judgement.verdict for _, judgement in results.judgements()] == verdicts


def test_one_seed_establishes_nothing(tmp_path):
    results = write_results(tmp_path, PAIR, "cpu", accuracies({"mlp": 0.3, "wide": 0.3}), seeds=1)
    assert {judgement.verdict for _, judgement in results.judgements()} == {"inconclusive"}
    assert all("one seed" in judgement.measured for _, judgement in results.judgements())


def test_smoke_scale_is_too_small_to_judge(tmp_path):
    results = write_results(tmp_path, PAIR, "smoke", accuracies({"mlp": 0.3}), seeds=3)
    assert {judgement.verdict for _, judgement in results.judgements()} == {"too small to judge"}
