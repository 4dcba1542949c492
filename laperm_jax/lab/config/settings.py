"""Every fact of a training run in one object: its defaults, the paper's settings, and what is allowed."""

import dataclasses
import math
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

TaskName = Literal["classification", "language", "regression"]
ImagesName = Literal["digits", "mnist", "cifar10"]
DatasetName = Literal[ImagesName, "tiny_shakespeare", "sine", "sine2d"]
ClassifierName = Literal["mlp", "f1", "f2", "conv2", "conv4", "conv7", "conv13", "resnet50"]
ModelName = Literal[ClassifierName, "vit", "transformer", "approximator"]
InnerName = Literal[
    "adabelief",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "amsgrad",
    "lamb",
    "lion",
    "momentum",
    "muon",
    "nadam",
    "nesterov",
    "radam",
    "rmsprop",
    "sgd",
    "yogi",
]
TreeName = Literal["f1", "conv7", "conv2", "conv4", "conv13", "resnet50", "gpt2", "vit"]
ScheduleName = Literal["cosine", "constant", "exponential", "step"]
ScaleName = Literal["smoke", "cpu", "full"]
SyncScheduleName = Literal["constant", "shrinking", "geometric", "learning-rate", "end"]


DATASETS: dict[TaskName, tuple[str, ...]] = {
    "classification": typing.get_args(ImagesName),
    "language": ("tiny_shakespeare",),
    "regression": ("sine", "sine2d"),
}
MODELS: dict[TaskName, tuple[str, ...]] = {
    "classification": (*typing.get_args(ClassifierName), "vit"),
    "language": ("transformer",),
    "regression": ("approximator",),
}


class ConfigError(ValueError):
    """Settings that cannot be run; the message names the value and says what is allowed."""


class OutputError(Exception):
    """A run whose files cannot be written any more; the message says where, why, and what is left."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Train a network by reordering its random initial weights."""

    preset: Literal["paper"] | None = None
    """`paper` sets everything to the model's row of the paper's notebooks; other options given override it."""
    task: TaskName = "classification"
    """Of images; language: the next character of a text; regression: a function of one or two variables."""
    dataset: DatasetName = "digits"
    """Digits come with scikit-learn; sine and sine2d are formulas, for regression; the others are prepared once with
    `laperm data prepare NAME`."""
    model: ModelName = "mlp"
    """A multilayer perceptron, a network of the paper, or a vision transformer; for language a transformer, for
    regression one hidden layer whose coefficients are trained."""
    widths: tuple[int, ...] = (256, 256)
    """Units of the hidden layers of the mlp, or of the one of the approximator."""
    layers: int = 4
    """Of a transformer: number of blocks."""
    features: int = 128
    """Of a transformer: width of the residual stream."""
    heads: int = 4
    """Of a transformer: attention heads in a block."""
    context: int = 64
    """Of a transformer for language: characters that it sees."""
    patch: int = 4
    """Of a vision transformer: height and width of a patch."""
    activations: Literal["float32", "bfloat16"] = "float32"
    """Of a transformer: what it computes in; weights are float32."""
    inner: InnerName = "adam"
    """The Optax optimiser that proposes the updates."""
    learning_rate: float = 2e-3
    """Learning rate of the first step."""
    others_learning_rate: float | None = None
    """The same of all that is no kernel (embeddings, biases, scales), where it is to be another."""
    schedule: ScheduleName = "cosine"
    """Of the learning rate: cosine ends at zero, exponential decays after each epoch, step after --decay-epochs."""
    decay_rate: tuple[float, ...] = (0.95,)
    """Factor of a decay: one number, or one for each of --decay-epochs."""
    decay_epochs: tuple[int, ...] = (10,)
    """Of schedule step: one number for every so many epochs, or the epochs after which to decay."""
    sync_period: int | None = 50
    """k, the number of updates from one sync to the next; None trains with the inner optimiser alone."""
    sync_schedule: SyncScheduleName = "constant"
    """Of the period: shrinking needs none to be chosen, geometric goes to --last-sync-period, learning-rate grows as
    that decays, end is one last sync."""
    last_sync_period: int | None = None
    """Sync period at the end of the run, for --sync-schedule geometric."""
    epochs: int | None = None
    """Passes over the training examples (if neither epochs nor steps are given: 60 of digits, 10 of MNIST and CIFAR-10,
    6 of the text, 20 of a function)."""
    steps: int | None = None
    """Number of updates, instead of epochs."""
    batch_size: int = 64
    """Examples in a batch: images, pieces of text, points."""
    l2: float = 0.0
    """Factor of the squared kernels in the loss; the output layer's is left out."""
    augment: bool = False
    """Transform training images at random, as the paper does for the model."""
    keep: tuple[float, ...] = (1.0,)
    """Share of weights not set to zero: one number for all kernels, or one for each (README: sparse networks)."""
    init: str = "he_uniform"
    """Initial kernels: a name as he_uniform, or name:number as normal:0.05 or shared:0.08."""
    start: Path | None = None
    """Folder of a finished run: begin with the initial values in the order of its weights, and with all else of it."""
    free: tuple[str, ...] = ()
    """Kernels left to the inner optimiser: regular expressions found in their paths, as query or output."""
    freeze: tuple[str, ...] = ()
    """Parameters that stay as they are: regular expressions found in their paths, as kernel or embedding."""
    permute_biases: bool = False
    """Reorder biases too, each as one vector."""
    permute_embeddings: bool = False
    """Reorder embeddings too, a vector for each feature."""
    reset_batchnorm: bool = False
    """Put scale and bias of BatchNorm back to 1 and 0 at every sync."""
    reestimate_batchnorm: int = 0
    """Training batches to measure BatchNorm statistics on before each evaluation."""
    redraw: bool = False
    """Draw the initial weights again at each sync instead of keeping a sorted copy."""
    validation_size: int | None = None
    """Training images held out to choose the model by (180 of digits, 5000 of MNIST and CIFAR-10)."""
    seed: int = 0
    """Of initial weights, data order, dropout and augmentation."""
    data_dir: Path | None = None
    """Data directory of TensorFlow Datasets (TFDS_DATA_DIR, or else ~/tensorflow_datasets)."""
    out: Path | None = None
    """Folder for the results, as runs/NAME; nothing is written without it."""
    resume: bool = False
    """Go on with the run in --out, bit for bit as if it had not been stopped; begin it if there is none yet."""


DEFAULTS: dict[TaskName, TrainConfig] = {  # what the command line begins with
    "classification": TrainConfig(),
    "language": TrainConfig(
        task="language", dataset="tiny_shakespeare", model="transformer", batch_size=32, init="normal:0.05"
    ),
    "regression": TrainConfig(
        task="regression", dataset="sine", model="approximator", widths=(320,), batch_size=100, init="equidistant:1"
    ),
}
_F1 = TrainConfig(
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
_CONV2 = TrainConfig(
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
    "f2": replace(_F1, model="f2", epochs=25, l2=1e-4, init="shared:0.03", keep=(1 / 15, 1 / 7, 1 / 3)),
    "conv2": _CONV2,
    "conv4": replace(_CONV2, model="conv4"),
    "conv7": TrainConfig(
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
    "conv13": replace(_CONV2, model="conv13"),
    "resnet50": replace(
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

    Raises:
      ConfigError: for a network the paper does not have.

    Example:
      >>> from laperm_jax.lab.config.settings import paper_preset
      >>> paper_preset("f1").init, paper_preset("f1").sync_period
      ('shared:0.08', 250)
    """
    if model not in PAPER:
        raise ConfigError(f"preset paper has no row for model {model}; it has {', '.join(PAPER)}")
    return PAPER[model]


_POSITIVE = "greater than 0", lambda value: 0 < value < math.inf
_NOT_NEGATIVE = "0 or greater", lambda value: 0 <= value < math.inf
_AT_LEAST_ONE = "1 or more", lambda value: value >= 1
_SHARE = "greater than 0 and at most 1", lambda value: 0 < value <= 1
Ranges = dict[str, tuple[str, Callable[[Any], bool]]]
_ALLOWED: Ranges = {
    "widths": _AT_LEAST_ONE,
    "layers": _AT_LEAST_ONE,
    "features": _AT_LEAST_ONE,
    "heads": _AT_LEAST_ONE,
    "context": _AT_LEAST_ONE,
    "patch": _AT_LEAST_ONE,
    "learning_rate": _POSITIVE,
    "others_learning_rate": _POSITIVE,
    "decay_rate": _SHARE,
    "decay_epochs": _AT_LEAST_ONE,
    "sync_period": ("from 1 to 2147483647", lambda value: 1 <= value < 2**31),
    "last_sync_period": ("from 1 to 2147483647", lambda value: 1 <= value < 2**31),
    "epochs": _AT_LEAST_ONE,
    "steps": ("from 1 to 2147483647", lambda value: 1 <= value < 2**31),
    "batch_size": _AT_LEAST_ONE,
    "l2": _NOT_NEGATIVE,
    "keep": _SHARE,
    "reestimate_batchnorm": _NOT_NEGATIVE,
    "validation_size": _AT_LEAST_ONE,
    "seed": ("from 0 to 4294967295", lambda value: 0 <= value < 2**32),
}
_ALLOWED_IN_BENCH: Ranges = {
    "repeats": _AT_LEAST_ONE,
    "largest": ("100000 or more, or 0 for no series", lambda value: value == 0 or value >= 10**5),
}


_LENGTHS: dict[DatasetName, tuple[int, int | None]] = {  # epochs, validation images
    "digits": (60, 180),
    "tiny_shakespeare": (6, None),
    "sine": (20, None),
    "sine2d": (20, None),
}


def check(config: TrainConfig) -> None:
    """Checks all that can be checked before the data are there.

    Raises:
      ConfigError: naming the first setting that is wrong, its value, and what is allowed.
    """
    _check_fields(config, _ALLOWED)
    _check_task(config)
    if config.epochs is not None and config.steps is not None:
        raise ConfigError(f"--epochs {config.epochs} and --steps {config.steps} exclude each other; give one of them")
    if config.resume and config.out is None:
        raise ConfigError("--resume needs --out, the folder of the run to go on with")
    if (config.sync_schedule == "geometric") != (config.last_sync_period is not None):
        raise ConfigError("--sync-schedule geometric and --last-sync-period go together; give both or neither")
    if config.sync_schedule != "constant" and config.sync_period is None:
        raise ConfigError(f"--sync-schedule {config.sync_schedule} needs a --sync-period")
    for name in ("decay_rate", "decay_epochs", "keep"):
        if not getattr(config, name):
            raise ConfigError(f"{_option(name)} needs at least one number")
    if list(config.decay_epochs) != sorted(set(config.decay_epochs)):
        raise ConfigError(f"--decay-epochs is {_listed(config.decay_epochs)}; the epochs must ascend")
    if len(config.decay_rate) not in (1, len(config.decay_epochs)):
        raise ConfigError(
            f"--decay-rate is {_listed(config.decay_rate)}; give one number or one for each of the "
            f"{len(config.decay_epochs)} --decay-epochs"
        )


def _check_task(config: TrainConfig) -> None:
    """Checks that dataset, network and settings are of the task."""
    for name, allowed in (("dataset", DATASETS[config.task]), ("model", MODELS[config.task])):
        if (value := getattr(config, name)) not in allowed:
            of_task = f"for --task {config.task} there are {', '.join(allowed)}"
            raise ConfigError(f"{_option(name)} is {value}; {of_task}")
    if config.task != "classification":
        for name, value in {"augment": config.augment, "validation_size": config.validation_size}.items():
            if value:
                raise ConfigError(f"{_option(name)} is for images, and --task is {config.task}")
    transformer = config.model in ("vit", "transformer")
    if config.activations != "float32" and not transformer:
        raise ConfigError(f"--activations {config.activations} is for transformers, and --model is {config.model}")
    if config.features % config.heads and transformer:
        raise ConfigError(f"--features is {config.features}; it must be a multiple of --heads, {config.heads}")


def resolve(config: TrainConfig) -> TrainConfig:
    """Fills in what depends on the dataset: epochs, where neither they nor steps are given, and the validation size."""
    epochs, validation_size = _LENGTHS.get(config.dataset, (10, 5_000))
    return replace(
        config,
        epochs=epochs if config.epochs is None and config.steps is None else config.epochs,
        validation_size=validation_size if config.validation_size is None else config.validation_size,
    )


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """Measure what a sync costs, on this machine."""

    models: tuple[TreeName, ...] = typing.get_args(TreeName)
    """Parameter trees: networks of the paper; gpt2 (small) and vit (base) in their shapes."""
    largest: int = 10**9
    """Weights in the last matrix of the scaling series, which starts at 100,000 and goes by tens, as memory allows."""
    repeats: int = 11
    """Timed calls of each function, in turns."""
    peers: bool = False
    """Do the same work with NumPy, PyTorch, TensorFlow and argsort(argsort) in JAX, as far as they are installed."""
    out: Path | None = None
    """Folder for bench.json and bench.png; nothing is written without it."""


def check_bench(config: BenchConfig) -> None:
    """Checks the settings of the benchmark.

    Raises:
      ConfigError: naming the first that is wrong, its value, and what is allowed.
    """
    _check_fields(config, _ALLOWED_IN_BENCH)
    if config.out and config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"--out {config.out} is a file; name a folder")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate released weights: their accuracy, and what each weight vector looks like."""

    keras_weights: Path
    """Keras weight file (HDF5), such as the paper's authors released."""
    model: ClassifierName
    """The network that the file is of."""
    dataset: ImagesName
    """The dataset whose test images to classify."""
    data_dir: Path | None = None
    """Data directory of TensorFlow Datasets (TFDS_DATA_DIR, or else ~/tensorflow_datasets)."""


def check_evaluate(config: EvaluateConfig) -> None:
    """Checks what can be checked before the data are there.

    Raises:
      ConfigError: for a name that is none of its choices, and if there is no such file.
    """
    _check_fields(config, {})
    if not config.keras_weights.is_file():
        raise ConfigError(f"--keras-weights {config.keras_weights} is no file; name a Keras weight file (HDF5)")


def as_json(config: TrainConfig) -> dict[str, Any]:
    """The settings as JSON holds them: tuples as lists, paths as strings."""
    to_json = lambda value: (
        list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    )
    return {name: to_json(value) for name, value in dataclasses.asdict(config).items()}


def _check_fields(config: Any, ranges: Ranges) -> None:
    """Checks each field by itself: that a name is one of its choices, and a number in its range."""
    for name, type_ in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        choices = typing.get_args(type_) if typing.get_origin(type_) is Literal else ()
        if choices and value not in choices:
            raise ConfigError(f"{_option(name)} is {value}; there are {', '.join(map(str, choices))}")
        rule, allowed = ranges.get(name, ("", lambda value: True))
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not allowed(number):
                raise ConfigError(f"{_option(name)} is {number}; it must be {rule}")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(map(str, values))
