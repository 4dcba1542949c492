"""What holds for every tree, rule, period and layout, and after ten thousand syncs."""

import functools
import gc
import itertools
import random
from pathlib import Path
from typing import NamedTuple

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from laperm_jax import laperm
from laperm_jax._paths import leaves_by_path
from tests import reference
from tests.cases import DTYPES, grid_arrays, with_non_finite

SHAPES = [(), (1,), (7,), (8,), (6, 3), (4, 6), (8, 4), (16, 8), (0, 4), (4, 2, 8), (8, 3, 2), (2, 3, 4, 8)]
MESH_AXES = {"x": 4, "y": 2}


class Leaf(NamedTuple):
    """A parameter: the axes of one vector, none for one that is left alone; the mesh axis each axis is spread over."""

    shape: tuple[int, ...]
    dtype: jnp.dtype
    axes: tuple[int, ...] | None
    spec: tuple[str | None, ...]


def make_leaf(choose):
    shape = choose.choice(SHAPES)
    axes = choose.choice([None, *(range(1, 1 << len(shape)) if shape else [0])])
    if axes is not None:
        axes = tuple(axis for axis in range(len(shape)) if axes >> axis & 1)
    spec, left = [], dict(MESH_AXES)
    for size in shape:
        fitting = [name for name, count in left.items() if size and size % count == 0]
        spec.append(choose.choice([None, *fitting]))
        left.pop(spec[-1], None)
    return Leaf(shape, choose.choice(DTYPES), axes, tuple(spec))


def make_node(choose, depth):
    kind = choose.choice(["leaf", "leaf", "dict", "list", "tuple"]) if depth else "leaf"
    if kind == "leaf":
        return make_leaf(choose)
    children = [make_node(choose, depth - 1) for _ in range(choose.randint(1, 3))]
    match kind:
        case "dict":
            return {f"layer{number}": child for number, child in enumerate(children)}
        case "list":
            return children
        case _:
            return tuple(children)


class Case:
    """A tree of parameters, and its transform, compiled once for all periods and values."""

    def __init__(self, seed):
        choose = random.Random(seed)
        tree = {f"block{number}": make_node(choose, 2) for number in range(choose.randint(1, 3))}
        is_leaf = lambda node: isinstance(node, Leaf)
        self.leaves, self.structure = jax.tree.flatten(tree, is_leaf=is_leaf)
        numbers = leaves_by_path(self.structure.unflatten(range(len(self.leaves))))
        self.tx = functools.partial(
            laperm, optax.identity(), fan_in_axes=lambda path, _: self.leaves[numbers[path]].axes
        )
        kind = choose.choice([AxisType.Auto, AxisType.Explicit])
        mesh = jax.make_mesh(tuple(MESH_AXES.values()), tuple(MESH_AXES), axis_types=(kind,) * 2)
        self.shardings = [NamedSharding(mesh, PartitionSpec(*leaf.spec)) for leaf in self.leaves]

        @jax.jit
        def step(updates, state, params, period):
            params, state = self.tx(period).apply_gradients(updates, state, params)
            return params, state, self.tx(period).reconnected_params(state, params)

        self.step = step

    def put(self, arrays):
        return self.structure.unflatten(jax.device_put(arrays, self.shardings))


make_case = functools.lru_cache(maxsize=None)(Case)


def check_case(data):
    case = make_case(data.draw(st.integers(0, 99), label="tree"))
    period = data.draw(st.integers(1, 3), label="period")
    initial = [data.draw(grid_arrays(leaf.shape, leaf.dtype)) for leaf in case.leaves]
    updates = [
        [data.draw(with_non_finite(grid_arrays(leaf.shape, leaf.dtype))) for leaf in case.leaves] for _ in range(3)
    ]
    params = case.put(initial)
    state = case.tx(period).init(params)
    structure = jax.tree.structure(state)
    with np.errstate(invalid="ignore"):
        expected = [
            [reference.Step(weights, 0, weights) for weights in itertools.accumulate(column, initial=array)][1:]
            if leaf.axes is None
            else list(reference.train(array, column, leaf.axes, period))
            for leaf, array, column in zip(case.leaves, initial, zip(*updates, strict=True), strict=True)
        ]
    for number, update in enumerate(updates):
        params, state, reconnected = case.step(case.put(update), state, params, jnp.int32(period))
        for leaf, steps, ours, exact in zip(
            case.leaves, expected, jax.tree.leaves(params), jax.tree.leaves(reconnected), strict=True
        ):
            weights, _, values = steps[number]
            np.testing.assert_array_equal(np.float32(ours), np.float32(weights))  # which takes NaN for NaN
            assert (reference.bits(exact) == reference.bits(values))[np.isfinite(values)].all()
            assert ours.dtype == exact.dtype == leaf.dtype
        assert jax.tree.structure(state) == structure
        assert int(state.count) == number + 1
    for leaf, sharding, kept in zip(
        case.leaves, case.shardings, case.structure.flatten_up_to(state.sorted_init), strict=True
    ):
        if leaf.axes is None:
            assert isinstance(kept, optax.MaskedNode)
        else:
            assert kept.dtype == leaf.dtype
            assert kept.sharding.is_equivalent_to(sharding, kept.ndim) or not kept.size


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:.*treats no leaf")
def test_every_leaf_follows_the_reference_whatever_stands_beside_it(record_fault):
    examples = []
    given(st.data())(lambda data: examples.append(check_case(data)))()
    record_fault(
        "random trees, shapes, dtypes, axes, periods, layouts and non-finite updates", len(examples), len(examples)
    )


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return 4096 * pages


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to measure memory")
def test_ten_thousand_syncs_lose_no_bit_and_no_memory(record_fault):
    shape, axes, syncs = (40, 6), (0,), 10_000
    generator = np.random.default_rng(0)
    initial = generator.normal(size=shape).astype(np.float32)
    updates = generator.normal(size=(16, *shape)).astype(np.float32)
    tx = laperm(optax.identity(), 1)
    step = jax.jit(tx.apply_gradients, donate_argnums=(1, 2))
    weights, params = initial, jnp.asarray(initial)
    state, on_device = tx.init(params), [jnp.asarray(update) for update in updates]
    sizes = {}
    for number in range(1, syncs + 1):
        params, state = step(on_device[number % 16], state, params)
        if number % 2_500 == 0:
            jax.block_until_ready(params)
            gc.collect()
            sizes[number] = resident_bytes(), len(jax.live_arrays())
    ascending = np.sort(initial, axis=0)
    for number in range(1, syncs + 1):
        order = np.argsort(weights + updates[number % 16], axis=0, kind="stable")
        weights = np.empty_like(weights)
        np.put_along_axis(weights, order, ascending, axis=0)
    bits_lost = int(np.bitwise_count(reference.bits(params) ^ reference.bits(weights)).sum())
    assert reference.is_permutation(np.asarray(params), initial, axes)
    assert sizes[10_000][1] == sizes[2_500][1]
    assert sizes[10_000][0] - sizes[2_500][0] < 2**20
    record_fault("10,000 syncs in one process, against NumPy", syncs, syncs, bits_lost)
