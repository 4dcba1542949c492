"""Runs with 64-bit types enabled: all arrays of a run have dtypes of their own."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from laperm_jax.lab.config import DEFAULTS, with_settings
from laperm_jax.lab.data import datasets
from laperm_jax.lab.data.datasets import Text
from laperm_jax.lab.runs.run import train
from tests.runs import files, stopped_after

pytestmark = pytest.mark.nightly

_TINY = {"layers": 1, "features": 8, "heads": 2}
RUNS = {
    "mlp": {"widths": (16,), "augment": True, "l2": 1e-4, "sync_schedule": "shrinking"},
    "conv2": {"model": "conv2", "batch_size": 16, "reestimate_batchnorm": 1, "reset_batchnorm": True},
    "vit": {"model": "vit", **_TINY, "activations": "bfloat16", "others_learning_rate": 1e-3},
    "language": {"task": "language", **_TINY, "context": 8},
    "regression": {"task": "regression", "widths": (20,)},
}


@pytest.fixture(autouse=True)
def x64(monkeypatch):
    tokens = np.arange(2001, dtype=np.uint8) % 7
    text = Text(tokens, tokens[:101], tokens[:201], b"\n:EMORZ")
    load = datasets.load
    monkeypatch.setattr(
        datasets, "load", lambda name, data_dir: text if "text" in name or "tiny" in name else load(name)
    )
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", RUNS)
def test_train_and_resume_in_float32(name, tmp_path):
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
