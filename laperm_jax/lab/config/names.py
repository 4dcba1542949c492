"""Names that settings choose from."""

import typing
from typing import Literal

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
ScheduleName = Literal["cosine", "constant", "exponential", "step"]
SyncScheduleName = Literal["constant", "shrinking", "geometric", "learning-rate", "end"]
ScaleName = Literal["smoke", "cpu", "full"]

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
