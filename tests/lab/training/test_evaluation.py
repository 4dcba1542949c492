"""Evaluator: scores, BatchNorm statistics, snapshots."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from laperm_jax.lab.data import datasets
from laperm_jax.lab.models.networks import Variables
from laperm_jax.lab.training.build import build_evaluation
from laperm_jax.lab.training.evaluation import Evaluator
from tests.lab.training.helpers import CONV, SMALL


def test_score_counts_each_image_once_and_no_padding(mlp):
    task, network, evaluator = build_evaluation(SMALL, datasets.load("digits"))
    variables = mlp.initial.variables
    digits = datasets.load("digits")
    hidden = jax.nn.relu(digits.test.images.reshape(360, 64) / 16 @ variables.params["dense1"]["kernel"])
    predictions = np.argmax(hidden @ variables.params["output"]["kernel"], axis=1)
    assert len(task.test.targets) == 400
    assert evaluator.score(variables, task.test) == np.mean(predictions == digits.test.labels)
    assert network.shapes.params["dense1"]["kernel"].shape == (64, 16)


@pytest.mark.nightly
def test_reestimate_averages_the_statistics_of_batches(conv):
    task, network, variables = conv.training.task, conv.training.network, conv.initial.variables
    key = conv.initial.order_key
    assert Evaluator(task, network, 16).reestimate(variables, key) is variables
    stats = Evaluator(task, network, 16, reestimate_batches=3).reestimate(variables, key).batch_stats
    assert jax.tree.structure(stats) == jax.tree.structure(variables.batch_stats)
    # The first BatchNorm follows a convolution and ReLU: its statistics can be computed without the network.
    batches = np.asarray(task.order(key))[: 3 * CONV.data.batch_size].reshape(3, -1)
    images = jnp.asarray(task.train.inputs, jnp.float32)[batches]  # conv2 takes raw pixels
    layer = variables.params["conv1"]
    convolve = lambda batch: jax.lax.conv_general_dilated(
        batch, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    activations = jax.lax.map(lambda batch: nnx.relu(convolve(batch) + layer["bias"]), images)
    np.testing.assert_allclose(stats["norm1"]["mean"], activations.mean(axis=(0, 1, 2, 3)), rtol=1e-3)
    np.testing.assert_allclose(stats["norm1"]["var"], activations.var(axis=(1, 2, 3)).mean(axis=0), rtol=1e-3)


@pytest.mark.nightly
def test_snapshot_scores_both_weights_and_copies_them(mlp):
    state, _ = mlp.updates(mlp.init_state(), 0, 7)
    evaluator, task = mlp.training.evaluator, mlp.training.task
    reconnected = mlp.training.reconnected_params(state.opt_state, state.params)
    free = Variables(state.params, state.batch_stats)
    snapshot = evaluator.snapshot(3, free, reconnected, mlp.initial.order_key)
    assert snapshot.epoch == 3
    assert snapshot.scores == {
        "val_accuracy": evaluator.score(free._replace(params=reconnected), task.validation),
        "val_accuracy_free": evaluator.score(free, task.validation),
    }
    expected = np.asarray(state.params["output"]["bias"])
    mlp.updates(state, 7, 8)  # donates the state
    np.testing.assert_array_equal(snapshot.free.params["output"]["bias"], expected)
    np.testing.assert_array_equal(snapshot.reconnected.params["output"]["bias"], expected)  # it is not reordered
