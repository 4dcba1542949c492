"""What is put back to a constant at each sync: the gamma-beta reset of the authors' rebuttal (answer 2)."""

from collections.abc import Mapping

import jax.numpy as jnp
import optax

from laperm_jax._paths import Rule, as_rule, check_paths, leaves_by_path

ResetRule = Rule[float]


def norm_reset(params: optax.Params) -> dict[str, float]:
    """Finds every normalisation layer: its scale is reset to 1 and its bias to 0.

    A normalisation layer is known by Flax's name for its gain: a leaf called ``scale``, and the leaf called ``bias``
    beside it (BatchNorm, LayerNorm, GroupNorm, RMSNorm).

    Args:
      params: parameter tree, or any tree of the same paths.

    Returns:
      ``{path: value}``, for the ``reset_values`` of :func:`laperm_jax.laperm`.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from laperm_jax import laperm, norm_reset
      >>> params = {"conv": {"kernel": jnp.ones((3, 3, 1, 4))}, "norm": {"scale": jnp.ones(4), "bias": jnp.zeros(4)}}
      >>> norm_reset(params)
      {'norm/scale': 1.0, 'norm/bias': 0.0}
      >>> tx = laperm(optax.adam(1e-3), sync_period=800, reset_values=norm_reset(params))
    """
    paths = leaves_by_path(params)
    values = {}
    for path in paths:
        parent, _, name = path.rpartition("/")
        if name != "scale":
            continue
        values[path] = 1.0
        bias = f"{parent}/bias" if parent else "bias"
        if bias in paths:
            values[bias] = 0.0
    return values


def reset_values(rule: ResetRule | Mapping[str, float] | None, params: optax.Params) -> dict[str, float]:
    """Maps the path of every leaf that ``rule`` resets to its value.

    Raises:
      TypeError: for a leaf that is not floating-point.
      ValueError: for a dict that names an unknown path.
    """
    if rule is None:
        return {}
    check_paths(rule, params, "reset_values")
    rule = as_rule(rule)
    values = {}
    for path, leaf in leaves_by_path(params).items():
        value = rule(path, leaf)
        if value is None:
            continue
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(f"{path} is {jnp.result_type(leaf)}: only floating-point parameters can be reset")
        values[path] = value
    return values
