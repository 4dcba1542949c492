"""make_update, make_run, make_shuffle."""

import jax
import numpy as np
import pytest

from laperm_jax import norm_reset
from laperm_jax._paths import leaves_by_path
from tests.lab.training.helpers import CONV, SMALL, one_loss, small


def test_params_are_permutations_after_syncs_only(mlp):
    state, shares = mlp.init_state(), []
    for step in range(8):
        state, _ = mlp.updates(state, step, step + 1)
        shares.append(mlp.exact_share(state.params))
        assert mlp.exact_share(mlp.training.reconnected_params(state.opt_state, state.params)) == 1
    assert shares[3] == shares[7] == 1
    assert max(shares[:3] + shares[4:7]) < 0.5


def test_run_in_pieces_equals_run_in_one(mlp):
    whole, losses = mlp.updates(mlp.init_state(), 0, 10)
    first, first_losses = mlp.updates(mlp.init_state(), 0, 3)
    second, second_losses = mlp.updates(first, 3, 10)
    np.testing.assert_array_equal(losses, first_losses + second_losses)
    for ours, theirs in zip(jax.tree.leaves(second), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert int(whole.opt_state.count) == 10
    assert (losses[:10] > 0).all()
    assert not losses[10:].any()


def test_training_lowers_the_loss(mlp):
    _, losses = mlp.updates(mlp.init_state(), 0, mlp.training.method.steps_per_epoch)
    assert losses[-3:].mean() < 0.7 * losses[:3].mean()


def test_run_stops_after_a_loss_that_is_not_finite():
    run = small(inner="sgd", learning_rate=1e30, schedule="constant")
    state, losses = run.updates(run.init_state(), 0, 10)
    bad = np.flatnonzero(~np.isfinite(losses))
    assert len(bad) == 1
    assert int(state.opt_state.count) == bad[0] + 1
    assert not losses[bad[0] + 1 :].any()


@pytest.mark.nightly
def test_redraw_trains_the_same_weights_without_a_copy(mlp):
    redraw = small(redraw=True)
    assert not jax.tree.leaves(redraw.init_state().opt_state.sorted_init)
    (kept, _), (drawn, _) = (run.updates(run.init_state(), 0, 9) for run in (mlp, redraw))
    for ours, theirs in zip(jax.tree.leaves(drawn.params), jax.tree.leaves(kept.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_shuffle_has_each_example_once_in_a_new_order_for_each_epoch(mlp):
    orders = [np.asarray(mlp.order(epoch)) for epoch in (0, 1, 0)]
    assert orders[0].shape == (mlp.training.method.steps_per_epoch, SMALL.data.batch_size) == (19, 64)
    assert orders[0].dtype == np.int32
    assert len(np.unique(orders[0])) == orders[0].size
    assert (orders[0] != orders[1]).mean() > 0.9
    np.testing.assert_array_equal(orders[0], orders[2])


@pytest.mark.nightly
def test_l2_adds_the_squared_kernels_but_the_output_layer():
    plain, penalised = small(), small(l2=0.1)
    expected = 0.1 * np.sum(np.square(plain.initial.variables.params["dense1"]["kernel"]))
    assert one_loss(penalised) - one_loss(plain) == pytest.approx(expected, rel=1e-4)


@pytest.mark.nightly
def test_augment_changes_the_loss():
    assert one_loss(small()) != one_loss(small(augment=True))


@pytest.mark.nightly
def test_batchnorm_statistics_are_updated(conv):
    state = conv.init_state()
    before = {path: np.asarray(leaf) for path, leaf in leaves_by_path(state.batch_stats).items()}
    state, _ = conv.updates(state, 0, 1)
    after = {path: np.asarray(leaf) for path, leaf in leaves_by_path(state.batch_stats).items()}
    assert before.keys() == after.keys()
    assert all((before[path] != after[path]).any() for path in before)


@pytest.mark.nightly
def test_reset_batchnorm_at_each_sync():
    run = small(CONV, reset_batchnorm=True)
    state, scales = run.init_state(), []
    for step in range(5):
        state, _ = run.updates(state, step, step + 1)
        scales.append(np.asarray(state.params["norm1"]["scale"]))
    np.testing.assert_array_equal(scales[3], 1)
    assert all((scales[step] != 1).any() for step in (0, 1, 2, 4))
    assert set(norm_reset(state.params)) == {f"norm{n}/{leaf}" for n in range(1, 5) for leaf in ("scale", "bias")}
