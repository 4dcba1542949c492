"""Training throughput beside Keras: the same networks, batches and syncs, updates only.

    python benchmarks/keras_loop.py

Needs TensorFlow 2.18 or later, and MNIST in TFDS_DATA_DIR. Keras is driven in three ways: by a loop of the kind
that the authors wrote, a compiled gradient for each batch and then `optimizer.apply_gradients` (without their generator
of batches and their evaluations); by `train_on_batch`; and by `fit`, with a callback that syncs. Ours is an epoch of
`laperm train`, of one seed and of four side by side. In turns, about six minutes on two CPU cores.
"""

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from record import write
from training import MLP

from laperm_jax.lab.config import TrainConfig, paper_preset, resolve, with_settings
from laperm_jax.lab.data.datasets import Dataset, datasets, hold_out
from laperm_jax.lab.training.build import build_training
from laperm_jax.lab.training.seeds import draw_initial, stack_seeds
from laperm_jax.lab.training.step import make_run, make_shuffle

ROUNDS = 5
SIDE_BY_SIDE = 4
HIDDEN = {"f1": (), "f2": (128, 64), "mlp": MLP.widths}


class Sync(keras.callbacks.Callback):
    """The paper's reordering of every kernel, after each k-th batch."""

    def __init__(self, model: keras.Model, period: int):
        super().__init__()
        self.kernels = [layer.kernel for layer in model.layers if isinstance(layer, keras.layers.Dense)]
        self.values = [tf.sort(kernel, axis=0) for kernel in self.kernels]
        self.period, self.count = period, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self.count += 1
        if self.count % self.period == 0:
            for kernel, values in zip(self.kernels, self.values, strict=True):
                kernel.assign(_placed(kernel, values))


@tf.function
def _placed(kernel: Any, values: Any) -> Any:
    rank = tf.argsort(tf.argsort(tf.transpose(kernel), axis=1), axis=1)
    return tf.transpose(tf.gather(tf.transpose(values), rank, batch_dims=1))


def keras_epochs(config: TrainConfig, dataset: Dataset) -> dict[str, Callable[[], int]]:
    """For each way to drive Keras, a function that trains for an epoch and returns the number of updates."""
    train, _ = hold_out(dataset.train, 5_000)
    images, labels = train.images.reshape(len(train), -1).astype(np.float32) / 255, train.labels
    steps = len(train) // config.data.batch_size
    random = np.random.default_rng(0)

    def batches() -> Iterable[np.ndarray]:
        return random.permutation(len(train))[: steps * config.data.batch_size].reshape(steps, config.data.batch_size)

    def make(jit_compile: bool) -> tuple[keras.Model, Sync]:
        bias = config.model.model == "mlp"
        dense = [
            keras.layers.Dense(width, "relu", use_bias=bias, kernel_initializer="he_uniform")
            for width in HIDDEN[config.model.model]
        ]
        output = keras.layers.Dense(10, use_bias=bias, kernel_initializer="he_uniform")
        model = keras.Sequential([keras.Input((784,)), *dense, output])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(config.optimizer.learning_rate), loss, jit_compile=jit_compile)
        return model, Sync(model, config.sync.sync_period)

    def by_gradient(model: keras.Model, sync: Sync) -> int:
        for number, batch in enumerate(batches()):
            gradients = gradient(model, images[batch], labels[batch])
            model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            sync.on_train_batch_end(number)
        return steps

    @tf.function
    def gradient(model: keras.Model, images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = model.loss(labels, model(images, training=True))
        return tape.gradient(loss, model.trainable_variables)

    def by_batch(model: keras.Model, sync: Sync) -> int:
        for number, batch in enumerate(batches()):
            model.train_on_batch(images[batch], labels[batch])
            sync.on_train_batch_end(number)
        return steps

    def by_fit(model: keras.Model, sync: Sync) -> int:
        used = np.concatenate(list(batches()))
        model.fit(images[used], labels[used], batch_size=config.data.batch_size, epochs=1, verbose=0, callbacks=[sync])
        return steps

    return {
        "gradient, apply_gradients": functools.partial(by_gradient, *make(False)),
        "train_on_batch": functools.partial(by_batch, *make(False)),
        "train_on_batch, jit_compile": functools.partial(by_batch, *make(True)),
        "fit": functools.partial(by_fit, *make(False)),
        "fit, jit_compile": functools.partial(by_fit, *make(True)),
    }


def our_epochs(config: TrainConfig, dataset: Dataset) -> dict[str, Callable[[], int]]:
    """The same for ours; updates of seeds side by side are counted one by one."""
    training = build_training(resolve(config), dataset)
    method, updates = training.method, training.method.steps_per_epoch
    shuffle = make_shuffle(training.task, updates, method.batch_size)

    def epoch_of(seeds: int) -> Callable[[], int]:
        initials = [draw_initial(training.network, seed) for seed in range(seeds)]
        keys = [initial.order_key for initial in initials]
        program = make_run(training.update, seeds)
        state, number = stack_seeds([method.init_state(initial) for initial in initials]), 0

        def run() -> int:
            nonlocal state, number
            order = shuffle(keys, number)
            state, losses = program(state, training.task.train, order, np.int32(0), np.int32(updates))
            losses.block_until_ready()
            number += 1
            return seeds * updates

        return run

    return {"laperm_jax": epoch_of(1), "laperm_jax, seeds side by side": epoch_of(SIDE_BY_SIDE)}


def measure(config: TrainConfig) -> dict[str, float]:
    """Updates a second of each way: medians over rounds of one epoch each, after a round to warm up."""
    dataset = datasets.load(config.data.dataset)
    ways = our_epochs(config, dataset) | keras_epochs(config, dataset)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, run in ways.items():
            started = time.perf_counter()
            updates = run()
            rates[name].append(updates / (time.perf_counter() - started))
    return {name: float(np.median(values[1:])) for name, values in rates.items()}


def main() -> None:
    rows = []
    for config in (paper_preset("f1"), paper_preset("f2"), MLP):
        rates = measure(with_settings(config, l2=0.0))
        rows.append({"model": config.model.model, "batch_size": config.data.batch_size, "updates_per_second": rates})
        for name, rate in rates.items():
            print(f"{config.model.model}: {rate:8,.0f} updates a second, {name}", flush=True)
    context = {"rounds": ROUNDS, "keras": keras.__version__, "tensorflow": tf.__version__}
    write("keras_loop", "python benchmarks/keras_loop.py", {**context, "rows": rows})


if __name__ == "__main__":
    main()
