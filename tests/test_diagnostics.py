"""Numbers about a sync, against NumPy one weight at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laperm_jax import laperm, reconnect, sort_vectors
from laperm_jax.analysis._sync_metrics import sync_metrics
from tests import reference

SHAPES = [((40, 6), (0,)), ((6, 40), (1,)), ((3, 3, 4, 5), (0, 1, 2)), ((4, 8, 6), (0, 1)), ((5,), (0,)), ((6, 2), ())]


def draw(shape, seed, digits=7):
    return np.random.default_rng(seed).normal(size=shape).round(digits).astype(np.float32)


def by_hand(previous, current, initial, axes):
    """Moved, distance in ranks, distance, stuck: one vector and one weight at a time."""
    after = reference.reconnect(current, initial, axes)
    moved, distances, stuck, changes, squares = [], [], [], [], []
    rows = zip(*(reference.vectors(array, axes) for array in (previous, current, after, initial)), strict=True)
    for (_, before), (_, now), (_, new), (_, values) in rows:
        if not np.isfinite(now).all():
            continue
        for i in range(before.size):
            ranks = [int(np.sum(values < value)) for value in (before[i], new[i])]
            moved.append(ranks[0] != ranks[1])
            distances.append(abs(ranks[1] - ranks[0]) / before.size)
            gaps = [abs(value - before[i]) for value in values if value != before[i]]
            reach = abs(now[i] - before[i]) + np.abs(now - before).max()
            stuck.append(reach < min(gaps, default=np.inf))
        changes.extend(new - now)
        squares.extend(now)
    return np.mean(moved), np.mean(distances), np.linalg.norm(changes) / np.linalg.norm(squares), np.mean(stuck)


@pytest.mark.parametrize(("shape", "axes"), SHAPES, ids=str)
@pytest.mark.parametrize("step", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("digits", [7, 1], ids=["distinct", "ties"])
def test_the_same_as_by_hand(shape, axes, step, digits):
    initial = draw(shape, 0, digits)
    sorted_init = sort_vectors(initial, axes)
    previous = np.asarray(reconnect(draw(shape, 1), sorted_init, axes))
    current = previous + np.float32(step) * draw(shape, 2)
    if step and len(shape) > 1 and axes:
        current[(0,) * len(shape)] = np.nan
    metrics = jax.jit(sync_metrics, static_argnames="axes")(previous, current, sorted_init, axes=axes)
    np.testing.assert_allclose(np.array(metrics), by_hand(previous, current, initial, axes), rtol=1e-5, atol=1e-6)


def test_nothing_moves_where_nothing_changed():
    initial = draw((40, 6), 0)
    moved, distance, free, stuck = sync_metrics(initial, initial, sort_vectors(initial, (0,)), (0,))
    assert (moved, distance, free, stuck) == (0, 0, 0, 1)


@pytest.mark.parametrize("step", [1e-4, 1e-3, 1e-2])
def test_what_is_stuck_has_not_moved(step):
    """So their shares are one at most."""
    initial = draw((400, 50), 0)
    moved, _, _, stuck = sync_metrics(initial, initial + step * draw((400, 50), 1), sort_vectors(initial, (0,)), (0,))
    assert moved + stuck <= 1
    assert moved > 0


@pytest.mark.parametrize(("period", "stuck"), [(20, 1.0), (1000, 0.0)])
def test_a_shared_value_is_frozen_by_a_period_too_short_for_it(period, stuck):
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


def test_no_sort_but_the_one_of_the_sync():
    """Two operands of 6,000 would be sorted if ranks were found by another argsort."""
    array = jax.ShapeDtypeStruct((1000, 6), jnp.float32)
    count = lambda function: str(jax.make_jaxpr(function)(array, array, array)).count(" sort[")
    assert count(lambda p, c, s: sync_metrics(p, c, s, (0,))) == count(lambda p, c, s: reconnect(c, s, (0,)))


def test_a_vector_that_diverged_says_nothing():
    initial = draw((8, 1), 0)
    assert np.isnan(np.array(sync_metrics(initial, initial * np.nan, sort_vectors(initial, (0,)), (0,)))).all()


def test_shapes_and_dtypes_must_agree():
    initial = draw((8, 2), 0)
    with pytest.raises(ValueError, match=r"previous \(4, 2\) and current \(8, 2\) must have the same shape"):
        sync_metrics(initial[:4], initial, initial, (0,))
    with pytest.raises(TypeError, match="must have the same dtype"):
        sync_metrics(initial, initial, initial.astype(np.float16), (0,))
