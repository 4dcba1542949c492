"""Real runs of an experiment: stopped and resumed to the same bits, side by side as alone, and one from another."""

import signal

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from laperm_jax.lab.config import make_config
from laperm_jax.lab.experiments import runner
from laperm_jax.lab.experiments.core import Experiment, Method, Variant
from laperm_jax.lab.experiments.results import Results
from laperm_jax.lab.experiments.table import Table
from laperm_jax.lab.runs.run import train
from laperm_jax.lab.training.loop import Loop

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("compiled_once")]

TINY = Experiment(
    name="tiny",
    title="Tiny",
    question="Does it run?",
    networks={"smoke": {"mlp": make_config(widths=(8,), steps=6)}},
    variants=(
        Variant("alone", Method.INNER),
        Variant("k = 2", settings={"sync_period": 2}),
        Variant("onto", settings={"sync_period": 2, "init": "levels:2"}, start="alone"),
    ),
    claims=(),
    seeds={"smoke": 2},
)
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    assert runner.run(TINY, "smoke", None, folder, QUIET, keep_runs=True)
    return folder


def fingerprints(folder):
    return {run.key: run.summary["params_sha256"] for run in Table(folder / "smoke.jsonl").read()}


def test_results_are_read_back(finished):
    results = Results(TINY, "smoke", finished)
    assert [row.label for row in results.rows] == ["alone", "k = 2", "onto"]
    row = results.best("mlp", sync_period=2, start=None)
    assert row.values().shape == (2,)
    assert row.mean("syncs") == 3
    assert [len(run.curve) for run in row.runs] == [1, 1]
    assert row.runs[0].settings["widths"] == [8]


def test_a_run_resumes_after_a_signal_to_the_same_bits(finished, tmp_path, monkeypatch):
    run_epoch, begun = Loop.run_epoch, []

    def stopped_in_the_second(loop):
        begun.append(loop.step)
        if len(begun) == 2:
            signal.raise_signal(signal.SIGTERM)
        return run_epoch(loop)

    monkeypatch.setattr(Loop, "run_epoch", stopped_in_the_second)
    assert not runner.run(TINY, "smoke", None, tmp_path, QUIET)
    assert len(fingerprints(tmp_path)) == 2
    assert runner.run(TINY, "smoke", None, tmp_path, QUIET)
    assert begun == [0, 0, 1, 0, 0]  # the second variant resumes after its first update
    assert fingerprints(tmp_path) == fingerprints(finished)


def test_seeds_side_by_side_do_what_they_do_alone(finished):
    for cell, together in zip(TINY.cells("smoke"), Table(finished / "smoke.jsonl").read()[::2], strict=False):
        if cell.start:
            continue
        alone = train(cell.config)
        assert (alone["seeds_side_by_side"], together.summary["seeds_side_by_side"]) == (1, 2)
        assert together.summary["test_accuracy"] == pytest.approx(alone["test_accuracy"], abs=0.01)
        assert together.summary["exact_vectors"] == alone["exact_vectors"]


def test_a_variant_starts_from_the_weights_of_another(finished):
    for seed in range(2):
        alone, onto = (
            load_file(finished / "smoke.runs" / "mlp" / label / f"seed-{seed}" / "weights.safetensors")
            for label in ("alone", "onto")
        )
        assert all(len(np.unique(np.abs(onto[path]))) == 1 for path in ("dense1/kernel", "output/kernel"))
        signs = np.sign(onto["dense1/kernel"]) == np.sign(alone["dense1/kernel"])
        assert signs.mean() > 0.9  # few have changed sides
    (row,) = Results(TINY, "smoke", finished).select(start="alone")
    assert row.values("test_accuracy_start").shape == (2,)
    assert not any(str(finished) in str(run) for run in row.runs)  # results are shared: no paths of this machine
