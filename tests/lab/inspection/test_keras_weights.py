"""Keras weight files: round trips through its layout, the released files, and files that do not fit."""

import os
import random
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from flax import nnx

from laperm_jax._paths import leaves_by_path, map_by_path
from laperm_jax.lab.cli import app as cli
from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.config.commands import EvaluateConfig
from laperm_jax.lab.inspection import evaluation, keras_weights
from laperm_jax.lab.models import classifiers

MNIST, CIFAR10 = (28, 28, 1), (32, 32, 3)
RELEASED = Path(__file__).parents[4] / "shared" / "pretrained"
TFDS = Path(os.environ.get("TFDS_DATA_DIR", "missing"))
NORM = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}


def network(name, image_shape):
    """A network with random weights and statistics, and these by path."""
    model = nnx.eval_shape(lambda: classifiers.build(name, image_shape, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    draw = lambda path, leaf: rng.uniform(0.1, 1, leaf.shape).astype(np.float32) - 0.5 * path.endswith("kernel")
    state = map_by_path(draw, nnx.state(model, (nnx.Param, nnx.BatchStat)))
    return model, leaves_by_path(state)


def evaluator(model):
    """A compiled function of weights by path and images, in evaluation mode."""
    model = nnx.with_attributes(model, deterministic=True, use_running_average=True, raise_if_not_found=False)
    graph, state = nnx.graphdef(model), nnx.state(model, (nnx.Param, nnx.BatchStat))
    merge = lambda weights: nnx.merge(graph, map_by_path(lambda path, _: weights[path], state))
    return jax.jit(lambda weights, images: merge(weights)(images))


def keras_layers(name, offset=0):
    """Names in Keras, for the layers made from number ``offset`` on, and our paths: in the order of Keras's files."""
    counts = {"conv2d": offset, "batch_normalization": offset, "dense": offset}

    def made(kind, path):
        number, counts[kind] = counts[kind], counts[kind] + 1
        return f"{kind}_{number}" if number else kind, path

    if name == "f1":
        return [("flatten", None), made("dense", "output")]
    if name == "conv2":
        layers = [made("conv2d", "conv1"), made("batch_normalization", "norm1"), ("dropout", None)]
        layers += [made("conv2d", "conv2"), made("batch_normalization", "norm2"), ("flatten", None)]
        for number in (1, 2):
            layers += [made("dense", f"dense{number}"), made("batch_normalization", f"norm{number + 2}")]
        return [*layers, made("dense", "output")]
    layers = [("input_1", None), made("conv2d", "conv"), made("batch_normalization", "norm"), ("activation", None)]
    for block in range(24):
        conv1, norm1, conv2, norm2 = (
            made(kind, f"blocks/{block}/{leaf}{number}")
            for number in (1, 2)
            for kind, leaf in (("conv2d", "conv"), ("batch_normalization", "norm"))
        )
        # Keras sorts by depth: the shortcut, made last, stands beside norm2.
        shortcut = [made("conv2d", f"blocks/{block}/shortcut")] if block in (8, 16) else []
        layers += [conv1, norm1, conv2, *shortcut, norm2]
    return [*layers, made("dense", "output")]


def write(path, layers, weights, *, group="/", suffix=":0", as_bytes=True, chunks=1):
    """Writes a file as Keras does; its versions, and the size of the model, differ in the options."""

    def set_names(node, attribute, names):
        if chunks == 1 or len(names) < chunks:
            node.attrs[attribute] = [name.encode() if as_bytes else name for name in names]
        else:
            for number, part in enumerate(np.array_split(names, chunks)):
                node.attrs[f"{attribute}{number}"] = [name.encode() if as_bytes else str(name) for name in part]

    with h5py.File(path, "w") as file:
        root = file.require_group(group)
        set_names(root, "layer_names", [name for name, _ in layers])
        for name, target in layers:
            leaves = NORM if f"{target}/scale" in weights else {"kernel": "kernel", "bias": "bias"}
            stored = {f"{name}/{leaf}{suffix}": weights.get(f"{target}/{ours}") for leaf, ours in leaves.items()}
            stored = {weight: array for weight, array in stored.items() if array is not None}
            node = root.create_group(name)
            set_names(node, "weight_names", list(stored))
            for weight, array in stored.items():
                node[weight] = array
    return path


@pytest.mark.parametrize(
    ("name", "image_shape", "offset", "layout"),
    [
        ("f1", MNIST, 10, {}),
        ("conv2", CIFAR10, 0, {"group": "model_weights", "as_bytes": False, "suffix": ""}),
        pytest.param("resnet50", CIFAR10, 52, {"chunks": 12}, marks=pytest.mark.nightly),
    ],
)
def test_a_network_comes_back_bit_for_bit(name, image_shape, offset, layout, tmp_path):
    model, weights = network(name, image_shape)
    path = write(tmp_path / "a.h5", keras_layers(name, offset), weights, **layout)
    loaded = keras_weights.load(path, name, image_shape)
    assert loaded.keys() == weights.keys()
    assert all((loaded[path] == weights[path]).all() for path in weights)
    apply, images = evaluator(model), jax.random.uniform(jax.random.key(0), (2, *image_shape))
    np.testing.assert_array_equal(apply(loaded, images), apply(weights, images))


@pytest.mark.nightly
def test_numbers_decide_and_not_the_place_in_the_file(tmp_path):
    _, weights = network("resnet50", CIFAR10)
    layers = keras_layers("resnet50")
    random.Random(0).shuffle(layers)
    loaded = keras_weights.load(write(tmp_path / "a.h5", layers, weights), "resnet50", CIFAR10)
    assert all((loaded[path] == weights[path]).all() for path in weights)


def test_layers_with_names_of_their_own_keep_the_order_of_the_file(tmp_path):
    _, weights = network("f2", MNIST)
    layers = [("in_2", "dense1"), ("mid_1", "dense2"), ("out_0", "output")]
    loaded = keras_weights.load(write(tmp_path / "a.h5", layers, weights), "f2", MNIST)
    assert all((loaded[path] == weights[path]).all() for path in weights)


def test_a_bias_the_network_does_not_have_must_be_zero(tmp_path):
    _, weights = network("f1", MNIST)
    layers, bias = keras_layers("f1"), np.zeros(10, np.float32)
    path = write(tmp_path / "a.h5", layers, weights | {"output/bias": bias})
    assert keras_weights.load(path, "f1", MNIST).keys() == {"output/kernel"}
    write(path, layers, weights | {"output/bias": bias + 1})
    with pytest.raises(ConfigError, match=r"dense of .* holds bias \(10,\), kernel .*, and output of f1 .* has kernel"):
        keras_weights.load(path, "f1", MNIST)


@pytest.mark.parametrize(
    ("model", "image_shape", "layers", "change", "message"),
    [
        ("f2", MNIST, None, {}, "holds 1 x dense, and f2 has 3 x dense; name the network of the file with --model"),
        (
            "f1",
            CIFAR10,
            None,
            {},
            r"dense of .* \(784, 10\), and output of f1 on images of 32 x 32 x 3 has",
        ),
        ("f1", MNIST, [("flatten", None)], {}, "holds no weights, and f1 has 1 x dense"),
        ("f1", MNIST, None, {"output/kernel": np.ones((3, 784, 10))}, "holds 1 x other, and f1 has 1 x dense"),
        ("f1", MNIST, None, {"output/kernel": np.ones((784, 10), int)}, "lists dense/kernel:0, which is not in it"),
    ],
)
def test_another_network_is_refused(model, image_shape, layers, change, message, tmp_path):
    _, weights = network("f1", MNIST)
    path = write(tmp_path / "a.h5", layers or keras_layers("f1"), weights | change)
    with pytest.raises(ConfigError, match=message):
        keras_weights.load(path, model, image_shape)


def test_a_layer_of_another_kind_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", [("a", "a")], {"a/kernel": np.ones((3, 3))}, suffix="_1:0")
    with pytest.raises(ConfigError, match=r"layer a of .* holds a/kernel_1:0; the networks of the paper have"):
        keras_weights.load(path, "f1", MNIST)


def test_files_that_are_no_weight_files_are_refused(tmp_path, capsys):
    path = tmp_path / "a.h5"
    line = ["evaluate", "--keras-weights", str(path), "--model", "f1", "--dataset", "digits"]
    assert cli.main(line) == 2
    assert capsys.readouterr().err == f"laperm: --keras-weights {path} is not a file; name a Keras weight file (HDF5)\n"
    with pytest.raises(ConfigError, match="there is no file"):
        keras_weights.load(path, "f1", MNIST)
    path.write_text("no HDF5")
    assert cli.main(line) == 2
    assert "cannot be read as HDF5, or is damaged" in capsys.readouterr().err
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((784, 10))  # as in Keras 3
    assert cli.main(line) == 2
    assert "has no layer_names, so it is not a weight file of Keras 2" in capsys.readouterr().err
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = ["dense"]
    with pytest.raises(ConfigError, match="has no weight_names"):
        keras_weights.load(path, "f1", MNIST)


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--model is vgg; there are mlp, f1"):
        evaluation.evaluate(EvaluateConfig(tmp_path, "vgg", "mnist"))


def test_evaluation_on_digits(tmp_path, capsys):
    rng = np.random.default_rng(0)
    kernel = rng.uniform(-((6 / 64) ** 0.5), (6 / 64) ** 0.5, (64, 10)).astype(np.float32)
    kernel[:, 8] = np.where(kernel[:, 8] > 0, np.float32(0.08), 0)
    kernel[:, 9] = 1
    kernel[0, 9] = 2
    path = write(tmp_path / "a.h5", keras_layers("f1"), {"output/kernel": kernel})
    assert cli.main(["evaluate", "--keras-weights", str(path), "--model", "f1", "--dataset", "digits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    kept = f"{(kernel != 0).mean():.1%}"
    assert [line.split() for line in lines if "output" in line] == [
        ["output/kernel", "10", "8", "1", "1", "0.08", kept],
    ]
    assert lines[-1].startswith("test_accuracy 0.")
    assert len(lines[-1]) == len("test_accuracy 0.1234")


def test_what_vectors_look_like():
    rng = np.random.default_rng(0)
    sample = rng.uniform(-0.1, 0.1, (5, 600)).astype(np.float32)
    assert evaluation.describe(sample)[:3] == (5, 0, 0)
    assert evaluation.describe(sample * (rng.random(sample.shape) < 0.3))[:3] == (5, 0, 0)  # pruned
    for free in (sample / 2, sample * 1.1, rng.normal(0, 0.03, sample.shape), sample * np.nan):
        assert evaluation.describe(free)[:3] == (0, 0, 5)
    one = np.float32(0.08) * (rng.random((5, 600)) < 0.5)
    assert evaluation.describe(one) == (0, 5, 0, (float(np.float32(0.08)),), (one != 0).mean())
    one[0, :20] = np.nextafter(np.float32(0.08), np.float32(1))
    assert evaluation.describe(one)[:3] == (0, 4, 1)


@pytest.mark.skipif(not RELEASED.is_dir(), reason="no released weights in ../shared/pretrained")
@pytest.mark.skipif(not (TFDS / "mnist").is_dir(), reason="TFDS_DATA_DIR names no data directory with mnist")
@pytest.mark.parametrize(
    ("file", "accuracy", "looks", "values"),
    [
        pytest.param("Conv7.h5", 0.9972, (434, 0, 0), set(), marks=pytest.mark.nightly),
        pytest.param("F1.h5", 0.8546, (0, 10, 0), {0.08}, marks=pytest.mark.nightly),
        pytest.param("F2.h5", 0.7068, (0, 202, 0), {0.03}, marks=pytest.mark.nightly),
    ],
)
def test_released_weights(file, accuracy, looks, values):
    model = file.removesuffix(".h5").lower()
    found, counts = evaluation.evaluate(EvaluateConfig(RELEASED / file, model, "mnist"))
    assert round(found, 4) == accuracy
    assert tuple(sum(column) for column in zip(*(count[:3] for count in counts.values()), strict=True)) == looks
    assert {round(value, 6) for count in counts.values() for value in count.values} == values
