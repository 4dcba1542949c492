"""The inner transformation: what may be one, and what its state must forget at a sync."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from laperm_jax._paths import PyTree


def check_inner(inner: Any) -> None:
    """Refuses what is not an Optax transformation.

    Raises:
      TypeError: saying what it is instead.
    """
    if isinstance(inner, type) or not all(callable(getattr(inner, name, None)) for name in ("init", "update")):
        hint = "; call it first" if callable(inner) else ""
        raise TypeError(f"inner must be an Optax transformation such as optax.adam(1e-3), not {inner!r}{hint}")


def forget_old_weights(inner_state: PyTree, is_sync: jax.typing.ArrayLike) -> PyTree:
    """Makes an inner state compute again, after a sync, what it caches about the weights before it.

    - Line searches keep the objective's ``value`` and ``grad``; ``optax.value_and_grad_from_state`` computes both again
      where ``value`` is inf, as it is at first. Other states with these two fields are treated alike.
    - L-BFGS starts again, from a ``count`` of 0 and with an empty memory. Its differences of weights and gradients
      would otherwise take the weights straight back to where they were before the sync.

    Args:
      inner_state: state of the inner transformation, after its update.
      is_sync: bool scalar, whether the update is a sync.
    """
    if not isinstance(is_sync, jax.core.Tracer) and not jax.device_get(is_sync):
        return inner_state

    def forget(node: Any) -> Any:
        fields = {name: (getattr(node, name), value) for name, value in _not_computed(node).items()}
        return node._replace(
            **{name: jnp.where(is_sync, jnp.full_like(old, value), old) for name, (old, value) in fields.items()}
        )

    is_cache = lambda node: bool(_not_computed(node))
    return jax.tree.map(lambda node: forget(node) if is_cache(node) else node, inner_state, is_leaf=is_cache)


def _not_computed(node: Any) -> dict[str, float]:
    """Fields of a state, and the values that mean "not computed yet"; none for a state that caches nothing."""
    if isinstance(node, optax.ScaleByLBFGSState):
        return {"count": 0, "weights_memory": 0}
    has_both = {"value", "grad"} <= set(getattr(type(node), "_fields", ()))
    if has_both and isinstance(node.value, jax.Array) and jnp.issubdtype(node.value.dtype, jnp.floating):
        return {"value": jnp.inf}
    return {}
