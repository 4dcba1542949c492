"""Trees and leaves of every kind that Optax takes, as parameters and as gradients."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laperm_jax import laperm
from tests.steps import METHODS, PROPOSED, run

MOMENTUM = optax.sgd(1e-2, momentum=0.9)
KERNEL = jax.random.normal(jax.random.key(0), (5, 3))


@pytest.mark.parametrize("params", [{}, None, (), {"a": None}, {"a": {}}, optax.MaskedNode()])
@pytest.mark.parametrize("error_feedback", [False, True])
def test_trees_without_leaves(params, error_feedback):
    rules = {"fan_in_axes": {"somewhere/kernel": (0,)}, "reset_values": {"norm/scale": 1.0}}
    tx = laperm(MOMENTUM, 1, error_feedback=error_feedback, **rules)
    opt_state = tx.init(params)
    if params is None:
        return
    updates, opt_state = tx.update(params, opt_state, params)
    assert updates == params
    assert tx.reconnected_params(opt_state, params) == params


def test_nodes_of_every_kind():
    params = {
        "none": None,
        "masked": optax.MaskedNode(),
        "scalar": jnp.float32(2.0),
        "number": 1.5,
        "one": jnp.ones((1, 1)),
        "size-1 vectors": jnp.arange(3.0).reshape(1, 3),
        "bf16": KERNEL.astype(jnp.bfloat16),
        "deep": [{"kernel": KERNEL}, (KERNEL, np.asarray(KERNEL))],
    }
    tx = laperm(PROPOSED, 1)
    updates = jax.tree.map(lambda p: jnp.ones(jnp.shape(p), jnp.result_type(p)), params)
    ((after, state),) = run(tx, params, [updates])
    assert jax.tree.structure(after) == jax.tree.structure(params)
    assert after["scalar"] == 3.0
    assert after["number"] == 2.5
    np.testing.assert_array_equal(after["size-1 vectors"], params["size-1 vectors"])
    chex.assert_trees_all_equal(tx.reconnected_params(state, after)["deep"], params["deep"])


def test_a_tree_that_is_one_array():
    tx = laperm(PROPOSED, 1)
    ((after, state),) = run(tx, KERNEL, [KERNEL])
    np.testing.assert_array_equal(tx.reconnected_params(state, after), KERNEL)  # doubling keeps the ranks


NUMBERS = {
    "Python": 0.5,
    "NumPy scalar": np.float32(0.5),
    "NumPy array": np.full(3, 0.5, np.float32),
    "JAX": jnp.full(3, 0.5),
}


@pytest.mark.parametrize("error_feedback", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gradient", NUMBERS)
@pytest.mark.parametrize("param", NUMBERS)
def test_numbers_and_numpy_arrays(param, gradient, method, error_feedback):
    """As parameters and as gradients, treated or not; an array meets an array."""
    param, gradient = NUMBERS[param], NUMBERS[gradient]
    if jnp.ndim(param) < jnp.ndim(gradient):
        param, gradient = gradient, param
    params, grads = {"treated": param, "free": param}, {"treated": gradient, "free": gradient}
    tx = laperm(
        optax.sgd(0.5), 2, fan_in_axes={"treated": tuple(range(jnp.ndim(param)))}, error_feedback=error_feedback
    )
    opt_state, ours = tx.init(params), params
    for number in (1, 2):
        ours, opt_state = METHODS[method](tx, grads, opt_state, ours)
        np.testing.assert_allclose(ours["free"], np.asarray(param) - 0.25 * number)
        np.testing.assert_allclose(ours["treated"], np.asarray(param) - 0.25 * (number % 2))
    np.testing.assert_array_equal(tx.reconnected_params(opt_state, params)["treated"], param)


@pytest.mark.parametrize("missing", [None, optax.MaskedNode()], ids=["None", "MaskedNode"])
@pytest.mark.parametrize("error_feedback", [False, True])
def test_updates_that_are_missing_stay_missing(missing, error_feedback):
    params = {"kernel": KERNEL, "frozen": KERNEL}
    tx = laperm(PROPOSED, 1, error_feedback=error_feedback)
    opt_state = tx.init(params)
    updates, later = jax.jit(tx.update)({"kernel": KERNEL, "frozen": missing}, opt_state, params)
    assert updates["frozen"] == missing
    chex.assert_trees_all_equal_structs(later, opt_state)


def test_gradients_of_integers():
    """``jax.grad(..., allow_int=True)`` gives them the dtype float0, which only some transformations take."""
    params = {"kernel": KERNEL, "index": jnp.arange(4).reshape(2, 2)}
    grads = jax.grad(lambda params: params["kernel"].sum() + params["index"].sum(), allow_int=True)(params)
    tx = laperm(PROPOSED, 1)
    updates, _ = tx.update(grads, tx.init(params), params)
    assert updates["index"].dtype == jax.dtypes.float0
    updates, _ = tx.update(grads | {"kernel": np.zeros((5, 3), jax.dtypes.float0)}, tx.init(params), params)
    assert updates["kernel"].dtype == jax.dtypes.float0


@pytest.mark.nightly
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("gradient_dtype", [jnp.bfloat16, jnp.float32])
def test_gradients_of_another_dtype(dtype, gradient_dtype):
    """An update is as wide as its parameter, so that it lands; one that is wider stays so, as under Optax."""
    params = {"kernel": jnp.sin(jnp.arange(12.0)).reshape(4, 3).astype(dtype), "bias": jnp.ones(3, dtype)}
    grads = jax.tree.map(lambda leaf: jnp.ones_like(leaf, gradient_dtype), params)
    tx = laperm(optax.adam(0.1), 1)
    opt_state = tx.init(params)
    updates, opt_state = jax.jit(tx.update)(grads, opt_state, params)
    alone, _ = optax.adam(0.1).update(grads, optax.adam(0.1).init(params), params)
    assert updates["kernel"].dtype == jnp.promote_types(alone["kernel"].dtype, dtype)
    assert updates["bias"].dtype == alone["bias"].dtype
    after = optax.apply_updates(params, updates)
    np.testing.assert_allclose(np.float32(after["kernel"]), np.float32(params["kernel"]), rtol=jnp.finfo(dtype).eps)
