"""Fan-in rules and how they are resolved on a tree."""

import functools
import re

import jax
import jax.numpy as jnp
import optax
import pytest

from laperm_jax import all_fan_in, flax_fan_in, matrix_fan_in, path_fan_in
from laperm_jax._rules import vector_axes

pytestmark = pytest.mark.usefixtures("strict")


def leaf(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize(
    ("shape", "matrix", "everything"),
    [
        ((), None, None),
        ((5,), None, (0,)),
        ((5, 3), (0,), (0,)),
        ((3, 3, 8, 16), (0, 1, 2), (0, 1, 2)),
    ],
)
def test_rules_by_rank(shape, matrix, everything):
    array = jnp.zeros(shape)
    assert matrix_fan_in("any", array) == matrix
    assert all_fan_in("any", array) == everything


@pytest.mark.parametrize(
    ("path", "shape", "axes"),
    [
        ("kernel", (5, 3), (0,)),
        ("block/dense/kernel", (5, 3), (0,)),
        ("block/conv/kernel", (3, 3, 8, 16), (0, 1, 2)),
        ("attention/query/kernel", (64, 8, 16), (0,)),
        ("attention/key/kernel", (64, 8, 16), (0,)),
        ("attention/value/kernel", (64, 8, 16), (0,)),
        ("attention/out/kernel", (8, 16, 64), (0, 1)),
        ("value/kernel", (64, 8), (0,)),  # a dense layer that happens to be called value
        ("attention/query/bias", (8, 16), None),
        ("dense/bias", (3,), None),
        ("norm/scale", (12, 3), None),
        ("token/embedding", (256, 64), None),
        ("temperature/kernel", (), None),
    ],
)
def test_flax_fan_in(path, shape, axes):
    assert flax_fan_in(path, jnp.zeros(shape)) == axes
    stacked = None if axes is None else tuple(axis + 1 for axis in axes)
    assert flax_fan_in(path, jnp.zeros((12, *shape)), stacked=1) == stacked


def test_path_fan_in_takes_the_first_match():
    rule = path_fan_in({r"attention/.*/bias$": None, r"bias$": (0,), r"^head": None, r"kernel$": (0, -2)})
    array = jnp.zeros((4, 4, 4))
    assert rule("attention/query/bias", array) is None
    assert rule("dense/bias", array) == (0,)
    assert rule("head/kernel", array) is None
    assert rule("body/kernel", array) == (0, -2)
    assert rule("body/scale", array) is None


def test_path_fan_in_refuses_a_bad_expression_at_once():
    with pytest.raises(re.error):
        path_fan_in({"(": (0,)})


def test_resolving_a_rule():
    params = {"a": jnp.ones((2, 3)), "b": {"c": jnp.ones(3), "ids": jnp.ones((2, 2), jnp.int32)}, "on": jnp.array(True)}
    assert vector_axes(matrix_fan_in, params) == {"a": (0,)}
    assert vector_axes(all_fan_in, params) == {"a": (0,), "b/c": (0,)}
    assert vector_axes({"a": (-1,), "b/c": (0,)}, params) == {"a": (1,), "b/c": (0,)}
    assert vector_axes(lambda path, leaf: (1, 0) if path == "a" else None, params) == {"a": (0, 1)}


def test_resolving_knows_numbers_and_keys():
    params = {"scalar": 1.0, "key": jax.random.key(0), "none": None, "empty": {}, "w": jnp.ones((2, 2))}
    assert vector_axes(all_fan_in, params) == {"w": (0,)}
    assert vector_axes({"scalar": ()}, params) == {"scalar": ()}


def test_a_complex_leaf_is_named():
    params = {"spectrum": {"kernel": jnp.ones((2, 2), jnp.complex64)}}
    with pytest.raises(TypeError, match="spectrum/kernel is complex64"):
        vector_axes(matrix_fan_in, params)
    assert vector_axes(path_fan_in({"dense": (0,)}), params) == {}


@pytest.mark.parametrize(("axes", "message"), [((2,), "out of range"), ((0, 0), "twice"), ((0, -2), "twice")])
def test_axes_that_do_not_fit_are_named(axes, message):
    with pytest.raises(ValueError, match=f"fan_in_axes of dense/kernel: .*{message}"):
        vector_axes({"dense/kernel": axes}, {"dense": {"kernel": jnp.ones((2, 3))}})


def test_an_unknown_path_is_named_with_those_there_are():
    params = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
    with pytest.raises(
        ValueError, match=r"fan_in_axes names dense/kernle; the parameters are dense/bias, dense/kernel"
    ):
        vector_axes({"dense/kernle": (0,)}, params)


@pytest.mark.parametrize("hidden", [{"kernel": optax.MaskedNode()}, optax.MaskedNode()])
def test_a_masked_path_is_not_unknown(hidden):
    assert vector_axes({"dense/kernel": (0,)}, {"dense": hidden, "bias": jnp.ones(3)}) == {}


def test_flax_rule_under_partial_is_a_rule():
    rule = functools.partial(flax_fan_in, stacked=1)
    params = {"layers": {"kernel": jnp.ones((12, 4, 3)), "scale": jnp.ones((12, 3))}}
    assert vector_axes(rule, params) == {"layers/kernel": (1,)}
