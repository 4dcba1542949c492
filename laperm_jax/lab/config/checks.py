"""Checks of settings: the range of each, and which of them can be combined."""

import dataclasses
import typing
from typing import Any

from laperm_jax.lab.config.errors import ConfigError
from laperm_jax.lab.config.flat import with_settings
from laperm_jax.lab.config.groups import TrainConfig
from laperm_jax.lab.config.names import DATASETS, MODELS, DatasetName
from laperm_jax.lab.config.ranges import violation

_LENGTHS: dict[DatasetName, tuple[int, int | None]] = {  # epochs, validation images
    "digits": (60, 180),
    "tiny_shakespeare": (6, None),
    "sine": (20, None),
    "sine2d": (20, None),
}


def resolve(config: TrainConfig) -> TrainConfig:
    """Checks a config, and fills in the settings whose defaults depend on the dataset.

    Args:
      config: the config.

    Returns:
      The config with ``epochs``, unless ``steps`` are given, and ``validation_size``.

    Raises:
      ConfigError: naming the first setting that is wrong, its value, and what is allowed.

    Example:
      >>> from laperm_jax.lab.config import TrainConfig, resolve
      >>> resolve(TrainConfig()).optimizer.epochs
      60
    """
    check(config)
    epochs, validation_size = _LENGTHS.get(config.data.dataset, (10, 5_000))
    if config.optimizer.epochs is None and config.optimizer.steps is None:
        config = with_settings(config, epochs=epochs)
    if config.data.validation_size is None:
        config = with_settings(config, validation_size=validation_size)
    return config


def check(config: TrainConfig) -> None:
    """Checks everything that can be checked without the data; raises ConfigError as :func:`resolve`."""
    check_fields(config)
    _check_task(config)
    _check_model(config)
    _check_optimizer(config)
    _check_sync(config)


def check_fields(config: Any) -> None:
    """Checks each field of a dataclass, and of dataclasses in it, against its type.

    Raises:
      ConfigError: for a name that is not one of the choices, and a number out of range.
    """
    for name, type_ in typing.get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            check_fields(value)
        elif found := violation(type_, value):
            raise ConfigError(f"{_option(name)} {found}")


def _check_task(config: TrainConfig) -> None:
    for name, value, allowed in (
        ("dataset", config.data.dataset, DATASETS[config.task]),
        ("model", config.model.model, MODELS[config.task]),
    ):
        if value not in allowed:
            of_task = f"for --task {config.task} there are {', '.join(allowed)}"
            raise ConfigError(f"{_option(name)} is {value}; {of_task}")
    if config.task != "classification":
        for name in ("augment", "validation_size"):
            if getattr(config.data, name):
                raise ConfigError(f"{_option(name)} is for images, and --task is {config.task}")


def _check_model(config: TrainConfig) -> None:
    model = config.model
    transformer = model.model in ("vit", "transformer")
    if model.activations != "float32" and not transformer:
        raise ConfigError(f"--activations {model.activations} is for transformers, and --model is {model.model}")
    if model.features % model.heads and transformer:
        raise ConfigError(f"--features is {model.features}; it must be a multiple of --heads, {model.heads}")


def _check_optimizer(config: TrainConfig) -> None:
    optimizer = config.optimizer
    epochs, steps, rates, decay_epochs = optimizer.epochs, optimizer.steps, optimizer.decay_rate, optimizer.decay_epochs
    if epochs is not None and steps is not None:
        raise ConfigError(f"--epochs {epochs} and --steps {steps} exclude each other; give one of them")
    if list(decay_epochs) != sorted(set(decay_epochs)):
        raise ConfigError(f"--decay-epochs is {_listed(decay_epochs)}; the epochs must ascend")
    if len(rates) not in (1, len(decay_epochs)):
        raise ConfigError(
            f"--decay-rate is {_listed(rates)}; give one number or one for each of the "
            f"{len(decay_epochs)} --decay-epochs"
        )


def _check_sync(config: TrainConfig) -> None:
    sync = config.sync
    if (sync.sync_schedule == "geometric") != (sync.last_sync_period is not None):
        raise ConfigError("--sync-schedule geometric and --last-sync-period go together; give both or neither")
    if sync.sync_schedule != "constant" and sync.sync_period is None:
        raise ConfigError(f"--sync-schedule {sync.sync_schedule} needs a --sync-period")
    if sync.redraw and config.model.start:
        raise ConfigError(
            "--redraw and --start exclude each other: weights that are drawn again do not have the order of another run"
        )
    if sync.error_feedback and sync.sync_period is None:
        raise ConfigError("--error-feedback needs a --sync-period: without syncs there is nothing to feed back")
    if sync.residual_noise and not sync.error_feedback:
        raise ConfigError("--residual-noise needs --error-feedback: without it there is no residual")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(map(str, values))
