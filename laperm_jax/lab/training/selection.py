"""Which parameters of a run are reordered, left to the inner optimiser, or frozen."""

import re
from collections.abc import Sequence

from laperm_jax import flax_fan_in, norm_reset
from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.config import ConfigError, TrainConfig
from laperm_jax.lab.training.state import Tree
from laperm_jax.rules._fan_in import vector_axes
from laperm_jax.sync._vectors import Axes


def reordered_axes(config: TrainConfig, params: Tree) -> dict[str, Axes]:
    """Finds the parameters that are reordered: path to the axes of one weight vector.

    These are all kernels that are neither free nor frozen, and, where the settings ask for it, embeddings and the
    biases of layers other than normalisation.

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
    """Paths of parameters that match any of several regular expressions.

    Raises:
      ConfigError: naming the option, for a pattern that is not a valid regular expression, or that matches no path.

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
            raise ConfigError(f"{option} {pattern} is not a valid regular expression: {error}") from None
        if not matches:
            raise ConfigError(f"{option} {pattern} is found in no path; there are {', '.join(paths)}")
        found |= matches
    return found
