"""Tasks: examples on the device, their order in an epoch, the loss, and the score."""

import abc
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

from laperm_jax.lab.config import ConfigError, TrainConfig
from laperm_jax.lab.config.scores import SCORES, Score, format_score
from laperm_jax.lab.data import augmentation
from laperm_jax.lab.data.datasets import AnyDataset, Dataset, Function, Split, Text, hold_out

Shape = tuple[int, ...]

_EVALUATION_BATCH = 100
_RAW_PIXELS = ("conv2", "conv4", "conv13")  # the paper feeds them 0 to 255


class Batch(NamedTuple):
    """Inputs ``(n, ...)`` of examples and their targets ``(n, ...)``; a target of -1 counts nowhere."""

    inputs: jax.Array
    targets: jax.Array


class Task(abc.ABC):
    """Data and a measure of success; a run is chosen by the mean of what is measured on the validation examples.

    Attributes:
      score: name of that mean; a larger accuracy is better, and a smaller loss.
      train: what training examples are taken from, arrays on the device.
      validation, test: examples to evaluate on, in whole batches of ``evaluation_batch``.
      examples: number of examples in an epoch.
      input_shape: of one example's input.
      outputs: number of features that the network returns.
    """

    score: ClassVar[Score]
    evaluation_batch = _EVALUATION_BATCH
    train: Any
    validation: Batch
    test: Batch
    examples: int
    input_shape: Shape
    outputs: int

    def is_better(self, score: float, other: float) -> bool:
        """Whether a score is better than another."""
        return score > other if self.score == "accuracy" else score < other

    def format_score(self, score: float) -> str:
        """The score as text."""
        return format_score(self.score, score)

    @abc.abstractmethod
    def at_chance(self, score: float) -> bool:
        """Whether a validation score is no better than that of the best constant answer."""

    def order(self, key: jax.Array) -> jax.Array:
        """The examples of an epoch, each once, as :meth:`take` wants them: int32 ``(examples,)``."""
        return jax.random.permutation(key, jnp.arange(self.examples, dtype=jnp.int32))

    def take(self, train: Any, order: jax.Array) -> Batch:
        """Some of the training examples."""
        return jax.tree.map(lambda leaf: leaf[order], train)

    def augment(self, inputs: jax.Array, key: jax.Array) -> jax.Array:
        """Changes the inputs of a training batch at random."""
        del key
        return inputs

    def preprocess(self, inputs: jax.Array) -> jax.Array:
        """Makes of inputs what the network takes."""
        return inputs

    @abc.abstractmethod
    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """The training loss: the mean over a batch."""

    @abc.abstractmethod
    def measure(self, outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Sum of what is scored, and number of targets that count."""


class Classification(Task):
    """Images and their labels; the loss is the cross-entropy, the score the share classified right.

    Args:
      config: settings, checked and resolved.
      dataset: the data; validation images are held out of its training split.

    Raises:
      ConfigError: if settings and data do not fit together.
    """

    score = SCORES["classification"]

    def __init__(self, config: TrainConfig, dataset: Dataset):
        validation_size = config.data.validation_size or 0
        if validation_size >= (images := len(dataset.train)):
            raise ConfigError(
                f"--validation-size is {validation_size}; it must be less than the {images} training images"
            )
        train, validation = hold_out(dataset.train, validation_size)
        self.train = Batch(jnp.asarray(train.images), jnp.asarray(train.labels))
        self.validation, self.test = _whole_batches(validation), _whole_batches(dataset.test)
        self.examples, self.input_shape, self.outputs = len(train), train.images.shape[1:], 10
        self._ranges = augmentation.choose(config.data.dataset, config.model.model) if config.data.augment else None
        self._scale = 1.0 if config.model.model in _RAW_PIXELS else 1 / dataset.max_pixel
        # The mean of all training images, as in the paper, those held out for validation included.
        self._mean_image = dataset.train.images.mean(axis=0) * self._scale if config.model.model == "resnet50" else 0.0

    def at_chance(self, score: float) -> bool:
        """Whether an accuracy is within two standard errors of the share of the most frequent class."""
        share, count = _largest_share(self.validation.targets)
        return score <= share + 2 * (share * (1 - share) / count) ** 0.5

    def augment(self, inputs: jax.Array, key: jax.Array) -> jax.Array:
        """Transforms images as the paper does for the network, where the settings ask for it."""
        inputs = inputs.astype(jnp.float32)
        return augmentation.augment(inputs, key, self._ranges) if self._ranges else inputs

    def preprocess(self, inputs: jax.Array) -> jax.Array:
        """Scales pixels as the paper does for the network."""
        return inputs.astype(jnp.float32) * self._scale - jnp.asarray(self._mean_image, jnp.float32)

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Cross-entropy of logits ``(batch, classes)``."""
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()

    def measure(self, outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Counts the images classified right."""
        return jnp.sum(outputs.argmax(axis=-1) == targets), jnp.sum(targets >= 0)


class Language(Task):
    """Pieces of a text, and each of their next characters; loss and score are the cross-entropy in nats a character.

    An epoch goes through adjacent pieces in the text, from a place that is drawn again for each epoch. All
    characters of the validation and of the test text but their first are predicted, each from those before it in its
    piece.

    Args:
      config: settings, checked and resolved.
      text: the data.

    Raises:
      ConfigError: if the text is too short.
    """

    score = SCORES["language"]

    def __init__(self, config: TrainConfig, text: Text):
        self._context = context = config.model.context
        self.examples = len(text.train) // context - 1
        if self.examples < 1:
            raise ConfigError(
                f"--context is {context}; there are {len(text.train):,} characters to train on, and two "
                "pieces are needed"
            )
        self.vocabulary = text.vocabulary
        self.input_shape, self.outputs = (context,), len(text.vocabulary)
        self.train = jnp.asarray(text.train, jnp.int32)
        self.validation, self.test = _pieces(text.validation, context), _pieces(text.test, context)

    def at_chance(self, score: float) -> bool:
        """Whether a cross-entropy is no lower than the entropy of single characters."""
        targets = np.asarray(self.validation.targets)
        counts = np.unique(targets[targets >= 0], return_counts=True)[1]
        return score >= stats.entropy(counts)

    def order(self, key: jax.Array) -> jax.Array:
        """The first characters of the sequences of an epoch."""
        order_key, start_key = jax.random.split(key)
        start = jax.random.randint(start_key, (), 0, self._context, jnp.int32)
        numbers = jnp.arange(self.examples, dtype=jnp.int32)
        return start + self._context * jax.random.permutation(order_key, numbers)

    def take(self, train: jax.Array, order: jax.Array) -> Batch:
        """Pieces of the training text, int32 ``(n, context)``."""
        pieces = train[order[:, None] + jnp.arange(self._context + 1)]
        return Batch(pieces[:, :-1], pieces[:, 1:])

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Cross-entropy of logits ``(batch, context, vocabulary)``."""
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()

    def measure(self, outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Sums the cross-entropy over characters."""
        counts = targets >= 0
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, jnp.where(counts, targets, 0))
        return jnp.sum(losses, where=counts), jnp.sum(counts)


class Regression(Task):
    """Points and values of a function; loss and score are the mean squared error."""

    score = SCORES["regression"]

    def __init__(self, function: Function):
        as_batch = lambda points: Batch(jnp.asarray(points.x), jnp.asarray(points.y))
        self.train, self.validation, self.test = map(as_batch, (function.train, function.validation, function.test))
        self.examples, self.input_shape, self.outputs = len(function.train.x), function.train.x.shape[1:], 1

    def at_chance(self, score: float) -> bool:
        """Whether a squared error is no smaller than the variance."""
        return score >= float(np.var(self.validation.targets))

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Mean squared error."""
        return jnp.mean(jnp.square(outputs - targets))

    def measure(self, outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Sums squared errors."""
        return jnp.sum(jnp.square(outputs - targets)), jnp.int32(targets.size)


def make(config: TrainConfig, dataset: AnyDataset) -> Task:
    """The task of a run.

    Raises:
      ConfigError: if settings and data do not fit together.
    """
    match dataset:
        case Dataset():
            return Classification(config, dataset)
        case Text():
            return Language(config, dataset)
        case Function():
            return Regression(dataset)


def _largest_share(labels: jax.Array) -> tuple[float, int]:
    """Share of the most frequent label, and number of labels that are not -1."""
    counts = np.bincount(np.asarray(labels) + 1)[1:]
    return counts.max() / counts.sum(), int(counts.sum())


def _pieces(tokens: np.ndarray, context: int) -> Batch:
    """All of a text but its first character as targets, -1 after its end; in whole batches."""
    size = context * _EVALUATION_BATCH
    count = -(-(len(tokens) - 1) // size) * size
    fill = lambda array, value: np.pad(array.astype(np.int32), (0, count - len(array)), constant_values=value)
    inputs, targets = fill(tokens[:-1], 0), fill(tokens[1:], -1)
    return Batch(*(jnp.asarray(array.reshape(-1, context)) for array in (inputs, targets)))


def _whole_batches(split: Split) -> Batch:
    """Fills a split up to a multiple of the evaluation batch with images that count nowhere: their label is -1."""
    missing = -len(split) % _EVALUATION_BATCH
    images = np.pad(split.images, ((0, missing), (0, 0), (0, 0), (0, 0)))
    return Batch(jnp.asarray(images), jnp.asarray(np.pad(split.labels, (0, missing), constant_values=-1)))
