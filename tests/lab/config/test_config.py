"""Settings: what is allowed, the paper's rows, and JSON."""

import json
import math
import typing
from pathlib import Path

import pytest

from laperm_jax.lab.config import (
    DEFAULTS,
    PAPER,
    ConfigError,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    SparsityConfig,
    SyncConfig,
    TrainConfig,
    check,
    from_settings,
    make_config,
    paper_preset,
    resolve,
    settings,
)
from laperm_jax.lab.config.names import ClassifierName

_LANGUAGE = {"task": "language", "dataset": "tiny_shakespeare", "model": "transformer"}


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({"dataset": "imagenet"}, "--dataset is imagenet; there are digits, mnist, cifar10"),
        ({"model": "vgg"}, "--model is vgg; there are mlp, f1"),
        ({"inner": "sgdd"}, "--inner is sgdd; there are adabelief"),
        ({"schedule": "linear"}, "--schedule is linear; there are cosine, constant, exponential, step"),
        ({"widths": (16, 0)}, "--widths is 0; it must be 1 or more"),
        ({"learning_rate": 0.0}, "--learning-rate is 0.0; it must be greater than 0"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan"),
        ({"learning_rate": float("inf")}, "--learning-rate is inf"),
        ({"decay_rate": (1.5,)}, "--decay-rate is 1.5; it must be greater than 0 and at most 1"),
        ({"decay_rate": ()}, "--decay-rate needs at least one number"),
        ({"decay_epochs": (0,)}, "--decay-epochs is 0"),
        ({"decay_epochs": (5, 3)}, "--decay-epochs is 5 3; the epochs must ascend"),
        ({"decay_epochs": (5, 7, 9), "decay_rate": (0.1, 0.2)}, "one for each of the 3 --decay-epochs"),
        ({"sync_period": 0}, "--sync-period is 0; it must be from 1 to 2147483647"),
        ({"redraw": True, "start": Path("runs/a")}, "--redraw and --start exclude each other"),
        ({"epochs": 0}, "--epochs is 0"),
        ({"steps": -2}, "--steps is -2"),
        ({"epochs": 1, "steps": 1}, "--epochs 1 and --steps 1 exclude each other"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"init": 5}, "--init is 5; it must be a text"),
        ({"keep": 0.5}, "--keep is 0.5; it must be a list"),
        ({"error_feedback": "yes"}, "--error-feedback is yes; it must be true or false"),
        ({"keep_rescale": 1}, "--keep-rescale is 1; it must be true or false"),
        ({"epochs": 2.5}, "--epochs is 2.5; it must be an integer"),
        ({"learning_rate": True}, "--learning-rate is True; it must be a number"),
        ({"quantize": 3}, "--quantize is 3; it must be a text"),
        ({"l2": -1e-4}, "--l2 is -0.0001; it must be from 0 to 1e+30"),
        ({"l2": 1e39}, "--l2 is 1e+39; it must be from 0 to 1e+30"),
        ({"keep": (0.5, 0.0)}, "--keep is 0.0"),
        ({"keep": ()}, "--keep needs at least one number"),
        ({"reestimate_batchnorm": -1}, "--reestimate-batchnorm is -1"),
        ({"validation_size": 0}, "--validation-size is 0"),
        ({"task": "speech"}, "--task is speech; there are classification, language, regression"),
        ({"dataset": "tiny_shakespeare"}, "--dataset is tiny_shakespeare; for --task classification there are digits"),
        ({"model": "transformer"}, "--model is transformer; for --task classification there are mlp"),
        ({"layers": 0}, "--layers is 0"),
        ({"model": "vit", "features": 30}, "--features is 30; it must be a multiple of --heads, 4"),
        ({"activations": "bfloat16"}, "--activations bfloat16 is for transformers, and --model is mlp"),
        ({**_LANGUAGE, "augment": True}, "--augment is for images, and --task is language"),
        ({**_LANGUAGE, "validation_size": 9}, "--validation-size is for images, and --task is language"),
        ({**_LANGUAGE, "dataset": "mnist"}, "--dataset is mnist; for --task language there are tiny_shakespeare"),
        ({"seed": 2**32}, "--seed is 4294967296; it must be from 0 to 4294967295"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(flat, message):
    with pytest.raises(ConfigError) as error:
        check(make_config(**flat))
    assert message in str(error.value)


def test_every_number_has_a_range():
    for group in (TrainConfig, DataConfig, ModelConfig, OptimizerConfig, SyncConfig, SparsityConfig):
        for name, type_ in typing.get_type_hints(group).items():
            if {int, float} & {type_, *typing.get_args(type_)}:
                value = (math.nan,) if typing.get_origin(type_) is tuple else math.nan
                with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} is nan; it must be"):
                    check(make_config(**{name: value}))


@pytest.mark.parametrize("config", [*DEFAULTS.values(), *PAPER.values()], ids=[*DEFAULTS, *PAPER])
def test_defaults_and_the_papers_rows_are_allowed(config):
    check(config)
    check(resolve(config))


def test_the_papers_rows():
    """Spot checks against the table of the authors' notebooks."""
    assert set(PAPER) == set(typing.get_args(ClassifierName)) - {"mlp"}
    assert all(config.model.model == name and config.preset == "paper" for name, config in PAPER.items())
    networks = ("f1", "f2", "conv2", "conv4", "conv7", "conv13", "resnet50")
    assert [PAPER[name].sync.sync_period for name in networks] == [250, 250, 1000, 1000, 20, 1000, 800]
    assert [PAPER[name].optimizer.epochs for name in networks] == [10, 25, 125, 125, 45, 125, 200]
    assert [name for name, config in PAPER.items() if config.sync.permute_biases] == ["conv7"]
    assert [name for name, config in PAPER.items() if not config.data.augment] == ["f1", "f2"]
    assert paper_preset("f2").sparsity.keep == (1 / 15, 1 / 7, 1 / 3)
    with pytest.raises(ConfigError, match="preset paper has no row for model mlp; it has f1"):
        paper_preset("mlp")


def test_resolve_fills_in_what_depends_on_the_dataset():
    digits, mnist = resolve(make_config()), resolve(make_config(dataset="mnist"))
    assert (digits.optimizer.epochs, digits.data.validation_size) == (60, 180)
    assert (mnist.optimizer.epochs, mnist.data.validation_size) == (10, 5000)
    assert resolve(make_config(steps=7)).optimizer.epochs is None
    assert resolve(make_config(epochs=3, validation_size=9)) == make_config(epochs=3, validation_size=9)


def test_json_holds_every_setting():
    config = make_config(keep=(0.5, 0.25), widths=(3,), seed=7)
    content = json.loads(json.dumps(settings(config)))
    assert (content["keep"], content["seed"], content["epochs"]) == ([0.5, 0.25], 7, None)
    assert from_settings(content) == config
    with pytest.raises(ConfigError, match="no setting 'colour'"):
        from_settings({"colour": 1})
