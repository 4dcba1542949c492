"""Sharded weights: the bits of one device, shardings that are kept, and no needless collective."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from laperm_jax import laperm, reconnect, sort_vectors
from laperm_jax.lab.benchmark.compiled import collectives
from tests import reference
from tests.cases import some_of

pytestmark = pytest.mark.usefixtures("strict")

DENSE, CONV, STACKED = ((64, 16), (0,)), ((3, 3, 16, 8), (0, 1, 2)), ((4, 32, 16), (1,))
QUERY, OUT = ((32, 4, 8), (0,)), ((4, 8, 32), (0, 1))  # of attention: heads, head size
OUTPUT_AXES_ONLY = [
    (*DENSE, P()),
    (*DENSE, P(None, "x")),
    (*DENSE, P(None, ("x", "y"))),
    (*CONV, P(None, None, None, "x")),
    (*STACKED, P("x", None, "y")),
    (*QUERY, P(None, "x", None)),
    (*OUT, P(None, None, "x")),
    ((16, 8), (), P("x")),
]
FAN_IN = [
    (*DENSE, P("x", None)),
    (*DENSE, P(("x", "y"), None)),
    (*DENSE, P("x", "y")),
    (*CONV, P(None, None, "x", None)),
    (*CONV, P(None, None, "x", "y")),
    (*STACKED, P(None, "x", "y")),
    (*STACKED, P("x", "y", None)),
    (*QUERY, P("x", "y", None)),
    (*OUT, P("x", None, None)),
    (*OUT, P("x", None, "y")),
]
HEAD_SIZE = (*OUT, P(None, "x", None))
ONE_VECTOR = [((16,), (0,), P("x")), ((16, 8), (0, 1), P("x", "y"))]
PLACEMENTS = [*OUTPUT_AXES_ONLY, *FAN_IN, HEAD_SIZE, *ONE_VECTOR]
AXIS_TYPES = pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit], ids=lambda type_: type_.name)


def sharding(axis_type, spec):
    return NamedSharding(jax.make_mesh((4, 2), ("x", "y"), axis_types=(axis_type,) * 2), spec)


def draw(shape, seed):
    """Normal numbers with many ties, and both zeros among them."""
    return np.random.default_rng(seed).normal(size=shape).round(1).astype(np.float32)


@AXIS_TYPES
@pytest.mark.parametrize(("shape", "axes", "spec"), some_of(PLACEMENTS, {1, 5, 10, 12, 18, 19}), ids=str)
def test_sharded_reconnect_has_the_bits_of_one_device(shape, axes, spec, axis_type):
    initial, weights = draw(shape, 0), draw(shape, 1)
    assert (np.signbit(weights) & (weights == 0)).any() or weights.size < 200
    put = lambda array: jax.device_put(array, sharding(axis_type, spec))
    ascending = sort_vectors(put(initial), axes)
    expected = reference.sort_vectors(initial, axes)
    np.testing.assert_array_equal(reference.bits(ascending), reference.bits(expected))
    placed = jax.jit(lambda *arrays: reconnect(*arrays, axes))(put(weights), put(expected))
    np.testing.assert_array_equal(reference.bits(placed), reference.bits(reference.reconnect(weights, initial, axes)))
    if axis_type is AxisType.Explicit:
        for result in (placed, ascending):
            assert result.sharding.is_equivalent_to(sharding(axis_type, spec), len(shape))


def compiled_sync(shape, axes, spec, axis_type):
    array = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding(axis_type, spec))
    return jax.jit(lambda *arrays: reconnect(*arrays, axes)).lower(array, array).compile().as_text()


@AXIS_TYPES
@pytest.mark.parametrize(("shape", "axes", "spec"), some_of(OUTPUT_AXES_ONLY, {1, 3}), ids=str)
def test_sync_with_sharded_output_axes_has_no_collective(shape, axes, spec, axis_type):
    assert collectives(compiled_sync(shape, axes, spec, axis_type)) == []


@AXIS_TYPES
@pytest.mark.parametrize(("shape", "axes", "spec"), some_of(FAN_IN, {0, 4}), ids=str)
def test_sync_with_sharded_fan_in_has_no_all_gather(shape, axes, spec, axis_type):
    found = collectives(compiled_sync(shape, axes, spec, axis_type))
    # With explicit axes a device has whole vectors, and sees by itself which of them are finite.
    assert {name for name, _ in found} == {"all-to-all"} | ({"all-reduce"} if axis_type is AxisType.Auto else set())
    shards = 8 if len(jax.tree.leaves(tuple(spec))) == 2 else 4
    shard = 4 * np.prod(shape) // shards
    assert max(size for _, size in found) <= shard
    assert sum(size for name, size in found if name == "all-to-all") <= (11 if axes == CONV[1] else 6) * shard
    assert sum(size for name, size in found if name == "all-reduce") <= shard


def test_sharded_head_size_is_gathered_on_an_automatic_mesh_only():
    """A limit that the docs name: with explicit axes it goes by all-to-all."""
    assert {name for name, _ in collectives(compiled_sync(*HEAD_SIZE, AxisType.Explicit))} == {"all-to-all"}
    assert {name for name, _ in collectives(compiled_sync(*HEAD_SIZE, AxisType.Auto))} == {"all-gather"}


@pytest.fixture(params=some_of(["update", "apply_gradients"], {0}))
def step(request):
    """One update in either way."""

    def make(tx):
        def update(grads, state, params):
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        return jax.jit(update if request.param == "update" else tx.apply_gradients)

    return make


@pytest.mark.parametrize(
    ("spec", "axis_type"),
    some_of(itertools.product([P("x", "y"), P(), P(None, "x"), P("x", None)], [AxisType.Auto, AxisType.Explicit]), {0}),
    ids=str,
)
def test_sharded_training_has_the_bits_of_one_device(spec, axis_type, step):
    tx = laperm(optax.sgd(1.0, momentum=0.5), 2)
    grads = [{"kernel": draw((16, 24), seed)} for seed in range(1, 6)]
    layout = sharding(axis_type, spec)
    runs = []
    for put in (lambda tree: jax.tree.map(jnp.asarray, tree), lambda tree: jax.device_put(tree, layout)):
        params = put({"kernel": draw((16, 24), 0)})
        state = tx.init(params)
        with jax.numpy_dtype_promotion("standard"):
            for grad in grads:
                params, state = step(tx)(put(grad), state, params)
        runs.append((params, state, tx.reconnected_params(state, params)))
    for one_device, sharded in zip(jax.tree.leaves(runs[0]), jax.tree.leaves(runs[1]), strict=True):
        np.testing.assert_array_equal(one_device, sharded)
        assert sharded.ndim == 0 or sharded.sharding.is_equivalent_to(layout, 2)


@AXIS_TYPES
def test_non_sync_step_has_no_collective(axis_type, step):
    """All of them are in the branch that is taken at a sync."""
    tx = laperm(optax.sgd(1.0), 5)
    layout = sharding(axis_type, P("x", "y"))
    params = {"kernel": jax.ShapeDtypeStruct((16, 24), jnp.float32, sharding=layout)}
    state = jax.eval_shape(tx.init, params)
    with jax.numpy_dtype_promotion("standard"):
        text = step(tx).lower(params, state._replace(sorted_init=params), params).compile().as_text()
    entry = text[text.index("\nENTRY") :]
    assert " conditional(" in entry
    assert collectives(entry) == []
    assert collectives(text)


def test_map_params_gives_the_shardings_of_the_state():
    layout = sharding(AxisType.Auto, P(None, "x"))
    tx = laperm(optax.adam(1e-3), 5)
    params = {"kernel": jnp.ones((16, 24))}
    state = jax.jit(tx.init)(params)
    specs = optax.tree.map_params(
        tx, lambda _: layout, state, transform_non_params=lambda _: sharding(AxisType.Auto, P())
    )
    state = jax.device_put(state, specs)
    assert state.sorted_init["kernel"].sharding == state.inner_state[0].mu["kernel"].sharding == layout


def test_reconnect_inside_shard_map():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    initial, weights = draw((30, 16), 0), draw((30, 16), 1)
    local = jax.shard_map(
        lambda weights, initial: reconnect(weights, sort_vectors(initial, (0,)), (0,)),
        mesh=mesh,
        in_specs=P(None, "x"),
        out_specs=P(None, "x"),
    )
    np.testing.assert_array_equal(jax.jit(local)(weights, initial), reference.reconnect(weights, initial, (0,)))


@pytest.mark.nightly
def test_state_moves_between_layouts_bit_for_bit():
    """One device, eight, and back, in the middle of a training."""
    tx = laperm(optax.sgd(1.0, momentum=0.5), 2)
    layouts = [None, P("x", None), P(None, "y"), None]
    params = {"kernel": jnp.asarray(draw((16, 24), 0))}
    state = tx.init(params)
    moved, moved_state = params, state
    for number, spec in enumerate(layouts):
        grads = {"kernel": jnp.asarray(draw((16, 24), 10 + number))}
        params, state = jax.jit(tx.apply_gradients)(grads, state, params)
        replicated = sharding(AxisType.Auto, P())
        target = (jax.devices()[0],) * 2 if spec is None else (replicated, sharding(AxisType.Auto, spec))
        put = lambda leaf, target=target: jax.device_put(np.asarray(leaf), target[leaf.ndim > 0])
        moved, moved_state, grads = jax.tree.map(put, (moved, moved_state, grads))
        moved, moved_state = jax.jit(tx.apply_gradients)(grads, moved_state, moved)
    for ours, theirs in zip(jax.tree.leaves((params, state)), jax.tree.leaves((moved, moved_state)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.nightly
def test_memory_of_a_billion_weights_on_eight_devices(tmp_path):
    """Compiled, not run. The state to the byte; at its peak, at a sync, five times the largest leaf beside it."""
    script = Path(__file__).parents[2] / "benchmarks" / "sharding.py"
    command = [sys.executable, script, "--part", "big", "--out", tmp_path / "rows.json"]
    subprocess.run(command, check=True, env=os.environ | {"JAX_NUM_CPU_DEVICES": "8"})
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert len(rows) == 3
    for row in rows:
        assert row["weights"] > 1e9
        assert row["argument_bytes"] == row["predicted_argument_bytes"]
        assert 0.95 < row["peak_bytes"] / row["predicted_peak_bytes"] < 1.01
