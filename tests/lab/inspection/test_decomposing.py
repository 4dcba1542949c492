"""laperm decompose: shares of common values, order and residual, and what they are worth."""

import pytest

from laperm_jax.lab.cli import app
from laperm_jax.lab.config import with_settings
from laperm_jax.lab.inspection import decomposing
from laperm_jax.lab.runs.run import train
from tests.runs import MLP

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.mark.nightly
def test_decompose_measures_what_parts_are_worth(runs, capsys):
    for name, (run, summary) in runs.items():
        found = decomposing.decompose_run(run)
        assert found.scores["as trained"] == summary["test_accuracy"]
        assert found.scores["D1 shuffled"] < 0.35 < found.scores["D2 removed"]
        for shares in found.shares.values():
            assert sum(shares[:3]) == pytest.approx(1, abs=1e-5)
            assert shares.residual_scaled <= shares.residual + 1e-6
            held = shares.residual_initial - shares.residual
            assert held == pytest.approx(0, abs=1e-6) if name == "laperm" else held > 0
    assert app.main(["decompose", str(runs["adam"][0])]) == 0
    assert "D0 normal, D2 removed" in capsys.readouterr().out


@pytest.mark.nightly
def test_networks_with_batchnorm_are_decomposed(tmp_path, monkeypatch):
    monkeypatch.setattr(decomposing, "_BATCHES", 2)
    config = with_settings(MLP, model="conv2", epochs=None, steps=2, batch_size=16, sync_period=1)
    train(config, tmp_path / "run")
    found = decomposing.decompose_run(tmp_path / "run")
    assert list(found.shares) == ["conv1/kernel", "conv2/kernel", "dense1/kernel", "dense2/kernel", "output/kernel"]
    assert all(0 <= accuracy <= 1 for accuracy in found.scores.values())
