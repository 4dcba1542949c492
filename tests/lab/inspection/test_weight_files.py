"""Weight files of other libraries: what counts as a layer, which axes form a vector, which dtypes are read."""

import io
import json
import struct
import zipfile

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors import TensorSpec, serialize_file
from safetensors.numpy import save_file

from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.inspection import hdf5, weight_files

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def torch_file(path, shapes):
    save_file({name: draw(*shape) for name, shape in shapes.items()}, path / "model.safetensors")
    return path / "model.safetensors"


def hdf5_file(path, arrays):
    """A file of these arrays, or of arrays of these shapes."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = draw(*array) if isinstance(array, tuple) else array
    return path


TRANSFORMER = {
    "layers/embedding/vars/0": (50, 8),
    "layers/multi_head_attention/query_dense/vars/0": (8, 2, 4),
    "layers/multi_head_attention/query_dense/vars/1": (2, 4),
    "layers/multi_head_attention/output_dense/vars/0": (2, 4, 8),
    "layers/layer_normalization/vars/0": (8,),
    "layers/dense/vars/0": (8, 3),
    "layers/dense/vars/1": (3,),
}
STATE = {  # of Adam, of a wrapped optimiser, of a metric, of Dropout
    "optimizer/vars/0": np.int64(7),
    "optimizer/vars/2": (8, 3),
    "optimizer/vars/3": (8, 3),
    "loss_scale_optimizer/inner_optimizer/vars/2": (8, 3),
    "_compile_metrics/metrics/mean_io_u/vars/0": (4, 4),
    "layers/dropout/seed_generator/vars/0": np.zeros((1, 2), np.uint32),
}


def test_keras_3_names_layers_and_leaves_the_optimizer_out(tmp_path):
    layers = weight_files.read(hdf5_file(tmp_path / "a.weights.h5", TRANSFORMER | STATE))
    assert layers.axes == {
        "embedding/embeddings": (0,),
        "multi_head_attention/query_dense/kernel": (0,),
        "multi_head_attention/output_dense/kernel": (0, 1),
        "dense/kernel": (0,),
    }
    assert set(layers.left_out) == {name for name in STATE if name != "optimizer/vars/0"}
    assert set(layers.left_out.values()) == {"optimiser state", "metrics and random state"}


@pytest.mark.parametrize(
    ("kind", "shapes", "axes"),
    [
        ("conv2d", [(3, 3, 4, 8), (8,)], {"kernel": (0, 1, 2)}),
        ("conv2d_transpose_1", [(3, 3, 8, 4), (8,)], {"kernel": (0, 1, 3)}),
        ("conv1d_transpose", [(3, 8, 4)], {"kernel": (0, 2)}),
        ("depthwise_conv2d", [(3, 3, 4, 2), (8,)], {"depthwise_kernel": (0, 1)}),
        ("depthwise_conv1d", [(3, 4, 2)], {"depthwise_kernel": (0,)}),
        (
            "separable_conv2d",
            [(3, 3, 4, 2), (1, 1, 8, 16), (16,)],
            {"depthwise_kernel": (0, 1), "pointwise_kernel": (0, 1, 2)},
        ),
        ("lstm/cell", [(5, 24), (6, 24), (24,)], {"kernel": (0,), "recurrent_kernel": (0,)}),
        ("gru_2/cell", [(5, 18), (6, 18), (2, 18)], {"kernel": (0,), "recurrent_kernel": (0,)}),
        ("bidirectional/forward_layer/cell", [(5, 6), (6, 6), (6,)], {"kernel": (0,), "recurrent_kernel": (0,)}),
        ("einsum_dense", [(4, 2, 3), (2, 3)], {"kernel": (0, 1)}),
        ("batch_normalization", [(4,), (4,), (4,), (4,)], {}),
    ],
)
@pytest.mark.parametrize("container", ["layers", "_layer_checkpoint_dependencies", "layers/functional/layers"])
def test_keras_3_layers(kind, shapes, axes, container, tmp_path):
    path = hdf5_file(
        tmp_path / "a.h5",
        {f"{container}/{kind}/vars/{number}": shape for number, shape in enumerate(shapes)}
        | {"layers/dense/vars/0": (3, 2)},
    )
    prefix = "functional/" if "functional" in container else ""
    assert weight_files.read(path).axes == {
        **{f"{prefix}{kind}/{name}": of_kernel for name, of_kernel in axes.items()},
        "dense/kernel": (0,),
    }


def test_keras_3_layers_go_by_the_name_they_were_given_where_the_attribute_says_nothing(tmp_path):
    path = hdf5_file(tmp_path / "a.h5", {"up/vars/0": (3, 3, 8, 4), "head/vars/0": (8, 3), "own/vars/5": (8, 3)})
    with h5py.File(path, "a") as file:
        file["up/vars"].attrs["name"] = "conv2d_transpose_7"
    assert weight_files.read(path).axes == {"up/kernel": (0, 1, 3), "head/kernel": (0,), "own/5": (0,)}


def test_keras_2_files_go_by_names_and_by_the_architecture_of_a_whole_model(tmp_path):
    weights = {
        "conv2d_transpose/conv2d_transpose/kernel:0": (3, 3, 8, 4),
        "depthwise_conv2d/depthwise_conv2d/depthwise_kernel:0": (3, 3, 8, 1),
        "gru/gru_cell/recurrent_kernel:0": (6, 18),
        "gru/gru_cell/bias:0": (2, 18),
        "mha/query/kernel:0": (8, 2, 4),
        "mha/query/bias:0": (2, 4),
        "up/up/kernel:0": (3, 3, 8, 4),
    }
    axes = {
        "conv2d_transpose/conv2d_transpose/kernel": (0, 1, 3),
        "depthwise_conv2d/depthwise_conv2d/depthwise_kernel": (0, 1),
        "gru/gru_cell/recurrent_kernel": (0,),
        "mha/query/kernel": (0,),
        "up/up/kernel": (0, 1, 2),
    }
    assert weight_files.read(hdf5_file(tmp_path / "weights.h5", weights)).axes == axes
    whole = {f"model_weights/{name}": shape for name, shape in weights.items()}
    path = hdf5_file(tmp_path / "model.h5", whole | {"optimizer_weights/Adam/m/dense/kernel:0": (4, 4)})
    with h5py.File(path, "a") as file:
        layer = {"class_name": "Conv2DTranspose", "config": {"name": "up"}}
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": [layer]}})
    assert weight_files.read(path).axes == axes | {"up/up/kernel": (0, 1, 3)}


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [
        ("conv.weight", (8, 4, 3, 3), (1, 2, 3)),
        ("depthwise.weight", (8, 1, 3, 3), (1, 2, 3)),
        ("up.deconv.weight", (4, 8, 2, 2), (0, 2, 3)),
        ("rnn.weight_ih_l0", (24, 5), (1,)),
        ("rnn.weight_hh_l1_reverse", (24, 6), (1,)),
        ("rnn.weight_hr_l0", (3, 6), (1,)),
        ("cell.weight_hh", (24, 6), (1,)),
        ("attention.in_proj_weight", (24, 8), (1,)),
        ("attention.q_proj_weight", (8, 6), (1,)),
        ("attention.out_proj.weight", (8, 8), (1,)),
        ("attention.bias_k", (1, 2, 8), None),
        ("conv.parametrizations.weight.original1", (8, 4, 3), (1, 2)),
        ("conv.weight_g", (8, 1, 1), None),
        ("embed_tokens.weight", (50, 8), (0,)),
        ("position_embeddings.weight", (50, 8), (0,)),
        ("patch_embed.proj.weight", (8, 3, 4, 4), (1, 2, 3)),
        ("time_embedding.linear_1.weight", (8, 6), (1,)),
        ("cls_token", (1, 1, 8), None),
        ("norm.weight", (8,), None),
        ("params.Conv_0.kernel", (3, 3, 4, 8), (0, 1, 2)),
        ("params.ConvTranspose_0.kernel", (3, 3, 4, 8), (0, 1, 2)),
        ("attention.query.kernel", (8, 2, 4), (0,)),
        ("attention.query.bias", (2, 4), None),
        ("mlp/~/linear_0.w", (8, 3), (0,)),
        ("encoder.matrix", (8, 3), (0,)),
        ("opt_state.0.mu.dense.kernel", (8, 3), None),
        ("optimizer.state.3.exp_avg", (8, 3), None),
    ],
)
def test_safetensors_names(name, shape, axes, tmp_path):
    layers = weight_files.read(torch_file(tmp_path, {name: shape, "always.kernel": (5, 2)}))
    assert layers.axes == {"always.kernel": (0,)} | ({name: axes} if axes else {})


def test_outputs_are_where_the_caller_says(tmp_path):
    path = torch_file(tmp_path, {"conv.weight": (8, 4, 3, 3), "head.kernel": (8, 2), "steps": ()})
    assert weight_files.read(path, "first").axes == {"conv.weight": (1, 2, 3), "head.kernel": (1,)}
    assert weight_files.read(path, "last").axes == {"conv.weight": (0, 1, 2), "head.kernel": (0,)}


def raw_safetensors(path, arrays):
    """Writes arrays of any dtype; values are given as ml_dtypes or NumPy arrays."""
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    serialize_file(
        {
            name: TensorSpec(
                dtype=array.dtype.name, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes
            )
            for name, array in kept.items()
        },
        path,
    )
    return path


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float32"])
def test_short_floats_become_float32_exactly(dtype, tmp_path):
    array = draw(4, 3).astype(getattr(ml_dtypes, dtype, dtype))
    layers = weight_files.read(raw_safetensors(tmp_path / "a.safetensors", {"a.kernel": array}))
    assert layers.weights["a.kernel"].dtype == np.float32
    np.testing.assert_array_equal(layers.weights["a.kernel"], array.astype(np.float32))


def test_long_floats_stay_and_other_numbers_are_left_out_by_name(tmp_path):
    arrays = {"a.kernel": RNG.normal(size=(4, 3)), "spectrum.kernel": draw(4, 3) + 1j * draw(4, 3).astype(np.complex64)}
    arrays |= {"quantised.kernel": np.ones((4, 3), np.int8), "mask": np.ones((4, 3), bool)}
    arrays |= {"scalar": np.float32(1), "empty.kernel": np.zeros((0, 3), np.float32)}
    arrays["spectrum.kernel"] = arrays["spectrum.kernel"].astype(np.complex64)
    for path in (
        raw_safetensors(tmp_path / "a.safetensors", arrays),
        hdf5_file(tmp_path / "a.h5", {name.replace(".", "/"): array for name, array in arrays.items()}),
    ):
        layers = weight_files.read(path)
        ((_, kernel),) = layers.weights.items()
        np.testing.assert_array_equal(kernel, arrays["a.kernel"])
        assert sorted(layers.left_out.values()) == ["complex numbers", "numbers of type bool", "numbers of type int8"]


def test_hdf5_numbers_of_other_byte_orders_and_bfloat16_are_read(tmp_path):
    array = draw(4, 3).astype(ml_dtypes.bfloat16)
    path = hdf5_file(tmp_path / "a.h5", {"a/kernel": array.astype(">f8"), "layers/dense/vars/0": array.view("V2")})
    with h5py.File(path, "a") as file:
        file["layers/dense/vars/0"].attrs["dtype"] = "bfloat16"
    for kernel in weight_files.read(path).weights.values():
        np.testing.assert_array_equal(kernel, array.astype(np.float32))


def keras_archive(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_keras_archives_are_read(tmp_path):
    content = hdf5_file(tmp_path / "a.h5", TRANSFORMER | STATE).read_bytes()
    path = keras_archive(tmp_path / "a.keras", {"config.json": "{}", "model.weights.h5": content})
    archived, plain = weight_files.read(path), weight_files.read(tmp_path / "a.h5")
    assert archived.axes == plain.axes
    (tmp_path / "old.keras").write_bytes(content)  # Keras 2 wrote HDF5 under that name, too
    assert weight_files.read(tmp_path / "old.keras").axes == plain.axes


def test_keras_archives_that_cannot_be_read_are_refused_with_a_sentence(tmp_path):
    pickled = io.BytesIO()
    np.savez(pickled, a=np.array({"x": 1}, dtype=object))
    path = keras_archive(tmp_path / "a.keras", {"model.weights.npz": pickled.getvalue()})
    with pytest.raises(ConfigError, match=r"a\.keras cannot be read: it holds pickled weights, which may run code"):
        weight_files.read(path)
    with pytest.raises(ConfigError, match=r"it holds no model\.weights\.h5"):
        weight_files.read(keras_archive(tmp_path / "b.keras", {"config.json": "{}"}))
    (tmp_path / "c.keras").write_bytes((tmp_path / "b.keras").read_bytes()[:-30])
    with pytest.raises(ConfigError, match=r"c\.keras cannot be read: not a Keras archive, or damaged"):
        weight_files.read(tmp_path / "c.keras")
    with pytest.raises(ConfigError, match="cannot be read"):
        weight_files.read(keras_archive(tmp_path / "d.keras", {"model.weights.h5": b"no HDF5"}))


def test_a_short_file_that_declares_long_arrays_is_refused(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a/kernel", (2**20, 2**20), np.float32, chunks=(1024, 1024))
    with pytest.raises(ConfigError, match=r"a\.h5 cannot be read: its arrays take 4,398,046,511,104 bytes"):
        weight_files.read(tmp_path / "a.h5")
    monkeypatch.setattr(hdf5, "MAX_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(2**20 + 1))
    with pytest.raises(ConfigError, match="compressed; unzip it"):
        weight_files.read(tmp_path / "a.keras")


def test_hdf5_files_that_point_to_other_files_do_not_have_them_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(48))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/kernel"] = draw(4, 3)
        file.create_dataset("b/kernel", (4, 3), np.float32, external=[(str(tmp_path / "secret"), 0, 48)])
        file["c"] = h5py.ExternalLink(str(tmp_path / "secret"), "/")
    layers = weight_files.read(tmp_path / "a.h5")
    assert list(layers.weights) == ["a/kernel"]
    assert layers.left_out == {"b/kernel": "arrays of other files"}


@pytest.mark.parametrize("name", ["a.safetensors", "a.h5", "a.hdf5", "a.keras", "a.laperm"])
def test_damaged_files_are_refused_with_a_sentence(name, tmp_path):
    whole = tmp_path / f"whole{name}"
    if name == "a.safetensors":
        save_file({"a.kernel": draw(40, 30)}, whole)
    else:
        hdf5_file(whole, {"a/kernel": (40, 30)})
    content = whole.read_bytes()
    for damaged in (b"", b"nothing", content[:100], content[: len(content) // 2], struct.pack("<Q", 2**62) + b"{}"):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ConfigError, match=rf"{name} cannot be read: \S"):
            weight_files.read(tmp_path / name)


def test_files_without_kernels_say_what_they_hold(tmp_path):
    with pytest.raises(ConfigError, match="holds no kernel: no array of floats has two axes or more"):
        weight_files.read(torch_file(tmp_path, {"bias": (3,)}))
    with pytest.raises(ConfigError, match="holds no kernel; it holds optimiser state"):
        weight_files.read(hdf5_file(tmp_path / "a.h5", {"optimizer/vars/2": (3, 3)}))
    with pytest.raises(ConfigError, match="there is no file"):
        weight_files.read(tmp_path / "none.h5")
    (tmp_path / "text.txt").touch()
    with pytest.raises(ConfigError, match=r"is not one of \*.laperm, \*.safetensors, \*.h5"):
        weight_files.read(tmp_path / "text.txt")
