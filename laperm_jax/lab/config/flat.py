"""Settings by their own names, without groups: how files and experiments write them.

Every setting has a name that no other group uses, so ``{"learning_rate": 0.01, "keep": (0.5,)}`` is not ambiguous.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laperm_jax.lab.config.errors import ConfigError
from laperm_jax.lab.config.groups import TrainConfig


def settings(config: TrainConfig) -> dict[str, Any]:
    """All settings by name.

    Example:
      >>> from laperm_jax.lab.config import TrainConfig, settings
      >>> settings(TrainConfig())["learning_rate"]
      0.002
    """
    return _flatten(config)


def make_config(**flat: Any) -> TrainConfig:
    """The default config with the given settings replaced.

    Example:
      >>> from laperm_jax.lab.config import make_config
      >>> make_config(dataset="mnist", sync_period=100).sync.sync_period
      100
    """
    return with_settings(TrainConfig(), **flat)


def with_settings(config: TrainConfig, **flat: Any) -> TrainConfig:
    """A config with some settings replaced.

    Args:
      config: the config.
      **flat: settings by name.

    Returns:
      A new config.

    Raises:
      TypeError: for a name that is not a setting.

    Example:
      >>> from laperm_jax.lab.config import TrainConfig, with_settings
      >>> with_settings(TrainConfig(), keep=(0.5,)).sparsity
      SparsityConfig(keep=(0.5,), keep_rescale=False)
    """
    if unknown := flat.keys() - settings(config).keys():
        raise TypeError(f"there is no setting {min(unknown)!r}; there are {', '.join(settings(config))}")
    return _replace(config, flat)


def from_settings(flat: Mapping[str, Any]) -> TrainConfig:
    """The config of settings that were read from JSON; settings that are missing have their defaults.

    Args:
      flat: settings by name, lists in place of tuples and strings in place of paths; ``start_sha256``, which a run's
        ``config.json`` holds in place of ``start``, is ignored.

    Returns:
      The config.

    Raises:
      ConfigError: for a name that is not a setting.

    Example:
      >>> from laperm_jax.lab.config import from_settings
      >>> from_settings({"widths": [32], "seed": 3}).model.widths
      (32,)
    """
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in flat.items()}
    values.pop("start_sha256", None)
    if isinstance(values.get("start"), str):
        values["start"] = Path(values["start"])
    try:
        return make_config(**values)
    except TypeError as error:
        raise ConfigError(str(error)) from None


def _flatten(group: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        flat |= _flatten(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return flat


def _replace(group: Any, flat: Mapping[str, Any]) -> Any:
    changes = {}
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _replace(value, flat)
        elif field.name in flat:
            changes[field.name] = flat[field.name]
    return dataclasses.replace(group, **changes)
