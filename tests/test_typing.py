"""What type checkers see: `make test` runs them over this file, and these tests run it."""

from typing import Any, NamedTuple, assert_type

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from laperm_jax import LaPerm, LaPermState, laperm, nnx_fan_in


class Layer(NamedTuple):
    kernel: jax.Array
    bias: jax.Array


def test_named_tuples_stay_what_they_are() -> None:
    params = Layer(jnp.ones((4, 3)), jnp.zeros(3))
    tx = assert_type(laperm(optax.sgd(0.1), sync_period=2), LaPerm)
    opt_state = tx.init(params)
    exact = assert_type(tx.reconnected_params(opt_state, params), Layer)
    assert isinstance(exact, Layer)
    assert_type(opt_state, LaPermState)
    new = assert_type(tx.apply_gradients(params, opt_state, params), tuple[Layer, LaPermState])
    assert isinstance(new[0], Layer)


def test_dicts_stay_what_they_are() -> None:
    params = {"kernel": jnp.ones((4, 3))}
    tx = laperm(optax.sgd(0.1), sync_period=2)
    opt_state = optax.chain(optax.clip(1.0), tx).init(params)
    assert_type(tx.reconnected_params(opt_state, params), dict[str, jax.Array])


def test_an_nnx_optimizer_is_an_optimizer_state() -> None:
    model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    tx = laperm(optax.sgd(0.1), sync_period=2, fan_in_axes=nnx_fan_in(model))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    params: nnx.State[Any, Any] = nnx.state(model, nnx.Param)
    exact = assert_type(tx.reconnected_params(optimizer, params), nnx.State[Any, Any])
    assert isinstance(exact, nnx.State)
