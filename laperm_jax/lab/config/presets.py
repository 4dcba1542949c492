"""Defaults of each task and kind of network, and the settings of the paper's notebooks."""

import contextlib
from collections.abc import Sequence

from laperm_jax.lab.config.errors import ConfigError
from laperm_jax.lab.config.flat import make_config, with_settings
from laperm_jax.lab.config.groups import TrainConfig
from laperm_jax.lab.config.names import MODELS, TaskName

DEFAULTS: dict[TaskName, TrainConfig] = {
    "classification": TrainConfig(),
    "language": make_config(
        task="language",
        dataset="tiny_shakespeare",
        model="transformer",
        batch_size=32,
        learning_rate=4e-3,
        others_learning_rate=3.2e-2,
        init="normal:0.05",
    ),
    "regression": make_config(
        task="regression", dataset="sine", model="approximator", widths=(320,), batch_size=100, init="equidistant:1"
    ),
}


_NARROW = 64  # features of a transformer that is trained with settings of its own


def defaults_for(config: TrainConfig) -> TrainConfig:
    """The defaults of a task and of a kind of network: docs/training.md has the table they were chosen by.

    Args:
      config: names the task, the network (if it is none of the task's, the task's own), its initial weights, the run
        whose order they take, and whether it syncs.

    Returns:
      A config whose other settings are to be replaced by those that are given.

    Example:
      >>> from laperm_jax.lab.config import make_config
      >>> defaults_for(make_config(init="levels:2")).sync.error_feedback
      True
      >>> defaults_for(make_config(model="vit", init="levels:2")).sync.sync_period
      1
    """
    defaults = DEFAULTS[config.task]
    model = config.model.model if config.model.model in MODELS[config.task] else defaults.model.model
    (word, *numbers), keep = config.model.init.split(":"), min(config.sparsity.keep, default=1.0)
    shared, few = word == "shared", word == "levels"
    feedback = shared or few or keep < 1
    if model == "vit":
        defaults = with_settings(defaults, init="normal:0.05", learning_rate=1e-3, sync_period=1)
        feedback = True
    elif model.startswith("conv") or model == "resnet50":
        period, rate = (1, 2e-3) if few else (20, 1e-3)
        defaults = with_settings(defaults, learning_rate=rate, sync_period=period)
    elif model == "transformer" and config.model.features <= _NARROW and not few:
        defaults = with_settings(defaults, init="normal:0.1", sync_period=5)
        feedback = True
    elif keep < 1 and model == "mlp":
        defaults = with_settings(defaults, sync_period=5)
    elif model == "f2":
        defaults = with_settings(defaults, learning_rate=1e-3, schedule="exponential")  # the paper's
    if shared:
        defaults = with_settings(defaults, sync_period=250)
    feedback = feedback and config.sync.sync_period is not None
    if feedback and few and model in ("vit", "transformer"):
        # Noise of the size of the weights would blur an order that was taken from another run.
        noise = 1.0 if _below_sixteen(numbers) and not config.model.start else 0.0
        defaults = with_settings(defaults, sync_period=1, residual_noise=noise)
    return with_settings(defaults, error_feedback=feedback, keep_rescale=keep < 1 and not shared)


def _below_sixteen(numbers: Sequence[str]) -> bool:
    """Whether ``levels:NUMBER`` means so few; a wrong number is reported where the initial values are drawn."""
    with contextlib.suppress(IndexError, ValueError):
        return float(numbers[0]) < 16
    return False


_F1 = make_config(
    preset="paper",
    dataset="mnist",
    model="f1",
    batch_size=128,
    epochs=10,
    learning_rate=1e-3,
    schedule="exponential",
    decay_rate=(0.95,),
    sync_period=250,
    init="shared:0.08",
    keep=(4 / 7,),
)
_CONV2 = make_config(
    preset="paper",
    dataset="cifar10",
    model="conv2",
    batch_size=50,
    epochs=125,
    learning_rate=1e-3,
    schedule="step",
    decay_rate=(0.6,),
    decay_epochs=(10,),
    sync_period=1000,
    augment=True,
    l2=1e-4,
)
PAPER: dict[str, TrainConfig] = {
    "f1": _F1,
    "f2": with_settings(_F1, model="f2", epochs=25, l2=1e-4, init="shared:0.03", keep=(1 / 15, 1 / 7, 1 / 3)),
    "conv2": _CONV2,
    "conv4": with_settings(_CONV2, model="conv4"),
    "conv7": make_config(
        preset="paper",
        dataset="mnist",
        model="conv7",
        batch_size=50,
        epochs=45,
        learning_rate=1e-3,
        schedule="exponential",
        decay_rate=(0.95,),
        sync_period=20,
        augment=True,
        permute_biases=True,
    ),
    "conv13": with_settings(_CONV2, model="conv13"),
    "resnet50": with_settings(
        _CONV2,
        model="resnet50",
        epochs=200,
        decay_rate=(0.1, 0.1, 0.1, 0.5),
        decay_epochs=(80, 120, 160, 180),
        sync_period=800,
    ),
}


def paper_preset(model: str) -> TrainConfig:
    """The settings of the authors' notebook for a network (supplement and released code of Qiu & Suda, 2020).

    Args:
      model: name of the network.

    Returns:
      The config.

    Raises:
      ConfigError: for a network that is not in the paper.

    Example:
      >>> from laperm_jax.lab.config import paper_preset
      >>> paper_preset("f1").sync.sync_period
      250
    """
    if model not in PAPER:
        raise ConfigError(f"preset paper has no row for model {model}; it has {', '.join(PAPER)}")
    return PAPER[model]
