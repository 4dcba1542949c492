"""Programs for other platforms, as StableHLO: sorts and nothing of ours, and no 64-bit types outside the CPU."""

import re

import jax
import jax.export
import jax.numpy as jnp
import optax
import pytest

from laperm_jax import laperm

PARAMS = {
    "kernel": jax.ShapeDtypeStruct((64, 32), jnp.float32),
    "half": jax.ShapeDtypeStruct((3, 3, 8, 16), jnp.bfloat16),
    "bias": jax.ShapeDtypeStruct((32,), jnp.float32),
}


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Pretends that there is one device; the tests have several."""
    monkeypatch.setattr(jax, "device_count", lambda *_: 1)


def step(grads, state, params):
    updates, state = laperm(optax.adam(1e-3), 10, error_feedback=True).update(grads, state, params)
    return optax.apply_updates(params, updates), state


def state():
    return jax.eval_shape(laperm(optax.adam(1e-3), 10, error_feedback=True).init, PARAMS)


@pytest.mark.parametrize(("platform", "sorts"), [("tpu", 5), ("cuda", 2), ("rocm", 2)])
def test_update_is_lowered_to_sorts_without_types_of_64_bits(platform, sorts):
    """On a GPU one sort a kernel, and a scatter; on a TPU two, and a third for a convolution, to find its positions."""
    text = jax.jit(step).trace(PARAMS, state(), PARAMS).lower(lowering_platforms=(platform,)).as_text()
    calls = re.findall(r'call @(\w+)|"stablehlo.sort"', text)
    assert len([call for call in calls if not call]) == sorts
    assert not re.search(r"x?[uis]?i64>|f64", re.sub(r"(?s)dimension\w* = .*?>|array<i64[^>]*>|: i64", "", text))
    assert "laperm_" not in text


def test_a_training_step_is_exported_for_all_platforms(monkeypatch):
    """As docs/speed.md says: without the native kernel, which another machine may not have."""
    monkeypatch.setenv("LAPERM_NATIVE", "0")
    jax.clear_caches()
    exported = jax.export.export(jax.jit(step), platforms=("cpu", "cuda", "rocm", "tpu"))(PARAMS, state(), PARAMS)
    assert set(exported.platforms) == {"cpu", "cuda", "rocm", "tpu"}
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (PARAMS, state(), PARAMS))
    params, opt_state = exported.call(*zeros)
    assert params["kernel"].shape == (64, 32)
    assert opt_state.count == 1
