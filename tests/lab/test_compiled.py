"""What is read from the text of a compiled program."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from laperm_jax.lab.benchmark.compiled import collectives, received, sorted_elements


def compiled_text(function, spec, out_spec, dtype=jnp.float32):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    array = jax.ShapeDtypeStruct((16, 24), dtype, sharding=NamedSharding(mesh, spec))
    return jax.jit(function, out_shardings=NamedSharding(mesh, out_spec)).lower(array).compile().as_text()


@pytest.mark.parametrize(("dtype", "size"), [(jnp.float32, 4), (jnp.int8, 1), (jnp.float16, 2)])
def test_bytes_of_each_kind(dtype, size):
    same = lambda array: array + 1
    assert collectives(compiled_text(same, P("x"), P(), dtype)) == [("all-gather", 16 * 24 * size)]
    assert received(compiled_text(same, P("x"), P(None, "x"), dtype)) == {"all-to-all": 16 * 24 * size // 8}
    assert received(compiled_text(same, P("x"), P("x"), dtype)) == {}


def test_what_is_sorted():
    assert sorted_elements(compiled_text(lambda array: jnp.sort(array, axis=0), P(None, "x"), P(None, "x"))) == 16 * 3
    two = lambda array: jax.lax.sort((array, -array), dimension=0)[1]
    assert sorted_elements(compiled_text(two, P(None, "x"), P(None, "x"))) == 16 * 3
    assert sorted_elements(compiled_text(lambda array: array, P(), P())) == 0
