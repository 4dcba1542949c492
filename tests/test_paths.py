"""leaves_by_path: one name for each leaf, whatever holds it."""

import collections
import dataclasses

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from flax.core import meta

from laperm_jax import laperm
from laperm_jax._paths import leaves_by_path, map_by_path


class Model(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([nnx.Linear(2, 3, rngs=rngs), nnx.Linear(3, 2, rngs=rngs)])
        self.attention = nnx.MultiHeadAttention(2, 4, rngs=rngs, decode=False)
        self.value = nnx.Param(jnp.ones((2, 2)))


@flax.struct.dataclass
class FlaxFields:
    query: object
    key: object
    value: object


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class JaxFields:
    query: object
    key: object
    value: object


TupleFields = collections.namedtuple("TupleFields", ("query", "key", "value"))


@dataclasses.dataclass
class Box(meta.AxisMetadata):
    """A metadata box of a user's own."""

    value: object
    mask: object = None

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return dataclasses.replace(self, value=val)

    def add_axis(self, index, params):
        return self

    def remove_axis(self, index, params):
        return self


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class TwoLeaves(Box):
    pass


@jax.tree_util.register_pytree_node_class
class Unnamed(Box):
    """Its value has no key."""

    def tree_flatten(self):
        return (self.value,), None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls(*children)


class MyParam(nnx.Param):
    pass


FIELDS = [
    FlaxFields,
    JaxFields,
    TupleFields,
    lambda query, key, value: {"query": query, "key": key, "value": value},
    lambda query, key, value: nnx.State({"query": query, "key": key, "value": value}),
]
BOXES = [
    nnx.Param,
    MyParam,
    nnx.Variable,
    lambda x: meta.Partitioned(x, names=(None, None)),
    lambda x: nn.LogicallyPartitioned(x, names=(None, None)),
    lambda x: nnx.bridge.NNXMeta(nnx.Param, x, {}),
    Unnamed,
    lambda x: nnx.Param(meta.Partitioned(x, names=(None,))),
]


@pytest.mark.parametrize("fields", FIELDS)
def test_leaves_by_path_keeps_a_field_called_value(fields):
    tree = {"a": fields(1, 2, fields(3, 4, 5)), "value": 6}
    assert leaves_by_path(tree) == {
        "a/query": 1,
        "a/key": 2,
        "a/value/query": 3,
        "a/value/key": 4,
        "a/value/value": 5,
        "value": 6,
    }


def test_leaves_by_path_keeps_a_field_of_an_equinox_module():
    equinox = pytest.importorskip("equinox")

    class Heads(equinox.Module):
        query: jax.Array
        value: jax.Array

    assert list(leaves_by_path({"a": Heads(1, Heads(2, 3))})) == ["a/query", "a/value/query", "a/value/value"]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("fields", FIELDS)
def test_leaves_by_path_drops_boxes_alone(box, fields):
    plain = {"a": fields(1.0, 2.0, 3.0), "value": fields(4.0, 5.0, fields(6.0, 7.0, 8.0)), "b": 9.0}
    each = jax.tree.map(box, plain)
    assert leaves_by_path(each) == leaves_by_path(plain)
    around = {"a": box(plain["a"]), "value": box(fields(4.0, 5.0, box(fields(6.0, 7.0, 8.0)))), "b": box(box(9.0))}
    assert leaves_by_path(around) == leaves_by_path(plain)
    assert leaves_by_path(box(1.0)) == {"": 1.0}


def test_leaves_by_path_of_a_box_that_is_a_leaf():
    variable = nnx.Param(jnp.ones(2), hijax=True)
    assert leaves_by_path({"a": variable}) == {"a": variable}


def test_leaves_by_path_of_a_box_with_a_second_leaf():
    assert leaves_by_path({"kernel": TwoLeaves(1, {"value": 2})}) == {"kernel": 1, "kernel/mask/value": 2}


def test_laperm_treats_a_field_called_value_by_its_path():
    params = {"heads": FlaxFields(*jax.random.normal(jax.random.key(0), (3, 6, 2)))}
    tx = laperm(optax.sgd(1.0), 1, fan_in_axes={"heads/value": (0,)})
    grads = jax.tree.map(lambda leaf: 2 * leaf, params)  # reverses the order of every vector
    trained, _ = tx.apply_gradients(grads, tx.init(params), params)
    assert (trained["heads"].value != params["heads"].value).any()
    assert (jnp.sort(trained["heads"].value, axis=0) == jnp.sort(params["heads"].value, axis=0)).all()


def test_nnx_paths_are_the_same_with_and_without_param_nodes():
    model = nnx.eval_shape(lambda: Model(nnx.Rngs(0)))
    state = nnx.state(model, nnx.Param)
    paths = list(leaves_by_path(state))
    assert {"blocks/0/kernel", "attention/value/kernel", "value"} <= set(paths)
    assert paths == list(leaves_by_path(nnx.as_pure(state))) == list(leaves_by_path(nnx.to_pure_dict(state)))
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    assert paths == list(leaves_by_path(params))
    merged = nnx.merge(graph, params, rest)
    assert paths == list(leaves_by_path(nnx.state(merged, nnx.Param)))


def test_nnx_optimizer_paths_are_the_same_in_init_and_update():
    class Fields(nnx.Module):
        def __init__(self):
            self.value = nnx.Param(FlaxFields(jnp.ones(2), jnp.ones(2), jnp.arange(6.0).reshape(3, 2)))

    model, seen = Fields(), []
    inner = optax.GradientTransformation(
        lambda params: seen.append(set(leaves_by_path(params))) or (),
        lambda updates, state, params: seen.append(set(leaves_by_path(params))) or (updates, state),
    )
    tx = laperm(inner, 1, fan_in_axes={"value/value": (0,)})
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    optimizer.update(model, nnx.state(model, nnx.Param))
    assert seen == [{"value/query", "value/key", "value/value"}] * 2
    exact = tx.reconnected_params(optimizer.opt_state, nnx.state(model, nnx.Param))
    assert list(leaves_by_path(exact)) == ["value/query", "value/key", "value/value"]


def test_linen_paths_are_the_same_with_and_without_partitioned_boxes():
    class Dense(nn.Module):
        partitioning: object

        @nn.compact
        def __call__(self, x):
            init = nn.initializers.lecun_normal()
            kernel_init = self.partitioning(init, (None, "model")) if self.partitioning else init
            return nn.Dense(3, kernel_init=kernel_init, name="value")(x)

    for partitioning in (None, nn.with_partitioning, nn.with_logical_partitioning):
        variables = jax.eval_shape(Dense(partitioning).init, jax.random.key(0), jnp.ones((1, 2)))
        assert list(leaves_by_path(variables["params"])) == ["value/bias", "value/kernel"]
        assert list(leaves_by_path(nn.unbox(variables["params"]))) == ["value/bias", "value/kernel"]


def test_none_and_masked_nodes_are_no_leaves():
    tree = {"a": None, "b": optax.MaskedNode(), "c": [1, (2, {"value": 3})], "d": nnx.Param(None)}
    assert leaves_by_path(tree) == {"c/0": 1, "c/1/0": 2, "c/1/1/value": 3}


def test_leaves_by_path_of_a_bare_array_and_an_empty_tree():
    assert leaves_by_path(5) == {"": 5}
    assert leaves_by_path({}) == {}


def test_leaves_by_path_refuses_equal_paths():
    with pytest.raises(ValueError, match="two leaves of the tree have the path 'a/b'"):
        leaves_by_path({"a/b": 1, "a": {"b": 2}})


def test_map_by_path():
    assert map_by_path(lambda path, leaf: f"{path}={leaf}", {"a": [1, 2], "b": None}) == {
        "a": ["a/0=1", "a/1=2"],
        "b": None,
    }


def test_map_by_path_keeps_boxes():
    tree = {"a": nnx.Param(FlaxFields(1, 2, 3)), "b": TwoLeaves(4, 5)}
    mapped = map_by_path(lambda path, leaf: (path, leaf), tree)
    assert mapped["b"] == TwoLeaves(("b", 4), ("b/mask", 5))
    assert mapped["a"].get_value() == FlaxFields(("a/query", 1), ("a/key", 2), ("a/value", 3))
