"""Reset rules: which parameters are set to a constant at each sync (the authors' rebuttal, answer 2)."""

from collections.abc import Mapping

import jax.numpy as jnp

from laperm_jax._paths import PyTree, Rule, as_rule, check_paths, is_array, leaf_dtype, leaves_by_path
from laperm_jax.rules._equinox import equinox_norms

ResetRule = Rule[float]


def norm_reset(params: PyTree) -> dict[str, float]:
    """Finds every normalization layer: its scale is reset to 1 and its bias to 0.

    A normalization layer is recognized by the name of its gain: a leaf called ``scale`` and, beside it, one called
    ``bias`` (Flax) or ``offset`` (Haiku). In trees of Equinox modules the type of the layer decides.

    Args:
      params: parameter tree, or any tree with the same paths.

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
    values = equinox_norms(params)
    for path in paths:
        parent, _, name = path.rpartition("/")
        if name != "scale":
            continue
        siblings = [f"{parent}/{name}" if parent else name for name in ("bias", "offset")]
        values[path] = 1.0
        values |= {sibling: 0.0 for sibling in siblings if sibling in paths}
    return values


def reset_values(rule: ResetRule | Mapping[str, float] | None, params: PyTree) -> dict[str, float]:
    """Maps the path of every leaf that ``rule`` resets to its value.

    Raises:
      TypeError: for a leaf that is not floating-point, and for a value that is not a real number.
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
        if not jnp.issubdtype(leaf_dtype(path, leaf), jnp.floating):
            raise TypeError(
                f"{path} is {leaf_dtype(path, leaf)}: only floating-point parameters can be reset; let reset_values "
                "give None for it"
            )
        if not is_array(value) or jnp.ndim(value) or jnp.iscomplexobj(value):
            raise TypeError(f"reset_values of {path}: {value!r} is not a number; give a float, or None to leave it")
        values[path] = value
    return values
