"""Paths: one name for every leaf of a parameter tree, the same under Linen, NNX and plain dicts."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import optax
from jax.tree_util import GetAttrKey, keystr, tree_leaves_with_path, tree_map_with_path

KeyPath = tuple[Any, ...]
T = TypeVar("T")
Rule = Callable[[str, Any], T | None]  # (path, leaf) -> T, or None to leave the leaf alone


def path_string(key_path: KeyPath) -> str:
    """Names a leaf, as in ``"block/conv/kernel"``.

    NNX shows ``init`` its leaves inside ``Variable`` nodes, whose one child is the attribute ``value``, and ``update``
    the bare arrays; a trailing attribute ``value`` is dropped so that both have one name. A dict key ``"value"`` stays.
    """
    if key_path and key_path[-1] == GetAttrKey("value"):
        key_path = key_path[:-1]
    return keystr(key_path, simple=True, separator="/")


def leaves_by_path(tree: optax.Params, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """Maps the path of every leaf to the leaf; ``None`` and ``optax.MaskedNode`` are no leaves.

    Raises:
      ValueError: if two leaves have the same path, as in ``{"a/b": x, "a": {"b": y}}``.
    """
    leaves: dict[str, Any] = {}
    for key_path, leaf in tree_leaves_with_path(tree, is_leaf=is_leaf):
        path = path_string(key_path)
        if path in leaves:
            raise ValueError(f"two leaves of the tree have the path {path!r}; rename one of them")
        leaves[path] = leaf
    return leaves


def map_by_path(function: Callable[[str, Any], Any], tree: optax.Params) -> Any:
    """Like ``jax.tree.map``, for a function of ``(path, leaf)``."""
    return tree_map_with_path(lambda key_path, leaf: function(path_string(key_path), leaf), tree)


def as_rule(rule: Rule[T] | Mapping[str, T]) -> Rule[T]:
    """Turns a dict by path into a rule; a rule stays what it is."""
    return (lambda path, leaf: rule.get(path)) if isinstance(rule, Mapping) else rule


def check_paths(rule: Rule[T] | Mapping[str, T] | None, tree: optax.Params, name: str) -> None:
    """Refuses a dict that names a path the tree does not have: most likely a typing error.

    Leaves that a wrapper has hidden behind an ``optax.MaskedNode`` count as present, and a tree without any leaf (the
    placeholder of ``optax.tree.map_params``) is not judged.

    Raises:
      ValueError: naming the unknown paths and those the tree has.
    """
    if not isinstance(rule, Mapping):
        return
    is_masked = lambda node: isinstance(node, optax.MaskedNode)
    nodes = [(path_string(key_path), node) for key_path, node in tree_leaves_with_path(tree, is_leaf=is_masked)]
    known = {path for path, _ in nodes}
    # A mask may be a prefix of the tree: one MaskedNode at "block" then hides "block/kernel" and its siblings.
    hidden = tuple(f"{path}/" if path else "" for path, node in nodes if is_masked(node))
    unknown = [path for path in rule if path not in known and not path.startswith(hidden)]
    if known and unknown:
        raise ValueError(f"{name} names {names(unknown)}; the parameters are {names(known)}")


def names(paths: Iterable[str]) -> str:
    """Lists paths in a message."""
    return ", ".join(sorted(paths)) or "no leaf"
