"""One name for each leaf, whatever holds it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from laperm_jax._paths import leaves_by_path, map_by_path


class Model(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([nnx.Linear(2, 3, rngs=rngs), nnx.Linear(3, 2, rngs=rngs)])
        self.attention = nnx.MultiHeadAttention(2, 4, rngs=rngs, decode=False)


def test_nnx_paths_are_the_same_with_and_without_param_nodes():
    state = nnx.state(Model(nnx.Rngs(0)), nnx.Param)
    paths = list(leaves_by_path(state))
    assert "blocks/0/kernel" in paths
    assert "attention/value/kernel" in paths
    assert paths == list(leaves_by_path(nnx.as_pure(state))) == list(leaves_by_path(nnx.to_pure_dict(state)))


def test_linen_paths_are_the_same_with_and_without_partitioned_boxes():
    class Dense(nn.Module):
        boxed: bool

        @nn.compact
        def __call__(self, x):
            init = nn.initializers.lecun_normal()
            return nn.Dense(3, kernel_init=nn.with_partitioning(init, (None, "model")) if self.boxed else init)(x)

    boxed, plain = (
        jax.eval_shape(Dense(boxed).init, jax.random.key(0), jnp.ones((1, 2)))["params"] for boxed in (True, False)
    )
    assert list(leaves_by_path(boxed)) == list(leaves_by_path(plain)) == ["Dense_0/bias", "Dense_0/kernel"]


def test_none_and_masked_nodes_are_no_leaves():
    tree = {"a": None, "b": optax.MaskedNode(), "c": [1, (2, {"value": 3})]}
    assert leaves_by_path(tree) == {"c/0": 1, "c/1/0": 2, "c/1/1/value": 3}


def test_a_bare_array_and_an_empty_tree():
    assert leaves_by_path(5) == {"": 5}
    assert leaves_by_path({}) == {}


def test_equal_paths_are_refused():
    with pytest.raises(ValueError, match="two leaves of the tree have the path 'a/b'"):
        leaves_by_path({"a/b": 1, "a": {"b": 2}})


def test_map_by_path():
    assert map_by_path(lambda path, leaf: f"{path}={leaf}", {"a": [1, 2], "b": None}) == {
        "a": ["a/0=1", "a/1=2"],
        "b": None,
    }
