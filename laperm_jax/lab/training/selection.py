"""Which parameters of a run are reordered, free, or frozen."""

import re
from collections.abc import Sequence
from typing import Any

from laperm_jax import flax_fan_in, norm_reset
from laperm_jax._paths import leaves_by_path
from laperm_jax._rules import vector_axes
from laperm_jax.lab.config import ConfigError, TrainConfig
from laperm_jax.sync._vectors import Axes

Tree = dict[str, Any]


def reordered_axes(config: TrainConfig, params: Tree) -> dict[str, Axes]:
    """Which parameters of a run are reordered: the axes of one weight vector of each, by its path.

    Every kernel that is neither free nor frozen; where asked for, also biases that are not of normalisation, and
    embeddings.

    Raises:
      ConfigError: as :func:`matching`.
    """
    others = matching(params, config.sync.freeze, "--freeze") | matching(params, config.sync.free, "--free")
    if config.sync.sync_period is None:
        return {}
    axes = vector_axes(flax_fan_in, params)
    norm_leaves = norm_reset(params)
    for path in leaves_by_path(params):
        bias = path.endswith("bias") and path not in norm_leaves
        if (config.sync.permute_biases and bias) or (config.sync.permute_embeddings and path.endswith("embedding")):
            axes[path] = (0,)
    return {path: of_leaf for path, of_leaf in axes.items() if path not in others}


def matching(params: Tree, patterns: Sequence[str], option: str) -> set[str]:
    """The paths of parameters that one of some regular expressions is found in.

    Raises:
      ConfigError: that names the option, for what is no regular expression, and for one that is found in no path.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax.lab.training.selection import matching
      >>> params = {"dense1": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}}
      >>> matching(params, ["^dense1/b", "bias$"], "--free")
      {'dense1/bias'}
    """
    paths, found = list(leaves_by_path(params)), set()
    for pattern in patterns:
        try:
            matches = {path for path in paths if re.search(pattern, path)}
        except re.error as error:
            raise ConfigError(f"{option} {pattern} is no regular expression: {error}") from None
        if not matches:
            raise ConfigError(f"{option} {pattern} is found in no path; there are {', '.join(paths)}")
        found |= matches
    return found
