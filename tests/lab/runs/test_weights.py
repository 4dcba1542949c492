"""The proof, the fingerprint and the file of weights; their dtypes where 64-bit types are enabled."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from laperm_jax.lab.config import DEFAULTS, with_settings
from laperm_jax.lab.data import datasets
from laperm_jax.lab.data.datasets import Text
from laperm_jax.lab.runs import weights
from laperm_jax.lab.runs.run import train
from tests.runs import files, stopped_after

RNG = np.random.default_rng(0)
INITIAL = {"conv/kernel": RNG.normal(size=(3, 3, 2, 5)).astype(np.float32), "bias": np.zeros(5, np.float32)}
AXES = {"conv/kernel": (0, 1, 2)}
_TINY = {"layers": 1, "features": 8, "heads": 2}
RUNS = {
    "mlp": {"widths": (16,), "augment": True, "l2": 1e-4, "sync_schedule": "shrinking"},
    "conv2": {"model": "conv2", "batch_size": 16, "reestimate_batchnorm": 1, "reset_batchnorm": True},
    "vit": {"model": "vit", **_TINY, "activations": "bfloat16", "others_learning_rate": 1e-3},
    "language": {"task": "language", **_TINY, "context": 8},
    "regression": {"task": "regression", "widths": (20,)},
}


def shuffled():
    rows = INITIAL["conv/kernel"].reshape(18, 5).copy()
    RNG.permuted(rows, axis=0, out=rows)
    return INITIAL | {"conv/kernel": rows.reshape(3, 3, 2, 5)}


def test_permutations_are_exact():
    assert weights.count_exact_vectors(INITIAL, INITIAL, AXES) == (5, 5)
    assert weights.count_exact_vectors(INITIAL, shuffled(), AXES) == (5, 5)


def test_one_wrong_bit_one_wrong_sign_of_zero_or_one_nan_is_found():
    for change in (lambda x: np.nextafter(x, np.float32(9)), lambda x: np.float32(np.nan), lambda x: -x):
        final = shuffled()
        final["conv/kernel"][1, 1, 1, 3] = change(final["conv/kernel"][1, 1, 1, 3])
        assert weights.count_exact_vectors(INITIAL, final, AXES) == (4, 5)
    zeros = {"w": np.array([[0.0, 1.0]])}
    assert weights.count_exact_vectors(zeros, {"w": np.array([[-0.0, 1.0]])}, {"w": (1,)}) == (0, 1)


def test_values_that_moved_to_another_vector_are_found():
    final = INITIAL | {"conv/kernel": INITIAL["conv/kernel"][..., ::-1]}
    assert weights.count_exact_vectors(INITIAL, final, AXES) == (1, 5)  # the middle one stays


def test_sha256_depends_on_paths_shapes_and_values_and_not_on_the_order():
    fingerprint = weights.fingerprint(INITIAL)
    assert fingerprint == weights.fingerprint(dict(reversed(INITIAL.items())))
    others = (shuffled(), {"x" + path: w for path, w in INITIAL.items()}, INITIAL | {"bias": np.zeros((5, 1), "f4")})
    assert len({fingerprint, *map(weights.fingerprint, others)}) == 4


def test_the_file_holds_path_to_array(tmp_path):
    weights.save(tmp_path / "w.safetensors", INITIAL | {"t": INITIAL["conv/kernel"].T})
    loaded = load_file(tmp_path / "w.safetensors")
    assert weights.fingerprint(loaded) == weights.fingerprint(INITIAL | {"t": INITIAL["conv/kernel"].T})


@pytest.fixture
def x64(monkeypatch):
    tokens = np.arange(2001, dtype=np.uint8) % 7
    text = Text(tokens, tokens[:101], tokens[:201], b"\n:EMORZ")
    load = datasets.load
    monkeypatch.setattr(
        datasets, "load", lambda name, data_dir: text if "text" in name or "tiny" in name else load(name)
    )
    with jax.enable_x64(True):
        yield


@pytest.mark.nightly
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", RUNS)
def test_train_and_resume_in_float32_with_64_bit_types(name, tmp_path):
    config = with_settings(DEFAULTS[RUNS[name].get("task", "classification")], **RUNS[name], steps=6, sync_period=2)
    summary = train(config, tmp_path / "whole")
    assert (summary["status"], summary["steps"]) == ("finished", 6)
    assert summary["exact_vectors"] == summary["total_vectors"] > 0
    arrays = load_file(tmp_path / "whole" / "weights.safetensors").values()
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
    with stopped_after(3):
        assert train(config, tmp_path / "stopped")["status"] == "interrupted"
    train(config, tmp_path / "stopped", resume=True)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")
