"""The state of an optimiser without its values, laid out over devices as its parameters are."""

from typing import Any

import jax
import optax
from jax.sharding import NamedSharding, PartitionSpec


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
