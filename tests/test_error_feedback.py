"""Error feedback against the NumPy reference, and in every place that LaPerm without it works in."""

import functools

import chex
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, serialization
from flax.training.train_state import TrainState
from hypothesis import given
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from laperm_jax import LaPermState, flax_fan_in, laperm, norm_reset
from tests import reference
from tests.cases import CASES, finite_arrays, grid_arrays, some_of, with_non_finite
from tests.steps import METHODS, PROPOSED, run, run_one_leaf

SHAPE = (8, 4)
INITIAL, *PROPOSALS = jax.random.normal(jax.random.key(0), (7, *SHAPE)).round(2)
PARAMS = {"kernel": INITIAL, "bias": jnp.zeros(4)}
UPDATES = [{"kernel": proposal / 4, "bias": jnp.ones(4)} for proposal in PROPOSALS]


def find(opt_state):
    is_laperm = lambda node: isinstance(node, LaPermState)
    (state,) = [node for node in jax.tree.leaves(opt_state, is_leaf=is_laperm) if is_laperm(node)]
    return state


# The algorithm


@pytest.mark.parametrize("method", some_of(METHODS, {0}))
@given(st.data())
def test_follows_the_reference_step_by_step(method, data):
    """On a grid of values all sums are exact, so that even the rounded way must equal the reference bit for bit."""
    shape, axes, dtype = data.draw(st.sampled_from(CASES))
    period = data.draw(st.integers(1, 3))
    initial = data.draw(grid_arrays(shape, dtype))
    updates = [data.draw(with_non_finite(grid_arrays(shape, dtype))) for _ in range(4)]
    with np.errstate(invalid="ignore"):
        expected = list(reference.train(initial, updates, axes, period, error_feedback=True))
    steps = run_one_leaf(initial, updates, axes, period, method, error_feedback=True)
    for (weights, opt_state, exact), step in zip(steps, expected, strict=True):
        for ours, theirs in (
            (weights, step.weights),
            (opt_state.residual["w"], step.residual),
            (exact, step.reconnected),
        ):
            np.testing.assert_array_equal(np.float32(ours), np.float32(theirs))  # which takes NaN for NaN
        assert (reference.bits(exact) == reference.bits(step.reconnected))[np.isfinite(step.reconnected)].all()


@given(st.data())
def test_apply_gradients_writes_the_permutation_and_keeps_the_rest(data):
    shape, axes, dtype = data.draw(st.sampled_from(CASES))
    initial, old, residual, proposed = (data.draw(finite_arrays(shape, dtype)) for _ in range(4))
    tx = laperm(PROPOSED, 1, fan_in_axes={"w": axes}, error_feedback=True)
    opt_state = tx.init({"w": jnp.asarray(initial)})._replace(residual={"w": jnp.asarray(residual)})
    params, opt_state = tx.apply_gradients({"w": jnp.asarray(proposed)}, opt_state, {"w": jnp.asarray(old)})
    weights, left = reference.sync(np.asarray(jnp.asarray(old) + jnp.asarray(proposed)), residual, initial, axes)
    np.testing.assert_array_equal(reference.bits(params["w"]), reference.bits(weights))
    np.testing.assert_array_equal(opt_state.residual["w"], left)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32])
@given(st.data())
def test_every_finite_vector_is_a_permutation_whatever_overflows(dtype, data):
    """Sums and residuals saturate; a residual that is NaN or inf stays so and counts for nothing."""
    shape, axes = (5, 3), (0,)
    near_the_largest = st.floats(-1, 1, width=16).map(lambda share: share * float(jnp.finfo(dtype).max))
    arrays = hnp.arrays(np.float64, shape, elements=near_the_largest).map(lambda array: array.astype(dtype))
    initial, weights = data.draw(arrays), data.draw(with_non_finite(arrays))
    residual = data.draw(with_non_finite(arrays))
    tx = laperm(PROPOSED, 1, fan_in_axes={"w": axes}, error_feedback=True)
    opt_state = tx.init({"w": jnp.asarray(initial)})._replace(residual={"w": jnp.asarray(residual)})
    exact = tx.reconnected_params(opt_state, {"w": jnp.asarray(weights)})["w"]
    params, opt_state = tx.apply_gradients({"w": jnp.zeros(shape, dtype)}, opt_state, {"w": jnp.asarray(weights)})
    with np.errstate(over="ignore"):
        expected, left = reference.sync(weights, residual, initial, axes)
    for ours in (exact, params["w"]):
        np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(opt_state.residual["w"], left)
    finite = np.isfinite(weights).all(axis=0)
    assert reference.is_permutation(np.asarray(exact)[:, finite], initial[:, finite], axes)


@pytest.mark.parametrize("dtype", [jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.bfloat16, jnp.float16])
def test_sums_saturate_in_dtypes_with_and_without_infinity(dtype):
    initial = jax.random.normal(jax.random.key(0), (16, 2)).astype(dtype)
    largest = jnp.full((16, 2), jnp.finfo(dtype).max, dtype)
    tx = laperm(PROPOSED, 1, fan_in_axes={"w": (0,)}, error_feedback=True)
    opt_state = tx.init({"w": initial})._replace(residual={"w": largest})
    exact = tx.reconnected_params(opt_state, {"w": largest})["w"]
    assert reference.is_permutation(np.asarray(exact), np.asarray(initial), (0,))
    _, opt_state = tx.apply_gradients({"w": -largest}, opt_state, {"w": jnp.zeros_like(largest)})
    assert np.isfinite(np.float32(opt_state.residual["w"])).all()


def test_subnormal_weights_keep_their_order():
    """A residual of zero changes no bit of them, also where sums flush them to zero."""
    tiny = jnp.asarray([[3e-45], [-1e-40], [2e-40], [1e-45]])
    tx = laperm(PROPOSED, 1, error_feedback=True)
    exact = jax.jit(tx.reconnected_params)(tx.init({"kernel": tiny}), {"kernel": tiny})
    np.testing.assert_array_equal(reference.bits(exact["kernel"]), reference.bits(tiny))


def test_a_sync_at_every_update_is_the_straight_through_estimator():
    """Gradients are taken at the reordered weights, and move latent weights that are never reordered."""
    tx = laperm(optax.sgd(0.25), 1, error_feedback=True)
    params, opt_state, latent = PARAMS, tx.init(PARAMS), np.asarray(INITIAL)
    gradient = jax.grad(lambda kernel: jnp.sum(jnp.cos(3 * kernel)))
    for _ in range(10):
        grads = {"kernel": gradient(params["kernel"]), "bias": jnp.zeros(4)}
        latent = latent - np.float32(0.25) * np.asarray(grads["kernel"])
        params, opt_state = tx.apply_gradients(grads, opt_state, params)
        total = np.asarray(params["kernel"] + opt_state.residual["kernel"])
        np.testing.assert_allclose(total, latent, atol=1e-5)
        expected = reference.reconnect(total, np.asarray(INITIAL), (0,))
        np.testing.assert_array_equal(params["kernel"], expected)
    assert (params["kernel"] != INITIAL).any()


@pytest.mark.parametrize("method", METHODS)
def test_a_step_that_does_not_sync_leaves_the_residual_alone(method):
    states = [opt_state for _, opt_state in run(laperm(PROPOSED, 3, error_feedback=True), PARAMS, UPDATES, method)]
    residuals = [np.asarray(state.residual["kernel"]) for state in states]
    assert not residuals[1].any()
    assert residuals[2].any()
    for earlier, later in ((0, 1), (2, 3), (3, 4)):
        np.testing.assert_array_equal(residuals[earlier], residuals[later])
    assert (residuals[5] != residuals[4]).any()


def test_without_residual_it_is_the_plain_transform():
    plain, fed = (list(run(laperm(PROPOSED, 3, error_feedback=on), PARAMS, UPDATES[:3])) for on in (False, True))
    for (params, state), (fed_params, fed_state) in zip(plain, fed, strict=True):
        chex.assert_trees_all_equal(params, fed_params)
        chex.assert_trees_all_equal(state.sorted_init, fed_state.sorted_init)
        assert state.residual is None


# The state


def test_residual_is_like_the_parameters():
    params = {"f32": INITIAL, "bf16": INITIAL.astype(jnp.bfloat16), "bias": jnp.zeros(4), "weak": jnp.asarray(1.0)}
    rule = {"f32": (0,), "bf16": (0,), "weak": ()}
    tx = laperm(optax.sgd(0.1), 1, fan_in_axes=rule, error_feedback=True)
    state = tx.init(params)
    _, later = jax.jit(tx.update)(params, state, params)
    for residual in (state.residual, later.residual):
        assert residual["bias"] == optax.MaskedNode()
        for path in rule:
            assert (residual[path].shape, residual[path].dtype) == (params[path].shape, params[path].dtype)
            assert not residual[path].weak_type
    assert not any(leaf.any() for leaf in jax.tree.leaves(state.residual))


@pytest.mark.parametrize("value", ["no", 1, None, jnp.bool_(True)])
def test_anything_but_a_bool_is_refused(value):
    with pytest.raises(TypeError, match="error_feedback must be True or False, not"):
        laperm(PROPOSED, 1, error_feedback=value)


def test_residual_may_start_at_values_of_ones_own():
    tx = laperm(PROPOSED, 2, error_feedback=True)
    state = tx.init(PARAMS)
    noise = jax.tree.map(lambda leaf: jnp.sin(7 * jnp.arange(leaf.size)).reshape(leaf.shape), state.residual)
    exact = tx.reconnected_params(state._replace(residual=noise), PARAMS)
    expected, _ = reference.sync(np.asarray(INITIAL), np.asarray(noise["kernel"]), np.asarray(INITIAL), (0,))
    np.testing.assert_array_equal(exact["kernel"], expected)
    assert (expected != INITIAL).any()


@pytest.mark.nightly
@pytest.mark.eight_devices
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("spec", [("x", None), (None, "x"), ("x", "y")], ids=str)
def test_sharded_state_has_the_bits_of_one_device(kind, spec):
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)
    sharding = NamedSharding(mesh, PartitionSpec(*spec))
    put = lambda tree: {"kernel": jax.device_put(tree["kernel"], sharding)}
    tx = laperm(PROPOSED, 2, error_feedback=True)
    kernels = [{"kernel": update["kernel"]} for update in UPDATES]
    *_, (alone, alone_state) = run(tx, {"kernel": INITIAL}, kernels, "apply_gradients")
    assert tx.init(put(PARAMS)).residual["kernel"].sharding == sharding
    *_, (params, state) = run(tx, put(PARAMS), [put(update) for update in kernels], "apply_gradients")
    assert state.residual["kernel"].sharding.is_equivalent_to(sharding, 2)
    for ours, theirs in ((params, alone), (state.residual, alone_state.residual)):
        np.testing.assert_array_equal(ours["kernel"], theirs["kernel"])


@pytest.mark.parametrize("method", METHODS)
def test_donated_state(method):
    tx = laperm(optax.sgd(0.1, momentum=0.9), 2, error_feedback=True)
    params = jax.tree.map(jnp.copy, PARAMS)
    opt_state = tx.init(params)
    step = jax.jit(functools.partial(METHODS[method], tx), donate_argnums=(1, 2))
    before = params["kernel"], opt_state.residual["kernel"], opt_state.sorted_init["kernel"]
    for update in UPDATES[:3]:
        params, opt_state = step(update, opt_state, params)
    assert all(array.is_deleted() for array in before)
    expected = list(run(tx, PARAMS, UPDATES[:3], method))[-1]
    chex.assert_trees_all_equal((params, opt_state), expected)


def test_seeds_side_by_side():
    tx, axes = laperm(PROPOSED, 2, error_feedback=True), LaPermState(None, 0, 0, 0)
    seeds = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), PARAMS)
    opt_state = jax.vmap(tx.init, out_axes=axes)(seeds)
    step = jax.jit(jax.vmap(tx.apply_gradients, in_axes=(None, axes, 0), out_axes=(0, axes)))
    params = seeds
    for update in UPDATES[:5]:
        params, opt_state = step(update, opt_state, params)
    exact = jax.vmap(tx.reconnected_params, in_axes=(axes, 0))(opt_state, params)
    for seed in range(2):
        one = lambda tree, seed=seed: jax.tree.map(lambda leaf: leaf[seed], tree)
        *_, (alone, state) = run(tx, one(seeds), UPDATES[:5], "apply_gradients")
        chex.assert_trees_all_equal(one(params), alone)
        chex.assert_trees_all_equal(one(exact), tx.reconnected_params(state, alone))


def test_checkpoint():
    tx = laperm(optax.adam(0.1), 2, error_feedback=True)
    *_, (params, opt_state) = run(tx, PARAMS, UPDATES)
    restored = serialization.from_bytes(tx.init(PARAMS), serialization.to_bytes(opt_state))
    chex.assert_trees_all_equal(restored, opt_state)
    chex.assert_trees_all_equal(tx.reconnected_params(restored, params), tx.reconnected_params(opt_state, params))


# Around it


def test_redraw_gives_the_bits_of_a_kept_copy():
    redraw = lambda: {"kernel": jax.random.normal(jax.random.key(0), SHAPE), "bias": jnp.zeros(4)}
    params = jax.jit(redraw)()
    make = functools.partial(laperm, optax.sgd(0.5), 2, error_feedback=True)
    (*_, (kept, kept_state)), (*_, (drawn, state)) = (
        run(make(), params, UPDATES),
        run(make(redraw=redraw), params, UPDATES),
    )
    chex.assert_trees_all_equal(drawn, kept)
    chex.assert_trees_all_equal(state.residual, kept_state.residual)
    assert jax.tree.leaves(state.sorted_init) == []


WRAPPED = {
    "chain": lambda tx: optax.chain(optax.clip(10.0), tx),
    "masked": lambda tx: optax.masked(tx, {"kernel": True, "bias": False}),
    "partition": lambda tx: optax.partition({"ours": tx, "rest": PROPOSED}, {"kernel": "ours", "bias": "rest"}),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 1),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "resets": lambda _: laperm(PROPOSED, 2, reset_values={"bias": 0.0}, error_feedback=True),
    "inject_hyperparams": lambda _: optax.inject_hyperparams(laperm)(PROPOSED, 2, error_feedback=True),
}


@pytest.mark.parametrize("name", some_of(WRAPPED, {2, 6}))
def test_wrapped(name):
    tx = laperm(PROPOSED, 2, error_feedback=True)
    wrapped = WRAPPED[name](tx)
    for (params, opt_state), (expected, expected_state) in zip(
        run(wrapped, PARAMS, UPDATES), run(tx, PARAMS, UPDATES), strict=True
    ):
        np.testing.assert_array_equal(params["kernel"], expected["kernel"])
        np.testing.assert_array_equal(find(opt_state).residual["kernel"], expected_state.residual["kernel"])
        np.testing.assert_array_equal(
            tx.reconnected_params(opt_state, params)["kernel"],
            tx.reconnected_params(expected_state, expected)["kernel"],
        )


def test_partition_of_two_with_and_without():
    params = {"with": INITIAL, "without": INITIAL}
    transforms = {"with": laperm(PROPOSED, 2, error_feedback=True), "without": laperm(PROPOSED, 2)}
    wrapped = optax.partition(transforms, {"with": "with", "without": "without"})
    *_, (trained, opt_state) = run(wrapped, params, [dict.fromkeys(params, update["kernel"]) for update in UPDATES])
    exact = transforms["without"].reconnected_params(opt_state, trained)
    for name, tx in transforms.items():
        *_, (alone, state) = run(tx, {"kernel": INITIAL}, [{"kernel": update["kernel"]} for update in UPDATES])
        np.testing.assert_array_equal(exact[name], tx.reconnected_params(state, alone)["kernel"])
        assert (exact[name] != trained[name]).any() or name == "without"


def test_tree_map_params():
    tx = laperm(optax.adam(0.1), 2, error_feedback=True)
    is_masked = lambda node: isinstance(node, optax.MaskedNode)
    specs = optax.tree.map_params(
        tx,
        lambda leaf, name: leaf if is_masked(leaf) else name,
        tx.init(PARAMS),
        {"kernel": "spec", "bias": "other"},
        transform_non_params=lambda _: None,
        is_leaf=is_masked,
    )
    assert specs.residual == specs.sorted_init == {"kernel": "spec", "bias": optax.MaskedNode()}


def test_nnx_optimizer():
    model = nnx.Linear(8, 4, rngs=nnx.Rngs(0))
    initial = np.asarray(model.kernel[...])
    tx = laperm(optax.adam(0.1), 2, fan_in_axes=flax_fan_in, error_feedback=True)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        loss = lambda model: jnp.sum(model(INITIAL.T) ** 2)
        optimizer.update(model, nnx.grad(loss)(model))

    for _ in range(3):
        step(model, optimizer)
    exact = tx.reconnected_params(optimizer, nnx.state(model, nnx.Param))["kernel"][...]
    assert reference.is_permutation(np.asarray(exact), initial, (0,))
    assert (exact != initial).any()


def test_linen_train_state():
    tx = laperm(PROPOSED, 2, reset_values=norm_reset(PARAMS), error_feedback=True)
    state = TrainState.create(apply_fn=None, params=PARAMS, tx=tx)
    step = jax.jit(lambda state, grads: state.apply_gradients(grads=grads))
    for update, (params, opt_state) in zip(UPDATES, run(tx, PARAMS, UPDATES), strict=True):
        state = step(state, update)
        chex.assert_trees_all_equal((state.params, state.opt_state), (params, opt_state))
