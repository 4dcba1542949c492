"""Paths: one name for every leaf of a parameter tree, the same under Linen, NNX and plain trees."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import GetAttrKey, keystr, tree_leaves_with_path

PyTree = Any  # of arrays; optax.Params leaves out None, modules and what else JAX has for nodes
KeyPath = tuple[Any, ...]
T = TypeVar("T")
Rule = Callable[[str, Any], T | None]  # (path, leaf) -> T, or None to leave the leaf alone


def optional_types(module: str, *names: str) -> tuple[type, ...]:
    """Returns classes of a library that is not a dependency; none if nobody has imported it.

    A tree can hold an instance of a class only after the class's module was imported, so ``sys.modules`` is enough.
    """
    loaded = sys.modules.get(module)
    return tuple(getattr(loaded, name) for name in names if hasattr(loaded, name))


def is_box(node: Any) -> bool:
    """Tells whether a node is a box that Flax keeps one value in: an NNX Variable or a Linen metadata box."""
    return isinstance(node, optional_types("flax.nnx", "Variable") + optional_types("flax.core.meta", "AxisMetadata"))


def leaves_with_path(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Iterator[tuple[str, Any]]:
    """Yields ``(path, leaf)`` in the order of ``jax.tree.leaves``; paths are strings, ``"block/conv/kernel"``.

    A box adds nothing to the path. NNX shows ``init`` the leaves inside ``Variable`` nodes and ``update`` the bare
    arrays, and Linen's ``Partitioned`` comes and goes by ``nn.unbox``: both give one name. A user's field or key called
    ``value`` stays, since boxes are recognised by their type.
    """
    for key_path, leaf in _unboxed(tree, (), is_leaf or (lambda node: False)):
        yield keystr(key_path, simple=True, separator="/"), leaf


def _unboxed(tree: Any, prefix: KeyPath, is_leaf: Callable[[Any], bool]) -> Iterator[tuple[KeyPath, Any]]:
    for key_path, node in tree_leaves_with_path(tree, is_leaf=lambda node: is_leaf(node) or is_box(node)):
        if (
            is_leaf(node) or not is_box(node) or jax.tree_util.all_leaves([node])
        ):  # an NNX Variable with hijax is a leaf
            yield prefix + key_path, node
            continue
        children = _children(node)
        for child_path, child in children:
            # A user's own metadata box may hold more than its value.
            is_value = len(children) == 1 or child_path == (GetAttrKey("value"),)
            yield from _unboxed(child, prefix + key_path + (() if is_value else child_path), is_leaf)


def _children(node: Any) -> list[tuple[KeyPath, Any]]:
    return tree_leaves_with_path(node, is_leaf=lambda child: child is not node)


def leaves_by_path(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """Maps the path of every leaf to the leaf; ``None`` and ``optax.MaskedNode`` are no leaves.

    Raises:
      ValueError: if two leaves have the same path, as in ``{"a/b": x, "a": {"b": y}}``.
    """
    leaves: dict[str, Any] = {}
    for path, leaf in leaves_with_path(tree, is_leaf):
        if path in leaves:
            raise ValueError(f"two leaves of the tree have the path {path!r}; rename one of them")
        leaves[path] = leaf
    return leaves


def map_by_path(function: Callable[[str, Any], Any], tree: PyTree) -> Any:
    """Like ``jax.tree.map``, for a function of ``(path, leaf)``."""
    return jax.tree.unflatten(jax.tree.structure(tree), [function(path, leaf) for path, leaf in leaves_with_path(tree)])


def is_array(leaf: Any) -> bool:
    """Tells whether a leaf is an array, the shape and dtype of one, or a Python number."""
    return hasattr(leaf, "dtype") or isinstance(leaf, bool | int | float | complex)


def leaf_dtype(path: str, leaf: Any) -> Any:
    """Returns the dtype of a leaf.

    Raises:
      TypeError: naming the leaf, if it is not a number or an array of numbers.
    """
    try:
        if is_array(leaf):
            return jnp.result_type(leaf)
    except TypeError:  # arrays of strings, objects
        pass
    raise TypeError(
        f"{path} is not an array of numbers but {leaf!r}: pass arrays only (of an Equinox module "
        "eqx.filter(module, eqx.is_inexact_array))"
    )


def as_rule(rule: Rule[T] | Mapping[str, T]) -> Rule[T]:
    """Turns a dict by path into a rule; a rule stays what it is."""
    return (lambda path, leaf: rule.get(path)) if isinstance(rule, Mapping) else rule


def check_paths(rule: Rule[T] | Mapping[str, T] | None, tree: PyTree, name: str) -> None:
    """Refuses a dict that names a path the tree does not have: most likely a typing error.

    Leaves that a wrapper has hidden behind an ``optax.MaskedNode`` count as present, and a tree without any leaf (the
    placeholder of ``optax.tree.map_params``) is not judged.

    Raises:
      ValueError: naming the unknown paths and those the tree has.
    """
    if not isinstance(rule, Mapping):
        return
    is_masked = lambda node: isinstance(node, optax.MaskedNode)
    nodes = list(leaves_with_path(tree, is_leaf=is_masked))
    known = {path for path, _ in nodes}
    # A mask may be a prefix of the tree: one MaskedNode at "block" then hides "block/kernel" and its siblings.
    hidden = tuple(f"{path}/" if path else "" for path, node in nodes if is_masked(node))
    unknown = [path for path in rule if path not in known and not path.startswith(hidden)]
    if known and unknown:
        raise ValueError(f"{name} names {names(unknown)}; the parameters are {names(known)}")


def names(paths: Iterable[str]) -> str:
    """Lists paths in a message."""
    return ", ".join(sorted(paths)) or "no leaf"
