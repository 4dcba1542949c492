"""Settings of a training run: groups, flat names, checks, presets. Imports no JAX."""

from laperm_jax.lab.config.checks import check, resolve
from laperm_jax.lab.config.errors import ConfigError, OutputError
from laperm_jax.lab.config.flat import from_settings, make_config, settings, with_settings
from laperm_jax.lab.config.groups import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    SparsityConfig,
    SyncConfig,
    TrainConfig,
)
from laperm_jax.lab.config.presets import DEFAULTS, PAPER, defaults_for, paper_preset

__all__ = [
    "DEFAULTS",
    "PAPER",
    "ConfigError",
    "DataConfig",
    "ModelConfig",
    "OptimizerConfig",
    "OutputError",
    "SparsityConfig",
    "SyncConfig",
    "TrainConfig",
    "check",
    "defaults_for",
    "from_settings",
    "make_config",
    "paper_preset",
    "resolve",
    "settings",
    "with_settings",
]
