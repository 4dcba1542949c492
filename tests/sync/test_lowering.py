"""Programs for other platforms, as StableHLO: sorts and nothing of ours, and no 64-bit types outside the CPU."""

import re

import jax
import jax.export
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from laperm_jax import laperm

PARAMS = {
    "kernel": jax.ShapeDtypeStruct((64, 32), jnp.float32),
    "half": jax.ShapeDtypeStruct((3, 3, 8, 16), jnp.bfloat16),
    "bias": jax.ShapeDtypeStruct((32,), jnp.float32),
}


def step(grads, state, params):
    updates, state = laperm(optax.adam(1e-3), 10, error_feedback=True).update(grads, state, params)
    return optax.apply_updates(params, updates), state


def state():
    return jax.eval_shape(laperm(optax.adam(1e-3), 10, error_feedback=True).init, PARAMS)


def lowered(platform, params):
    return jax.jit(step).trace(params, state(), params).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["tpu", "cuda", "rocm"])
def test_update_for_one_device_has_one_sort_a_kernel_and_no_type_of_64_bits(platform):
    """On a GPU a scatter follows it; on a TPU it is in a loop of two turns."""
    text = lowered(platform, PARAMS)
    assert text.count('"stablehlo.sort"') == 2
    assert text.count('"stablehlo.scatter"') == (0 if platform == "tpu" else 2)
    assert not re.search(r"x?[uis]?i64>|f64", re.sub(r"(?s)dimension\w* = .*?>|array<i64[^>]*>|: i64", "", text))
    assert "laperm_" not in text


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda", "rocm"])
def test_update_for_several_devices_has_sorts_alone(platform):
    """Two for each kernel, and a third for a convolution, to find its positions."""
    mesh = jax.make_mesh((jax.device_count(),), ("x",), axis_types=(AxisType.Auto,))
    across = NamedSharding(mesh, PartitionSpec())
    text = lowered(platform, jax.tree.map(lambda leaf: leaf.update(sharding=across), PARAMS))
    assert text.count('"stablehlo.sort"') == 5
    assert "stablehlo.scatter" not in text
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
