"""Experiments: the grid is what it says, survives being stopped, and refuses what is of other settings."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from laperm_jax.lab.config import ConfigError, check, make_config
from laperm_jax.lab.experiments import runner
from laperm_jax.lab.experiments.catalogue import EXPERIMENTS, Experiment, Results
from laperm_jax.lab.runs.run import train
from laperm_jax.lab.training.loop import Loop

pytestmark = pytest.mark.usefixtures("compiled_once")

TINY = Experiment(
    name="tiny",
    title="Tiny",
    question="Does it run?",
    networks={"smoke": {"mlp": make_config(widths=(8,), steps=6), "Wide, mlp": make_config(widths=(16,), steps=6)}},
    variants={"k = 2": {"sync_period": 2}, "inner alone": {"sync_period": None}},
    claims=(),
    seeds={"smoke": 2},
)
QUIET = Console(quiet=True)


def test_the_cells_are_every_network_with_every_variant_and_seed():
    cells = list(TINY.cells("smoke"))
    assert len(cells) == len({cell.folder for cell in cells}) == 8
    assert str(cells[3].folder) == "wide-mlp/inner-alone/seed-0"
    assert cells[3].config == make_config(widths=(16,), steps=6, sync_period=None)
    assert {cell.config.seed for cell in cells} == {0, 1}
    assert len(list(TINY.cells("smoke", seeds=1))) == 4


@pytest.mark.parametrize("scale", ["smoke", "cpu", "full"])
@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=lambda experiment: experiment.name)
def test_every_cell_of_the_catalogue_is_a_run_of_its_own_that_can_be_made(experiment, scale):
    cells = list(experiment.cells(scale))
    assert len({cell.folder for cell in cells}) == len(cells) > 1
    for cell in cells:
        check(cell.config)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    assert runner.run(TINY, "smoke", None, out, QUIET)
    return out


def test_results_are_read_back(finished):
    results = Results(TINY, "smoke", finished)
    assert results.networks == ["mlp", "Wide, mlp"]
    values = results.values("mlp", "k = 2")
    stored = [json.loads((finished / "mlp" / "k-2" / f"seed-{seed}" / "summary.json").read_text()) for seed in (0, 1)]
    assert values.tolist() == [summary["test_accuracy"] for summary in stored]
    assert results.mean("mlp", "k = 2", "syncs") == 3
    assert results.mean("mlp", "inner alone", "syncs") == 0
    assert np.isnan(results.mean("mlp", "no such"))
    assert len(results.curves["mlp", "k = 2"][0]) == 1


def test_a_second_run_makes_only_what_is_missing(finished, monkeypatch):
    made = []
    monkeypatch.setattr(runner, "train_seeds", lambda configs, **_: made.extend(configs))
    assert runner.run(TINY, "smoke", None, finished, QUIET)
    assert made == []


def test_a_stopped_grid_keeps_what_is_there_and_goes_on(finished, tmp_path, monkeypatch):
    """A signal in the second variant."""
    run_epoch, begun = Loop.run_epoch, []

    def stopped_in_the_second(loop):
        begun.append(loop.step)
        if len(begun) == 2:
            signal.raise_signal(signal.SIGTERM)
        return run_epoch(loop)

    monkeypatch.setattr(Loop, "run_epoch", stopped_in_the_second)
    assert not runner.run(TINY, "smoke", None, tmp_path, QUIET)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*/*")) == [
        *("mlp/inner-alone/seed-0.partial", "mlp/inner-alone/seed-1.partial", "mlp/k-2/seed-0", "mlp/k-2/seed-1"),
    ]
    assert runner.run(TINY, "smoke", None, tmp_path, QUIET)
    assert begun == [0, 0, 1, 0, 0]  # the second variant goes on after its first update
    assert not list(tmp_path.glob("*/*/*.partial"))
    fingerprints = lambda out: {
        path.relative_to(out): json.loads(path.read_text())["params_sha256"] for path in out.glob("*/*/*/summary.json")
    }
    assert fingerprints(tmp_path) == fingerprints(finished)


def test_seeds_side_by_side_do_what_they_do_alone(finished, tmp_path):
    for cell in TINY.cells("smoke"):
        summary = train(cell.config, tmp_path / cell.folder)
        together = json.loads((finished / cell.folder / "summary.json").read_text())
        assert (summary["seeds_side_by_side"], together["seeds_side_by_side"]) == (1, 2)
        assert summary["seed"] == together["seed"]
        assert together["test_accuracy"] == pytest.approx(summary["test_accuracy"], abs=0.01)
        assert together["exact_vectors"] == together["total_vectors"] == summary["total_vectors"]
        files = {path.name for path in (tmp_path / cell.folder).iterdir()}
        assert {path.name for path in (finished / cell.folder).iterdir()} == files


def test_where_one_seed_diverges_the_others_are_kept(tmp_path, monkeypatch):
    train_seeds, made = runner.train_seeds, []

    def diverging(configs, outs, **settings):
        made.append(len(configs))
        summaries = train_seeds(configs, outs, **settings)
        return [summary | {"status": "diverged"} for summary in summaries] if len(configs) > 1 else summaries

    monkeypatch.setattr(runner, "train_seeds", diverging)
    tiny = replace(TINY, variants={"k = 2": {"sync_period": 2}})
    assert runner.run(tiny, "smoke", None, tmp_path, QUIET)
    assert made == [2, 1, 1, 2, 1, 1]
    assert len(list(tmp_path.glob("*/*/seed-?"))) == 4


def test_a_variant_begins_with_the_order_of_another(tmp_path):
    variants = {"alone": {"sync_period": None}, "onto": {"start": "alone", "init": "levels:2", "sync_period": 2}}
    transfer = replace(TINY, variants=variants, networks={"smoke": {"mlp": TINY.networks["smoke"]["mlp"]}})
    assert [cell.config.model.start for cell in transfer.cells("smoke", 1)] == [None, Path("mlp/alone/seed-0")]
    assert runner.run(transfer, "smoke", None, tmp_path, QUIET)
    for seed in range(2):
        run = tmp_path / "mlp" / "onto" / f"seed-{seed}"
        alone, onto = (load_file(path / "weights.safetensors") for path in (run.parents[1] / "alone" / run.name, run))
        assert (onto["dense1/bias"] != 0).any()
        assert all(len(np.unique(np.abs(onto[path]))) == 1 for path in ("dense1/kernel", "output/kernel"))
        signs = np.sign(onto["dense1/kernel"]) == np.sign(alone["dense1/kernel"])
        assert signs.mean() > 0.9  # few have changed sides
        assert "test_accuracy_start" in json.loads((run / "summary.json").read_text())
        assert str(tmp_path) not in (run / "config.json").read_text()
    assert runner.run(transfer, "smoke", None, tmp_path, QUIET)  # nothing is left to do


def test_a_folder_with_other_settings_is_refused(finished):
    other = replace(TINY, variants={"k = 2": {"sync_period": 3}})
    with pytest.raises(ConfigError, match=r"seed-0 holds a run of other settings \(sync_period\)"):
        runner.run(other, "smoke", None, finished, QUIET)
