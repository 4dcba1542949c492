"""Meshes of manual, automatic and explicit axes, and programs compiled for devices that the process does not have."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from laperm_jax import LaPermState, laperm, reconnect
from tests import reference

SHAPE = (16, 8)
KINDS = list(itertools.product((AxisType.Auto, AxisType.Explicit), repeat=2))
SPECS = [P(), P(None, "y"), P("y", None), P("x", "y"), P(None, ("x", "y"))]


def draw(seed, shape=SHAPE):
    """Normal numbers with many ties, and both zeros among them."""
    return np.random.default_rng(seed).normal(size=shape).round(1).astype(np.float32)


def only(spec, names):
    """The part of a spec that is about some axes of the mesh."""
    entries = [entry if isinstance(entry, tuple) else (entry,) for entry in spec]
    return P(*(tuple(name for name in entry if name in names) or None for entry in entries))


def train(weights, *grads):
    """Both ways to update, a sync in each, and the exact parameters."""
    tx = laperm(optax.sgd(1.0, momentum=0.5), 2)
    params = {"kernel": weights}
    state = tx.init(params)
    for first, second in zip(grads[::2], grads[1::2], strict=True):
        updates, state = tx.update({"kernel": first}, state, params)
        params, state = tx.apply_gradients({"kernel": second}, state, optax.apply_updates(params, updates))
        updates, state = tx.update({"kernel": first}, state, params)
        params = optax.apply_updates(params, updates)
        updates, state = tx.update({"kernel": second}, state, params)
        params = optax.apply_updates(params, updates)
    return tx.reconnected_params(state, params)["kernel"]


@pytest.fixture(scope="module")
def trained():
    return np.asarray(jax.jit(train)(*map(draw, range(3))))


def mixed_meshes():
    """Kinds of axes, layouts, and axes made manual, where a device then has whole vectors; most of them nightly."""
    for kinds, spec, manual in itertools.product(KINDS, SPECS, [(), ("x",), ("y",), ("x", "y"), ("y", "x")]):
        if all(only(spec, {name})[:1] in ((), (None,)) for name in manual):
            marks = () if manual == ("x",) and spec == P("y", None) else pytest.mark.nightly
            yield pytest.param(kinds, spec, manual, marks=marks)


@pytest.mark.eight_devices
@pytest.mark.parametrize(("kinds", "spec", "manual"), list(mixed_meshes()))
def test_training_on_mixed_meshes_has_the_bits_of_one_device(kinds, spec, manual, trained):
    """The axes named are made manual, by one ``shard_map`` inside another."""
    mesh = jax.make_mesh((2, 4), ("x", "y"), axis_types=kinds)
    step = train
    for name in reversed(manual):
        outermost = {"mesh": mesh} if name == manual[0] else {}
        specs = only(spec, {name})
        step = jax.shard_map(step, in_specs=specs, out_specs=specs, axis_names={name}, **outermost)
    put = lambda array: jax.device_put(array, NamedSharding(mesh, spec))
    result = jax.jit(step)(*(put(draw(seed)) for seed in range(3)))
    np.testing.assert_array_equal(reference.bits(result), reference.bits(trained))


@pytest.mark.nightly
@pytest.mark.eight_devices
@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: "-".join(kind.name for kind in kinds))
def test_eager_training_on_a_mesh_has_the_bits_of_one_device(kinds, trained):
    mesh = jax.make_mesh((2, 4), ("x", "y"), axis_types=kinds)
    result = train(*(jax.device_put(draw(seed), NamedSharding(mesh, P("y", "x"))) for seed in range(3)))
    np.testing.assert_array_equal(reference.bits(result), reference.bits(trained))
    explicit = {name for name, kind in zip(mesh.axis_names, kinds, strict=True) if kind is AxisType.Explicit}
    assert only(result.sharding.spec, explicit) == only(P("y", "x"), explicit)


@pytest.mark.nightly
@pytest.mark.eight_devices
@pytest.mark.parametrize("spec", [P("x", None, "y"), P("x", "y")], ids=str)
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=lambda kind: kind.name)
def test_update_under_vmap_on_a_mesh(kind, spec):
    """Stacked layers, one transform for all of them."""
    mesh = jax.make_mesh((2, 4), ("x", "y"), axis_types=(kind,) * 2)
    tx = laperm(optax.sgd(1.0), 1)
    initial, grads = ({"kernel": draw(seed, (4, *SHAPE))} for seed in range(2))

    @jax.jit
    def step(params, grads):
        state = jax.vmap(tx.init, out_axes=LaPermState(None, 0, 0))(params)
        axes = LaPermState(None, 0, 0)
        update = jax.vmap(tx.apply_gradients, in_axes=(0, axes, 0), out_axes=(0, axes))
        return update(grads, state, params)[0]["kernel"]

    expected = step(initial, grads)
    put = lambda tree: jax.device_put(tree, NamedSharding(mesh, spec))
    np.testing.assert_array_equal(step(put(initial), put(grads)), expected)


def lowered(mesh, spec, platform, shape=SHAPE, axes=(0,)):
    array = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))
    sync = jax.jit(lambda weights, values: reconnect(weights, values, axes))
    return sync.trace(array, array).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
@pytest.mark.parametrize("spec", [P(), P("x"), P(None, "x")], ids=str)
def test_reconnect_lowers_to_sorts_only_for_a_mesh_of_automatic_axes(spec, platform):
    """Whatever devices this process has: the mesh is abstract."""
    mesh = AbstractMesh((4,), ("x",), axis_types=(AxisType.Auto,))
    text = lowered(mesh, spec, platform)
    assert len(re.findall(r'"?stablehlo\.sort', text)) == 2
    assert not re.findall(r"stablehlo\.\w*(?:scatter|gather|custom_call)", text)


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
@pytest.mark.parametrize("spec", [P("x"), P(None, "x")], ids=str)
def test_reconnect_lowers_to_whole_vectors_for_a_mesh_of_explicit_axes(spec, platform):
    mesh = AbstractMesh((4,), ("x",), axis_types=(AxisType.Explicit,))
    text = lowered(mesh, spec, platform)
    assert "sdy.manual_computation" in text
    assert re.search(r"manual_axes=\{\"x\"\} \(%\w+: tensor<16x2xf32>, %\w+: tensor<16x2xf32>\)", text)
