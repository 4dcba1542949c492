"""The facts of a training run, in groups: data, model, optimiser, sync, sparsity."""

import dataclasses
from pathlib import Path
from typing import Literal

from laperm_jax.lab.config.names import DatasetName, InnerName, ModelName, ScheduleName, SyncScheduleName, TaskName
from laperm_jax.lab.config.ranges import Count, CountOrZero, Counts, Noise, NotNegative, Positive, Seed, Shares, Steps


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What the network is trained on."""

    dataset: DatasetName = "digits"
    """digits come with scikit-learn; sine and sine2d are functions, for regression; prepare the others once with
    `laperm data prepare NAME`."""
    batch_size: Count = 64
    """Examples in a batch: images, sequences, points."""
    augment: bool = False
    """Transform training images at random, as the paper does for the model."""
    validation_size: Count | None = None
    """Training images held out to choose the epoch by (180 of digits, 5000 of MNIST and CIFAR-10)."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network and its initial weights."""

    model: ModelName = "mlp"
    """mlp, a network of the paper, or vit for images; transformer for language; approximator (one hidden layer of which
    only the output layer is trained) for regression."""
    widths: tuple[Count, ...] = (256, 256)
    """Units of each hidden layer of the mlp, or of the approximator's one."""
    layers: Count = 4
    """Blocks of a transformer."""
    features: Count = 128
    """Width of a transformer's residual stream."""
    heads: Count = 4
    """Attention heads in each block of a transformer."""
    context: Count = 64
    """Characters in the context window of a language model."""
    patch: Count = 4
    """Height and width of a vision transformer's patches."""
    activations: Literal["float32", "bfloat16"] = "float32"
    """Dtype of a transformer's activations; weights are float32."""
    init: str = "he_uniform"
    """Initial kernels: a name such as he_uniform, or name:number such as normal:0.05 or shared:0.08."""
    quantize: str | None = None
    """Compute with quantised kernels and train through them, for comparison: nearest:N for N evenly spaced levels,
    kmeans:N for the means of N clusters, supermask:SHARE for random weights of one size of which that share is chosen.
    Saved weights are those before it."""
    start: Path | None = None
    """Folder of a finished run: place the initial values in the order of its weights, and copy all other parameters."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The inner optimiser, its learning rate, and the length of the run."""

    inner: InnerName = "adam"
    """The Optax optimiser that proposes the updates."""
    learning_rate: Positive = 2e-3
    """Learning rate of the first step."""
    others_learning_rate: Positive | None = None
    """Learning rate of non-kernel parameters (embeddings, biases, scales); by default --learning-rate."""
    schedule: ScheduleName = "cosine"
    """Learning-rate schedule: cosine ends at zero, exponential decays after each epoch, step after --decay-epochs."""
    decay_rate: Shares = (0.95,)
    """Factor of each decay: one number, or one for each of --decay-epochs."""
    decay_epochs: Counts = (10,)
    """For --schedule step: one number to decay every that many epochs, or the epochs after which to decay."""
    epochs: Count | None = None
    """Passes over the training examples (by default 60 for digits, 10 for MNIST and CIFAR-10, 6 for the text, 20 for a
    function, unless --steps is given)."""
    steps: Steps | None = None
    """Number of updates, instead of epochs."""
    l2: NotNegative = 0.0
    """Factor of the squared kernels in the loss, without the output layer's."""


@dataclasses.dataclass(frozen=True)
class SyncConfig:
    """When LaPerm syncs, and which parameters it reorders."""

    sync_period: Steps | None = 50
    """k, the number of updates between syncs; None trains with the inner optimiser alone."""
    sync_schedule: SyncScheduleName = "constant"
    """How the period changes: shrinking needs no period to be chosen, geometric goes to --last-sync-period,
    learning-rate grows as that decays, end is one sync after the last update."""
    last_sync_period: Steps | None = None
    """Sync period at the end of the run, for --sync-schedule geometric."""
    error_feedback: bool = False
    """Keep what a sync rounds off the weights, and add it before the next sync; few values need it to learn."""
    residual_noise: Noise = 0.0
    """For --error-feedback, standard deviation of the noise that the residual begins with, relative to the kernel's."""
    free: tuple[str, ...] = ()
    """Kernels left to the inner optimiser: regular expressions searched for in their paths, such as query or output."""
    freeze: tuple[str, ...] = ()
    """Parameters that are not trained: regular expressions searched for in their paths, such as kernel or embedding."""
    permute_biases: bool = False
    """Reorder biases too, each as one vector."""
    permute_embeddings: bool = False
    """Reorder embeddings too, one vector for each feature."""
    reset_batchnorm: bool = False
    """Reset scale and bias of BatchNorm to 1 and 0 at every sync."""
    reestimate_batchnorm: CountOrZero = 0
    """Training batches to measure BatchNorm statistics on before each evaluation."""
    redraw: bool = False
    """Draw the initial weights again at each sync instead of keeping a sorted copy."""


@dataclasses.dataclass(frozen=True)
class SparsityConfig:
    """Which initial weights are zero."""

    keep: Shares = (1.0,)
    """Share of weights not set to zero: one number for all kernels, or one for each."""
    keep_rescale: bool = False
    """Multiply kept weights by 1 / sqrt(keep), so that the variance of a kernel does not change."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of a training run.

    Where its files are written and whether it resumes are arguments of :func:`~laperm_jax.lab.runs.run.train`. Groups
    are for code; files and experiments use the names of single settings (:mod:`laperm_jax.lab.config.flat`).
    """

    preset: Literal["paper"] | None = None
    """`paper` sets everything to the model's settings in the paper's notebooks; other options given override it."""
    task: TaskName = "classification"
    """classification: of images; language: the next character of a text; regression: a function of one or two
    variables."""
    seed: Seed = 0
    """Seed of initial weights, data order, dropout and augmentation."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    sync: SyncConfig = SyncConfig()
    sparsity: SparsityConfig = SparsityConfig()
