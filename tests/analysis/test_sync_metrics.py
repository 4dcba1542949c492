"""Metrics of a sync, against NumPy one weight at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laperm_jax import laperm, reconnect, sort_vectors
from laperm_jax.analysis import sync_metrics
from tests import reference
from tests.cases import some_of

METRICS = jax.jit(sync_metrics, static_argnames="axes")
SHAPES = [((40, 6), (0,)), ((6, 40), (1,)), ((3, 3, 4, 5), (0, 1, 2)), ((4, 8, 6), (0, 1)), ((5,), (0,)), ((6, 2), ())]


def draw(shape, seed, digits=7):
    return np.random.default_rng(seed).normal(size=shape).round(digits).astype(np.float32)


def by_hand(previous, current, initial, axes, residual=None):
    """Moved, distance in ranks, distance, stuck: one vector and one weight at a time."""
    ranked = current if residual is None else current + residual
    after = reference.reconnect(ranked, initial, axes)
    moved, distances, stuck, changes, squares = [], [], [], [], []
    rows = zip(*(reference.vectors(array, axes) for array in (previous, current, ranked, after, initial)), strict=True)
    for (_, before), (_, now), (_, total), (_, new), (_, values) in rows:
        if not np.isfinite(total).all():
            continue
        for i in range(before.size):
            ranks = [int(np.sum(values < value)) for value in (before[i], new[i])]
            moved.append(ranks[0] != ranks[1])
            distances.append(abs(ranks[1] - ranks[0]) / before.size)
            gaps = [abs(value - before[i]) for value in values if value != before[i]]
            reach = abs(total[i] - before[i]) + np.abs(total - before).max()
            stuck.append(reach < min(gaps, default=np.inf))
        changes.extend(new - now)
        squares.extend(now)
    return np.mean(moved), np.mean(distances), np.linalg.norm(changes) / np.linalg.norm(squares), np.mean(stuck)


@pytest.mark.parametrize(("shape", "axes"), some_of(SHAPES, {0, 2}), ids=str)
@pytest.mark.parametrize("step", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("digits", [7, 1], ids=["distinct", "ties"])
@pytest.mark.parametrize("feedback", [None, 0.02], ids=["plain", "feedback"])
def test_metrics_equal_a_loop_over_single_weights(shape, axes, step, digits, feedback):
    initial = draw(shape, 0, digits)
    sorted_init = sort_vectors(initial, axes)
    previous = np.asarray(reconnect(draw(shape, 1), sorted_init, axes))
    current = previous + np.float32(step) * draw(shape, 2)
    if step and len(shape) > 1 and axes:
        current[(0,) * len(shape)] = np.nan
    residual = None if feedback is None else np.float32(feedback) * draw(shape, 3)
    metrics = METRICS(previous, current, sorted_init, axes=axes, residual=residual)
    expected = by_hand(previous, current, initial, axes, residual)
    np.testing.assert_allclose(np.array(metrics), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.nightly
def test_a_residual_frees_a_weight_that_one_period_moves_too_little():
    """0 and 0.08 are brought together by a residual, and not by the weights alone."""
    initial = 0.08 * (draw((50, 10), 0) > 0).astype(np.float32)
    towards = np.where(initial > 0, -1, 1).astype(np.float32)
    measure = lambda residual: sync_metrics(initial, initial + 0.02 * towards, initial_sorted, (0,), residual)
    initial_sorted = sort_vectors(initial, (0,))
    assert measure(None).stuck == measure(np.zeros_like(initial)).stuck == 1
    assert measure(0.01 * towards).stuck == 1
    freed = measure(0.03 * towards)
    assert freed.stuck == 0
    assert freed.moved > 0


@pytest.mark.parametrize(
    ("residual", "error", "message"),
    [
        (np.zeros((4, 2), np.float32), ValueError, r"current \(8, 2\) and residual \(4, 2\) must have the same shape"),
        (
            np.zeros((8, 2), np.float16),
            TypeError,
            r"current \(float32\) and residual \(float16\) must have the same dtype",
        ),
    ],
)
def test_a_residual_is_like_the_weights(residual, error, message):
    initial = draw((8, 2), 0)
    with pytest.raises(error, match=message):
        sync_metrics(initial, initial, sort_vectors(initial, (0,)), (0,), residual)


@pytest.mark.nightly
def test_unchanged_weights_are_all_stuck():
    initial = draw((40, 6), 0)
    moved, distance, free, stuck = sync_metrics(initial, initial, sort_vectors(initial, (0,)), (0,))
    assert (moved, distance, free, stuck) == (0, 0, 0, 1)


@pytest.mark.nightly
@pytest.mark.parametrize("step", [1e-4, 1e-3, 1e-2])
def test_stuck_and_moved_exclude_each_other(step):
    """So their shares are one at most."""
    initial = draw((400, 50), 0)
    moved, _, _, stuck = sync_metrics(initial, initial + step * draw((400, 50), 1), sort_vectors(initial, (0,)), (0,))
    assert moved + stuck <= 1
    assert moved > 0


@pytest.mark.nightly
@pytest.mark.parametrize(("period", "stuck"), [(20, 1.0), (1000, 0.0)])
def test_stuck_finds_a_sync_period_too_short_for_a_shared_value(period, stuck):
    """Adam moves a weight by 1e-3 at most in an update: 20 of them never bring zero and 0.08 together."""
    initial = 0.08 * (draw((50, 10), 0) > 0).astype(np.float32)
    tx = laperm(optax.adam(1e-3), period)
    params, state = jnp.asarray(initial), tx.init(initial)
    step = jax.jit(tx.apply_gradients)
    free = optax.adam(1e-3)
    inner, weights = free.init(params), params
    for number in range(period):
        grads = jnp.asarray(np.sign(draw((50, 10), 1)) * (1 + number / period))
        updates, inner = free.update(grads, inner)
        weights = optax.apply_updates(weights, updates)
        params, state = step(grads, state, params)
    metrics = sync_metrics(initial, weights, state.sorted_init, (0,))
    assert metrics.stuck == stuck
    assert (metrics.moved == 0) == (params == initial).all() == (stuck == 1)


def test_metrics_sort_only_in_the_sync():
    """Two operands of 6,000 would be sorted if ranks were found by another argsort."""
    array = jax.ShapeDtypeStruct((1000, 6), jnp.float32)
    count = lambda function: str(jax.make_jaxpr(function)(array, array, array)).count(" sort[")
    assert count(lambda p, c, s: sync_metrics(p, c, s, (0,))) == count(lambda p, c, s: reconnect(c, s, (0,)))


@pytest.mark.nightly
def test_metrics_of_nonfinite_vectors_are_nan():
    initial = draw((8, 1), 0)
    assert np.isnan(np.array(sync_metrics(initial, initial * np.nan, sort_vectors(initial, (0,)), (0,)))).all()


def test_shapes_and_dtypes_must_agree():
    initial = draw((8, 2), 0)
    with pytest.raises(ValueError, match=r"previous \(4, 2\) and current \(8, 2\) must have the same shape"):
        sync_metrics(initial[:4], initial, initial, (0,))
    with pytest.raises(TypeError, match="must have the same dtype"):
        sync_metrics(initial, initial, initial.astype(np.float16), (0,))
