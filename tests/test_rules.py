"""Fan-in rules by rank and by name, vector_axes, the warnings of init, norm_reset and reset_values."""

import functools
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from laperm_jax import all_fan_in, equinox_fan_in, flax_fan_in, laperm, matrix_fan_in, norm_reset, path_fan_in
from laperm_jax.rules._fan_in import vector_axes
from laperm_jax.rules._reset import reset_values

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
        ("ConvLocal_0/kernel", (4, 5, 12, 3), (2,)),
        ("local/kernel", (4, 5, 12, 3), (0, 1, 2)),  # as a convolution: a name says no more
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


def test_path_fan_in_asks_a_rule():
    rule = path_fan_in({r"heads/kernel$": (0,), r"^frozen": None, "": flax_fan_in})
    assert rule("heads/kernel", leaf(8, 4, 2)) == (0,)
    assert rule("frozen/kernel", leaf(8, 4)) is None
    assert rule("conv/kernel", leaf(3, 3, 8, 4)) == (0, 1, 2)
    assert rule("conv/bias", leaf(4)) is None


def test_path_fan_in_refuses_a_bad_expression_at_once():
    with pytest.raises(re.error):
        path_fan_in({"(": (0,)})


def test_vector_axes():
    params = {"a": jnp.ones((2, 3)), "b": {"c": jnp.ones(3), "ids": jnp.ones((2, 2), jnp.int32)}, "on": jnp.array(True)}
    assert vector_axes(matrix_fan_in, params) == {"a": (0,)}
    assert vector_axes(all_fan_in, params) == {"a": (0,), "b/c": (0,)}
    assert vector_axes({"a": (-1,), "b/c": (0,), "b/ids": (0,)}, params) == {"a": (1,), "b/c": (0,)}
    assert vector_axes(lambda path, leaf: (1, 0) if path == "a" else None, params) == {"a": (0, 1)}


@pytest.mark.parametrize("make", [np.ones, jnp.ones, lambda shape: jax.ShapeDtypeStruct(shape, jnp.bfloat16)])
def test_rules_take_arrays_of_every_kind(make):
    params = {"kernel": make((4, 3)), "weight": make((4, 3)), "bias": make((3,)), "scalar": make(())}
    assert vector_axes(all_fan_in, params) == {"kernel": (0,), "weight": (0,), "bias": (0,)}
    assert vector_axes(flax_fan_in, params) == {"kernel": (0,)}
    assert vector_axes(equinox_fan_in, params) == {"weight": (1,)}


@pytest.mark.parametrize("number", [1, 1.0, True, np.float32(1), np.int64(1), np.array(1.0)])
def test_rules_take_numbers(number):
    for rule in (matrix_fan_in, all_fan_in, flax_fan_in, equinox_fan_in):
        assert vector_axes(rule, {"kernel": number, "weight": number}) == {}


def test_vector_axes_of_scalars_keys_and_empty_nodes():
    params = {"scalar": 1.0, "key": jax.random.key(0), "none": None, "empty": {}, "w": jnp.ones((2, 2))}
    assert vector_axes(all_fan_in, params) == {"w": (0,)}
    assert vector_axes({"scalar": ()}, params) == {"scalar": ()}


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.uint8, bool, jnp.int4])
def test_vector_axes_does_not_ask_about_integers(dtype):
    def rule(path, leaf):
        raise AssertionError

    assert vector_axes(rule, {"ids": jnp.ones((2, 2), dtype), "count": 1, "on": True}) == {}


@pytest.mark.parametrize("kernel", [jnp.ones((2, 2), jnp.complex64), np.ones((2, 2), np.complex128)])
def test_vector_axes_refuses_a_complex_leaf(kernel):
    params = {"spectrum": {"kernel": kernel}}
    with pytest.raises(TypeError, match=r"spectrum/kernel is complex\d+: .* let fan_in_axes give None"):
        vector_axes(matrix_fan_in, params)
    assert vector_axes(path_fan_in({"dense": (0,)}), params) == {}


@pytest.mark.parametrize("other", [jax.nn.relu, "text", np.array(["text"]), object()])
def test_vector_axes_refuses_what_is_no_array(other):
    with pytest.raises(TypeError, match=r"dense/activation is not an array of numbers but .* pass arrays only"):
        vector_axes(matrix_fan_in, {"dense": {"activation": other, "kernel": jnp.ones((2, 3))}})


@pytest.mark.parametrize(("axes", "message"), [((2,), "out of range"), ((0, 0), "twice"), ((0, -2), "twice")])
def test_vector_axes_refuses_axes_that_do_not_fit(axes, message):
    for rule in ({"dense/kernel": axes}, lambda path, leaf: axes):
        with pytest.raises(ValueError, match=rf"fan_in_axes of dense/kernel: .*{message}.* \(2, 3\).* give None"):
            vector_axes(rule, {"dense": {"kernel": jnp.ones((2, 3))}})


@pytest.mark.parametrize("axes", [0, 1.0, (0.0,), (0, 1.0), "0", True, (True,), ((0,),), object()])
def test_vector_axes_refuses_axes_of_another_type(axes):
    for rule in ({"dense/kernel": axes}, lambda path, leaf: axes):
        with pytest.raises(TypeError, match=r"fan_in_axes of dense/kernel: .* is not a tuple of ints; give .*\(0,\)"):
            vector_axes(rule, {"dense": {"kernel": jnp.ones((2, 3))}})


@pytest.mark.parametrize("axes", [[0], (np.int64(0),), np.array([0]), [-2]])
def test_vector_axes_takes_any_sequence_of_ints(axes):
    assert vector_axes({"kernel": axes}, {"kernel": jnp.ones((2, 3))}) == {"kernel": (0,)}


def test_vector_axes_refuses_an_unknown_path():
    params = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
    with pytest.raises(
        ValueError, match=r"fan_in_axes names dense/kernle; the parameters are dense/bias, dense/kernel"
    ):
        vector_axes({"dense/kernle": (0,)}, params)


@pytest.mark.parametrize("hidden", [{"kernel": optax.MaskedNode()}, optax.MaskedNode()])
def test_vector_axes_knows_a_masked_path(hidden):
    assert vector_axes({"dense/kernel": (0,)}, {"dense": hidden, "bias": jnp.ones(3)}) == {}


def test_flax_fan_in_under_partial_is_a_rule():
    rule = functools.partial(flax_fan_in, stacked=1)
    params = {"layers": {"kernel": jnp.ones((12, 4, 3)), "scale": jnp.ones((12, 3))}}
    assert vector_axes(rule, params) == {"layers/kernel": (1,)}


class NoRule:
    def __call__(self, path, leaf):
        return None


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (flax_fan_in, "flax_fan_in"),
        (functools.partial(flax_fan_in, stacked=1), "flax_fan_in"),
        (equinox_fan_in, "equinox_fan_in"),
        (path_fan_in({"kernel": (0,)}), "path_fan_in"),
        (lambda path, leaf: None, "<lambda>"),
        (NoRule(), "NoRule"),
    ],
)
def test_init_warns_once_of_a_rule_that_treats_nothing(rule, name):
    params = {"linear": {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, "other": {"w": jnp.ones((3, 4))}}
    tx = laperm(optax.sgd(1.0), 5, fan_in_axes=rule)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state = tx.init(params)
        tx.update(params, state, params)
        tx.reconnected_params(state, params)
    (warning,) = caught
    assert warning.category is UserWarning
    assert warning.filename == __file__
    assert str(warning.message).startswith(f"{name} treats no leaf")
    assert "linear/w, other/w" in str(warning.message)
    assert "fan_in_axes" in str(warning.message)


@pytest.mark.parametrize(
    ("rule", "params"),
    [
        ({}, {"w": (2, 3)}),  # a dict is explicit
        (flax_fan_in, {"b": (3,), "scalar": ()}),
        (flax_fan_in, {}),
        (flax_fan_in, {"kernel": (2, 3)}),
        (all_fan_in, {"b": (3,)}),
        (path_fan_in({"b": (0,)}), {"w": (2, 3), "b": (3,)}),
    ],
)
def test_init_does_not_warn_of_a_rule(rule, params):
    params = {path: jnp.ones(shape) for path, shape in params.items()} | {"ids": jnp.ones((2, 2), jnp.int32)}
    laperm(optax.identity(), 5, fan_in_axes=rule).init(params)


def test_init_does_not_warn_of_what_is_masked_out():
    params = {"dense": {"kernel": jnp.ones((2, 3))}, "linear": {"w": jnp.ones((2, 3))}, "b": jnp.ones(3)}
    tx = laperm(optax.identity(), 5, fan_in_axes=flax_fan_in)
    optax.masked(tx, {"dense": False, "linear": False, "b": True}).init(params)
    labels = {"dense": "ours", "linear": "sgd", "b": "ours"}
    transform = optax.partition({"ours": tx, "sgd": optax.sgd(1.0)}, labels)
    state = transform.init(params)
    optax.tree.map_params(transform, lambda leaf: leaf, state)


def test_norm_reset_finds_every_normalisation_layer():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.dense = nnx.Linear(4, 4, rngs=rngs)
            self.batch = nnx.BatchNorm(4, rngs=rngs)
            self.layer = nnx.LayerNorm(4, use_bias=False, rngs=rngs)
            self.group = nnx.GroupNorm(4, num_groups=2, rngs=rngs)
            self.rms = nnx.RMSNorm(4, rngs=rngs)

    assert norm_reset(nnx.state(Model(nnx.Rngs(0)), nnx.Param)) == {
        "batch/scale": 1.0,
        "batch/bias": 0.0,
        "layer/scale": 1.0,
        "group/scale": 1.0,
        "group/bias": 0.0,
        "rms/scale": 1.0,
    }


def test_norm_reset_of_a_bare_layer_and_of_none():
    assert norm_reset({"scale": jnp.ones(3), "bias": jnp.ones(3)}) == {"scale": 1.0, "bias": 0.0}
    assert norm_reset({"scale": jnp.ones(3), "offset": jnp.ones(3)}) == {"scale": 1.0, "offset": 0.0}
    assert norm_reset({"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}) == {}
    assert norm_reset({}) == {}


PARAMS = {"norm": {"scale": jnp.ones(3)}, "steps": jnp.array(0), "number": 1.0}


def test_reset_values():
    assert reset_values(None, PARAMS) == {}
    assert reset_values({"norm/scale": 2.0, "number": 1}, PARAMS) == {"norm/scale": 2.0, "number": 1}
    assert reset_values(lambda path, leaf: 0.5 if path.endswith("scale") else None, PARAMS) == {"norm/scale": 0.5}
    assert reset_values({"norm/scale": np.float32(2)}, PARAMS) == {"norm/scale": 2}


def test_reset_values_refuses_an_unknown_path():
    with pytest.raises(ValueError, match="reset_values names norm/bias; the parameters are"):
        reset_values({"norm/bias": 0.0}, PARAMS)


@pytest.mark.parametrize("leaf", [jnp.array(0), True, jnp.ones(3, jnp.complex64), jax.nn.relu])
def test_reset_values_refuses_a_leaf_that_is_not_floating_point(leaf):
    with pytest.raises(TypeError, match=r"steps is .*(let reset_values give None|pass arrays only)"):
        reset_values({"steps": 0.0}, {"steps": leaf})


@pytest.mark.parametrize("value", ["1", 1j, [1.0], np.ones(3), np.ones(3, complex)])
def test_reset_values_refuses_a_value_that_is_not_a_number(value):
    with pytest.raises(TypeError, match=r"reset_values of norm/scale: .* is not a number; give a float"):
        reset_values({"norm/scale": value}, PARAMS)
