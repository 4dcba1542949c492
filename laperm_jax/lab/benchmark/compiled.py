"""Programs compiled for other devices: the state without its values; what devices send each other, and sort."""

import math
import re
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

_SHAPE = re.compile(r"(pred|bf16|[suf]\d+)\[([\d,]*)\]")
_COLLECTIVE = re.compile(r"= (.*?) (all-gather|all-to-all|all-reduce|collective-permute|reduce-scatter)(?:-start)?\(")
_SORT = re.compile(r"= (.*?) sort\(")


def abstract_state(tx: Any, params: Any) -> Any:
    """Shapes, dtypes and shardings of the state for abstract parameters; what belongs to none is on every device."""
    (mesh,) = {leaf.sharding.mesh for leaf in jax.tree.leaves(params)}
    whole = NamedSharding(mesh, PartitionSpec())
    untreated = lambda leaf: isinstance(leaf, optax.MaskedNode)
    on = lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    return optax.tree.map_params(
        tx,
        lambda leaf, param: leaf if untreated(leaf) else on(leaf, param.sharding),
        jax.eval_shape(tx.init, params),
        params,
        transform_non_params=lambda leaf: on(leaf, whole),
        is_leaf=untreated,
    )


def collectives(text: str) -> list[tuple[str, int]]:
    """Lists the collectives of a program in the order of its text.

    Args:
      text: ``jax.jit(...).lower(...).compile().as_text()``: the program of each device.

    Returns:
      Kind and bytes of what each device receives, its own part included.

    Example:
      >>> import jax
      >>> from jax.sharding import NamedSharding, PartitionSpec
      >>> from laperm_jax.lab.benchmark.compiled import collectives
      >>> mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
      >>> shards = jax.ShapeDtypeStruct((16, 4), "float32", sharding=NamedSharding(mesh, PartitionSpec("x")))
      >>> whole = jax.jit(lambda x: x + 1, out_shardings=NamedSharding(mesh, PartitionSpec()))
      >>> collectives(whole.lower(shards).compile().as_text())
      [('all-gather', 256)]
    """
    return [(kind, sum(_sizes(type_, itemsize=True))) for type_, kind in _COLLECTIVE.findall(text)]


def received(text: str) -> dict[str, int]:
    """Bytes that each device receives by each kind of collective; see :func:`collectives`."""
    total: Counter[str] = Counter()
    for kind, size in collectives(text):
        total[kind] += size
    return dict(total)


def sorted_elements(text: str) -> int:
    """Number of elements that each device sorts; of a sort in a loop, those of one turn."""
    return sum(_sizes(type_)[0] for type_ in _SORT.findall(text))


def _sizes(type_: str, itemsize: bool = False) -> list[int]:
    """Elements, or bytes, of each array of a type such as ``(f32[8,2]{1,0}, s32[8])``."""
    return [
        math.prod(int(size) for size in dims.split(",") if size) * (_itemsize(name) if itemsize else 1)
        for name, dims in _SHAPE.findall(type_)
    ]


def _itemsize(name: str) -> int:
    names = {"pred": "bool", "bf": "bfloat", "s": "int", "u": "uint", "f": "float"}
    letters = name.rstrip("0123456789")
    return jnp.dtype(names[letters] + name.removeprefix(letters)).itemsize
