"""The transform against the NumPy reference, step by step, and the semantics that must never bend."""

import copy

import chex
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given

from laperm_jax import LaPerm, all_fan_in, at_steps, every, laperm, norm_reset, path_fan_in
from tests import reference
from tests.cases import CASES, DTYPES, NON_FINITE, finite_arrays, grid_arrays, with_non_finite
from tests.steps import METHODS, PROPOSED, run, run_one_leaf

pytestmark = pytest.mark.usefixtures("strict")

MOMENTUM = optax.sgd(1e-2, momentum=0.9)


def random_params(shape=(6, 4), dtype=jnp.float32, seed=0):
    return {"kernel": jax.random.normal(jax.random.key(seed), shape, dtype)}


# The algorithm


@pytest.mark.parametrize("method", METHODS)
@given(st.data())
def test_follows_the_reference_step_by_step(method, data):
    """On a grid of values all sums are exact, so that even the rounded way must equal the reference bit for bit."""
    shape, axes, dtype = data.draw(st.sampled_from(CASES))
    period = data.draw(st.integers(1, 4))
    initial, *updates = (data.draw(grid_arrays(shape, dtype)) for _ in range(7))
    steps = run_one_leaf(initial, updates, axes, period, method)
    for (weights, _, exact), step in zip(steps, reference.train(initial, updates, axes, period), strict=True):
        np.testing.assert_array_equal(weights, step.weights)
        np.testing.assert_array_equal(reference.bits(exact), reference.bits(step.reconnected))


@given(st.data())
def test_exact_through_reconnected_params_and_bounded_through_apply_updates(data):
    shape, axes, dtype = data.draw(st.sampled_from(CASES))
    initial, old, proposed = (data.draw(finite_arrays(shape, dtype)) for _ in range(3))
    tx = laperm(PROPOSED, 1, fan_in_axes={"w": axes})
    params, updates = {"w": jnp.asarray(old)}, {"w": jnp.asarray(proposed)}
    applied, opt_state = tx.update(updates, tx.init({"w": jnp.asarray(initial)}), params)
    current = np.asarray(jnp.asarray(old) + jnp.asarray(proposed))  # in XLA's arithmetic, subnormals flushed or not
    target = reference.reconnect(current, initial, axes)
    landed = np.asarray(optax.apply_updates(params, applied)["w"])
    error = np.abs(landed.astype(np.float64) - target.astype(np.float64))
    smallest_normal = np.float64(jnp.finfo(dtype).smallest_normal)
    assert (error <= reference.rounding_bound(old, target) + smallest_normal * (target != 0)).all()
    assert reference.is_permutation(np.asarray(tx.reconnected_params(opt_state, params)["w"]), initial, axes)


def test_a_change_beyond_the_range_of_the_dtype_leaves_the_weights_finite():
    """The update saturates; the order is that of the permutation, and reconnected_params gives its values."""
    initial = {"kernel": jnp.asarray([[4e4], [-4e4], [0.0]], jnp.float16)}
    swapped = {"kernel": jnp.asarray([[-6e4], [6e4], [0.0]], jnp.float16)}
    tx = laperm(PROPOSED, 1)
    updates, opt_state = tx.update(swapped, tx.init(initial), initial)
    params = optax.apply_updates(initial, updates)
    assert np.isfinite(params["kernel"]).all()
    exact = tx.reconnected_params(opt_state, params)
    np.testing.assert_array_equal(exact["kernel"], np.float16([[-4e4], [4e4], [0.0]]))


def test_rounding_does_happen_and_is_why_reconnected_params_exists():
    initial, old, proposed = np.random.default_rng(0).normal(size=(3, 10_000, 1)).astype(np.float32)
    tx = laperm(PROPOSED, 1)
    applied, opt_state = tx.update(10 * proposed, tx.init(initial), old)
    landed = np.asarray(optax.apply_updates(old, applied))
    exact = np.asarray(tx.reconnected_params(opt_state, old + 10 * proposed))
    assert reference.is_permutation(exact, initial, (0,))
    assert not reference.is_permutation(landed, initial, (0,))
    assert 0.2 < np.mean(landed != exact) < 0.5
    assert (np.abs(landed - exact) <= reference.rounding_bound(old, exact)).all()


@given(st.data())
def test_apply_gradients_writes_the_permutation_itself(data):
    shape, axes, dtype = data.draw(st.sampled_from(CASES))
    initial, old, proposed = (data.draw(finite_arrays(shape, dtype)) for _ in range(3))
    tx = laperm(PROPOSED, 1, fan_in_axes={"w": axes})
    opt_state = tx.init({"w": jnp.asarray(initial)})
    params, _ = tx.apply_gradients({"w": jnp.asarray(proposed)}, opt_state, {"w": jnp.asarray(old)})
    current = np.asarray(jnp.asarray(old) + jnp.asarray(proposed))
    target = reference.reconnect(current, initial, axes)
    np.testing.assert_array_equal(reference.bits(params["w"]), reference.bits(target))


def test_zeros_of_a_sparse_kernel_come_out_exact():
    initial = np.asarray(jax.random.normal(jax.random.key(0), (1000, 3)))
    initial = np.where(np.random.default_rng(0).random(initial.shape) < 0.5, initial, 0).astype(np.float32)
    (params, _), *_ = run(laperm(PROPOSED, 1), jnp.asarray(initial), [jax.random.normal(jax.random.key(1), (1000, 3))])
    np.testing.assert_array_equal(np.sum(np.asarray(params) == 0, axis=0), np.sum(initial == 0, axis=0))


@pytest.mark.parametrize("method", METHODS)
def test_outside_jit_it_is_the_same(method):
    params = random_params()
    updates = [random_params(seed=seed) for seed in (1, 2, 3)]
    tx = laperm(PROPOSED, 2)
    eager, state = params, tx.init(params)
    for proposed, (compiled, compiled_state) in zip(updates, run(tx, params, updates, method), strict=True):
        eager, state = METHODS[method](tx, proposed, state, eager)
        chex.assert_trees_all_close(eager, compiled, rtol=1e-6)
        chex.assert_trees_all_equal(
            tx.reconnected_params(state, eager), tx.reconnected_params(compiled_state, compiled)
        )


def test_syncs_are_counted_from_one_and_follow_the_schedule():
    params = random_params()
    updates = [jax.tree.map(lambda x: jnp.full_like(x, 0.5), params)] * 7
    for period, expected in [(3, [3, 6]), (jnp.int32(2), [2, 4, 6]), (every(7), [7]), (at_steps([1, 5]), [1, 5])]:
        synced = []
        for number, (after, opt_state) in enumerate(run(laperm(PROPOSED, period), params, updates), start=1):
            assert int(opt_state.count) == number
            if np.allclose(np.sort(after["kernel"], axis=0), np.sort(params["kernel"], axis=0), atol=1e-6):
                synced.append(number)
        assert synced == expected


@pytest.mark.parametrize("options", [{}, {"error_feedback": True}], ids=str)
def test_the_order_of_the_branches_changes_nothing(options, monkeypatch):
    """On a GPU "no sync" is the true branch."""
    params = {"kernel": jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)}
    grads = jax.tree.map(jnp.cos, params)
    after = []
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        tx = laperm(optax.sgd(0.5), 2, **options)
        step, new, opt_state = jax.jit(tx.apply_gradients), params, tx.init(params)
        for _ in range(3):
            new, opt_state = step(grads, opt_state, new)
        after.append((new, opt_state))
    chex.assert_trees_all_equal(*after)


@pytest.mark.parametrize("method", METHODS)
def test_between_syncs_it_is_the_inner_optimizer(method):
    params = random_params()
    grads = [random_params(seed=seed) for seed in range(1, 6)]
    inner = MOMENTUM
    for (ours, state), (theirs, inner_state) in zip(
        run(laperm(inner, 6), params, grads, method), run(inner, params, grads), strict=True
    ):
        # XLA may contract a product and a sum into one rounding where nothing stands between them.
        chex.assert_trees_all_close(ours, theirs, rtol=1e-6)
        chex.assert_trees_all_close(state.inner_state, inner_state, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_sync_leaves_the_inner_state_alone(method):
    params, grads = random_params(), [random_params(seed=1)] * 4
    *_, (_, state) = run(laperm(MOMENTUM, 1), params, grads, method)
    expected = (1 + 0.9 + 0.9**2 + 0.9**3) * grads[0]["kernel"]
    np.testing.assert_allclose(optax.tree.get(state.inner_state, "trace")["kernel"], expected, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_untreated_leaves_follow_the_inner_optimizer_at_a_sync(method):
    params = random_params() | {"bias": jnp.zeros(4), "steps": jnp.zeros((2, 2), jnp.int32)}
    updates = jax.tree.map(jnp.ones_like, params)
    ((after, state),) = run(laperm(PROPOSED, 1), params, [updates], method)
    np.testing.assert_array_equal(after["bias"], 1)
    np.testing.assert_array_equal(after["steps"], 1)
    assert state.sorted_init["bias"] == state.sorted_init["steps"] == optax.MaskedNode()


# What never bends


@given(st.data())
def test_non_finite_vectors_are_left_to_the_inner_update(data):
    shape, axes, dtype = data.draw(st.sampled_from(CASES))
    initial, old = data.draw(finite_arrays(shape, dtype)), data.draw(finite_arrays(shape, dtype))
    proposed = data.draw(with_non_finite(finite_arrays(shape, dtype)))
    tx = laperm(PROPOSED, 1, fan_in_axes={"w": axes})
    params, updates = {"w": jnp.asarray(old)}, {"w": jnp.asarray(proposed)}
    applied, opt_state = tx.update(updates, tx.init({"w": jnp.asarray(initial)}), params)
    after = optax.apply_updates(params, applied)
    applied_directly = tx.apply_gradients(updates, tx.init({"w": jnp.asarray(initial)}), params)[0]["w"]
    returned = np.asarray(tx.reconnected_params(opt_state, after)["w"])
    for index, vector in reference.vectors(old + proposed, axes):
        if not np.isfinite(vector).all():
            np.testing.assert_array_equal(reference.bits(applied["w"])[index], reference.bits(proposed)[index])
            np.testing.assert_array_equal(reference.bits(returned)[index], reference.bits(after["w"])[index])
            np.testing.assert_array_equal(reference.bits(applied_directly)[index], reference.bits(after["w"])[index])


@pytest.mark.parametrize("bad", NON_FINITE)
def test_non_finite_initial_weights_are_refused_by_name_where_they_are_concrete(bad):
    params = {"dense": {"kernel": jnp.ones((3, 2)).at[1, 1].set(bad), "bias": jnp.full(2, bad)}}
    with pytest.raises(ValueError, match="dense/kernel holds NaN or inf"):
        laperm(optax.sgd(0.1), 1).init(params)
    jax.jit(laperm(optax.sgd(0.1), 1).init)(params)  # traced: cannot look
    jax.jit(lambda: laperm(optax.sgd(0.1), 1).init(params))()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("update_dtype", DTYPES)
def test_dtypes_and_no_weak_types(dtype, update_dtype):
    params = random_params(dtype=dtype)
    tx = laperm(PROPOSED, 1)
    opt_state = tx.init(params)
    with jax.numpy_dtype_promotion("standard"):
        updates, new_state = tx.update(jax.tree.map(lambda p: p.astype(update_dtype), params), opt_state, params)
        assert updates["kernel"].dtype == jnp.promote_types(dtype, update_dtype)
    chex.assert_trees_all_equal_shapes_and_dtypes(opt_state.sorted_init, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(opt_state, new_state)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((opt_state, new_state)))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(new_state))


def test_weakly_typed_parameters_make_no_weak_state():
    params = {"w": jnp.asarray(1.0)}
    assert params["w"].weak_type
    state = laperm(PROPOSED, 1, fan_in_axes={"w": ()}).init(params)
    assert not state.sorted_init["w"].weak_type


def test_narrow_updates_still_land_on_the_permutation():
    params = random_params((200, 4))
    updates = jax.tree.map(lambda p: jnp.ones_like(p, jnp.bfloat16), params)
    with jax.numpy_dtype_promotion("standard"):
        ((after, _),) = run(laperm(PROPOSED, 1), params, [updates])
    np.testing.assert_allclose(np.sort(after["kernel"], axis=0), np.sort(params["kernel"], axis=0), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(6, 4), (1, 4)])
def test_parameters_and_state_can_be_donated(shape, method):
    tx = laperm(MOMENTUM, 2)
    params = random_params(shape)
    opt_state = tx.init(params)

    step = jax.jit(lambda params, opt_state: METHODS[method](tx, params, opt_state, params), donate_argnums=(0, 1))
    before = params["kernel"], opt_state.sorted_init["kernel"]
    for _ in range(3):
        params, opt_state = step(params, opt_state)
    assert all(array.is_deleted() for array in before)
    assert not opt_state.sorted_init["kernel"].is_deleted()


# Resets


@pytest.mark.parametrize("method", METHODS)
def test_reset_values_at_each_sync_and_only_then(method):
    params = {"conv": jnp.ones((3, 2)), "norm": {"scale": jnp.ones(2), "bias": jnp.zeros(2)}}
    tx = laperm(PROPOSED, 2, reset_values=norm_reset(params))
    updates = jax.tree.map(lambda x: jnp.full_like(x, 0.25), params)
    (one, state), (two, _), (three, _) = run(tx, params, [updates] * 3, method)
    assert one["norm"]["scale"].tolist() == [1.25, 1.25]
    chex.assert_trees_all_equal(two["norm"], params["norm"])
    assert three["norm"]["bias"].tolist() == [0.25, 0.25]
    # reconnected_params leaves them as they are
    assert tx.reconnected_params(state, one)["norm"]["scale"].tolist() == [1.25, 1.25]


def test_a_reset_leaf_is_not_reordered_even_if_the_fan_in_rule_treats_it():
    params = {"kernel": jnp.arange(6.0).reshape(3, 2), "scale": jnp.array([1.0, 2.0, 3.0])}
    tx = laperm(PROPOSED, 1, fan_in_axes=all_fan_in, reset_values={"scale": 7.0})
    ((after, state),) = run(tx, params, [params])
    assert after["scale"].tolist() == [7.0, 7.0, 7.0]
    assert state.sorted_init["scale"] == optax.MaskedNode()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", NON_FINITE)
def test_a_reset_leaves_non_finite_elements_alone(bad, method):
    params = {"scale": jnp.ones(3)}
    tx = laperm(PROPOSED, 1, reset_values=norm_reset(params))
    ((after, _),) = run(tx, params, [{"scale": jnp.array([1.0, bad, 1.0])}], method)
    np.testing.assert_array_equal(after["scale"], [1.0, bad, 1.0])


# Arguments and errors


def test_update_without_params_raises_optax_sentence():
    params = random_params()
    with pytest.raises(ValueError) as theirs:  # noqa: PT011  # the sentence is what is compared
        optax.add_decayed_weights(0.1).update(params, optax.EmptyState(), None)
    tx = laperm(optax.sgd(0.1), 1)
    with pytest.raises(ValueError) as ours:  # noqa: PT011
        tx.update(params, tx.init(params))
    assert str(ours.value) == str(theirs.value)


def test_laperm_is_an_optax_pair_that_copies():
    rule = path_fan_in({"kernel": (0,)})
    tx = laperm(optax.sgd(0.1), 1, fan_in_axes=rule)
    init, update = tx
    assert (init, update) == (tx.init, tx.update)
    assert isinstance(tx, LaPerm)
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    for copied in (copy.copy(tx), copy.deepcopy(tx)):
        assert copied == tx
        assert copied.fan_in_axes is rule


@pytest.mark.parametrize("options", [{}, {"error_feedback": True}, {"reset_values": {"bias": 0.0}}], ids=str)
@pytest.mark.parametrize("schedule", [2, every(2), at_steps([2])], ids=["int", "every", "at_steps"])
def test_eager_calls_need_no_implicit_transfer(schedule, options):
    """Of Python numbers to the device, that is; Optax's own transformations do need them outside jit."""
    params = random_params() | {"bias": jnp.ones(4)}
    tx = laperm(PROPOSED, schedule, **options)
    with jax.transfer_guard("disallow"):
        opt_state = tx.init(params)
        updates, opt_state = tx.update(params, opt_state, params)
        after, opt_state = tx.apply_gradients(params, opt_state, optax.apply_updates(params, updates))
        exact = tx.reconnected_params(opt_state, after)
    chex.assert_trees_all_equal(exact["kernel"], params["kernel"])


def test_gradients_pass_through_a_sync_as_through_a_fixed_permutation():
    """Meta-learning differentiates through updates: a sync moves no gradient into the ranks, and must not fail."""
    params = random_params()
    tx = laperm(optax.sgd(0.1), 1)
    opt_state = tx.init(params)
    loss = lambda scale: optax.apply_updates(
        params, tx.update(jax.tree.map(lambda p: p * scale, params), opt_state, params)[0]
    )["kernel"].sum()
    assert jax.grad(loss)(2.0) == 0.0


@pytest.mark.eight_devices
def test_parameters_on_different_devices_are_reconnected_where_they_are():
    first, second = jax.devices()[:2]
    draw = lambda seed, device: jax.device_put(jax.random.normal(jax.random.key(seed), (6, 3)), device)
    initial = {"a": draw(0, first), "b": draw(1, second)}
    current = {"a": draw(2, first), "b": draw(3, second)}
    tx = laperm(optax.sgd(1.0), 1)
    exact = tx.reconnected_params(tx.init(initial), current)
    assert exact["a"].devices() == {first}
    assert exact["b"].devices() == {second}
    for name in initial:
        expected = reference.reconnect(np.asarray(current[name]), np.asarray(initial[name]), (0,))
        np.testing.assert_array_equal(exact[name], expected)
