"""Running an experiment: which runs are made, which files are kept, and how it resumes. Training is replaced."""

import json
import shutil
import threading

import pytest
from filelock import FileLock
from rich.console import Console

from laperm_jax.lab.config import ConfigError, make_config, resolve, settings
from laperm_jax.lab.experiments import runner
from laperm_jax.lab.experiments.core import Experiment, Method, Variant
from laperm_jax.lab.experiments.table import Table
from laperm_jax.lab.runs.run_folder import CONFIG, METRICS, WEIGHTS

TINY = Experiment(
    name="tiny",
    title="Tiny",
    question="Does it run?",
    networks={"smoke": {"mlp": make_config(widths=(8,)), "conv": make_config(model="conv2")}},
    variants=(
        Variant("alone", Method.INNER),
        Variant("k = 2", settings={"sync_period": 2}),
        Variant("onto", settings={"init": "levels:2"}, start="alone"),
    ),
    claims=(),
    seeds={"smoke": 2},
)
KEYS = [
    (network, label, seed) for network in ("mlp", "conv") for label in ("alone", "k = 2", "onto") for seed in (0, 1)
]


class Training:
    """In place of ``train_seeds``: writes the files of runs; ``stop_after`` calls it is interrupted."""

    def __init__(self):
        self.made, self.stop_after, self.diverging = [], None, ()

    def __call__(self, configs, folders, *, resume, on_progress):
        assert resume
        status = "interrupted" if len(self.made) == self.stop_after else "finished"
        if len(configs) > 1 and any(config.seed in self.diverging for config in configs):
            status = "diverged"
        self.made.append([str(folder.relative_to(folder.parents[2])) for folder in folders])
        for config, folder in zip(configs, folders, strict=True):
            if config.model.start:
                assert (config.model.start / WEIGHTS).is_file()
            folder.mkdir(parents=True, exist_ok=True)
            flat = {name: value for name, value in settings(resolve(config)).items() if name != "start"}
            (folder / CONFIG).write_text(json.dumps(flat))
            (folder / METRICS).write_text('{"epoch": 1}\n{"epoch": 2}\n')
            if status == "finished":
                (folder / WEIGHTS).touch()
        on_progress(1, 1)
        return [{"status": status, "test_accuracy": 0.5 + config.seed} for config in configs]


@pytest.fixture
def training(monkeypatch):
    training = Training()
    monkeypatch.setattr(runner, "train_seeds", training)
    return training


def run(folder, experiment=TINY, seeds=None, **more):
    return runner.run(experiment, "smoke", seeds, folder, Console(quiet=True), **more)


def keys(folder):
    return [found.key for found in Table(folder / "smoke.jsonl").read()]


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".smoke.jsonl.lock")


def test_run_leaves_the_table_and_nothing_else(tmp_path, training):
    assert run(tmp_path)
    assert keys(tmp_path) == KEYS
    assert files(tmp_path) == ["smoke.jsonl"]
    found = Table(tmp_path / "smoke.jsonl").read()[1]
    assert found.settings["widths"] == [8]
    assert found.summary == {"status": "finished", "test_accuracy": 1.5}
    assert [record["epoch"] for record in found.curve] == [1, 2]


def test_seeds_of_a_small_network_run_together_and_others_alone(tmp_path, training):
    run(tmp_path)
    assert training.made == [
        *(["mlp/alone/seed-0", "mlp/alone/seed-1"], ["mlp/k-2/seed-0", "mlp/k-2/seed-1"]),
        *(["mlp/onto/seed-0"], ["conv/alone/seed-0"], ["conv/k-2/seed-0"], ["conv/onto/seed-0"], ["mlp/onto/seed-1"]),
        *(["conv/alone/seed-1"], ["conv/k-2/seed-1"], ["conv/onto/seed-1"]),
    ]


def test_a_second_run_makes_only_what_is_missing(tmp_path, training):
    run(tmp_path, seeds=1)
    assert len(keys(tmp_path)) == 6
    before = len(training.made)
    assert run(tmp_path)
    assert keys(tmp_path) == KEYS
    assert all("seed-1" in folder for folders in training.made[before:] for folder in folders)
    made = len(training.made)
    assert run(tmp_path)
    assert len(training.made) == made


def test_networks_can_be_run_one_by_one(tmp_path, training):
    assert run(tmp_path, networks=["conv"])
    assert {key[0] for key in keys(tmp_path)} == {"conv"}
    assert run(tmp_path)
    assert keys(tmp_path) == KEYS
    with pytest.raises(ConfigError, match="there is no network vgg at this scale; there are mlp; conv"):
        run(tmp_path, networks=["vgg"])


def test_variants_can_be_run_one_by_one(tmp_path, training):
    assert run(tmp_path, variants=["onto"])
    assert {key[1] for key in keys(tmp_path)} == {"alone", "onto"}  # it starts from the other
    with pytest.raises(ConfigError, match="there is no variant k = 3 at this scale; there are alone; k = 2; onto"):
        run(tmp_path, variants=["k = 3"])


def test_out_keeps_the_folders_of_runs(tmp_path, training):
    assert run(tmp_path, keep_runs=True)
    assert len(list(tmp_path.glob(f"smoke.runs/*/*/seed-*/{WEIGHTS}"))) == len(KEYS)


@pytest.mark.parametrize("calls", range(10))
def test_an_interrupted_experiment_keeps_what_it_needs_and_resumes(tmp_path, training, calls):
    """Wherever it stops, it has the folder of the run in progress and weights that unfinished runs start from."""
    training.stop_after = calls
    assert not run(tmp_path)
    in_progress = training.made[-1]
    done = set(keys(tmp_path))
    kept = {str(path.parent.relative_to(tmp_path / "smoke.runs")) for path in tmp_path.rglob(CONFIG)}
    starts = {
        f"{network}/alone/seed-{seed}"
        for network, label, seed in KEYS
        if label == "onto" and (network, label, seed) not in done and (network, "alone", seed) in done
    }
    assert kept == {*in_progress, *starts}
    training.stop_after = None
    assert run(tmp_path)
    assert training.made[calls + 1] == in_progress
    assert len(training.made) == 11  # every group once, the interrupted one twice
    assert (keys(tmp_path), files(tmp_path)) == (KEYS, ["smoke.jsonl"])


def test_a_start_whose_weights_are_gone_is_trained_again(tmp_path, training):
    run(tmp_path)
    table = tmp_path / "smoke.jsonl"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if '"mlp", "variant": "onto", "seed": 1' not in line))
    training.made.clear()
    assert run(tmp_path)
    assert training.made == [["mlp/alone/seed-1"], ["mlp/onto/seed-1"]]
    assert (keys(tmp_path), files(tmp_path)) == (KEYS, ["smoke.jsonl"])


def test_where_one_seed_diverges_all_are_trained_alone(tmp_path, training):
    training.diverging = (1,)
    assert run(tmp_path)
    assert [len(folders) for folders in training.made[:3]] == [2, 1, 1]
    assert keys(tmp_path) == KEYS


@pytest.mark.parametrize("removed", [False, True], ids=["", "the other process removes the folder"])
def test_a_run_that_another_process_makes_is_waited_for(tmp_path, training, removed):
    """It is left for last, and not made again if the other process has finished it."""
    (tmp_path / "smoke.runs").mkdir()
    theirs = FileLock(tmp_path / "smoke.runs" / "mlp--k-2.lock")
    finished = threading.Event()
    theirs.acquire()
    thread = threading.Thread(target=lambda: (run(tmp_path), finished.set()), daemon=True)
    thread.start()
    while len(keys(tmp_path)) < len(KEYS) - 2:
        assert not finished.wait(0.01)
    assert not any("k-2" in folder and "mlp" in folder for folders in training.made for folder in folders)
    other = Table(tmp_path / "other" / "smoke.jsonl")
    run(other.path.parent)
    ours = [found for found in other.read() if found.key[:2] == ("mlp", "k = 2")]
    Table(tmp_path / "smoke.jsonl").add(ours, [key[:2] for key in KEYS])
    made = len(training.made)
    if removed:
        shutil.rmtree(tmp_path / "smoke.runs")
    theirs.release()
    assert finished.wait(30)
    assert len(training.made) == made
    assert keys(tmp_path) == KEYS


def test_a_table_with_other_settings_is_refused(tmp_path, training):
    run(tmp_path)
    (tmp_path / "smoke.jsonl").write_text((tmp_path / "smoke.jsonl").read_text().replace("[8]", "[9]"))
    with pytest.raises(ConfigError, match=r"smoke\.jsonl has a run of other settings \(widths\): mlp, alone, seed 0"):
        run(tmp_path)


def test_a_table_of_an_older_version_has_the_defaults_of_newer_settings(tmp_path, training):
    run(tmp_path)
    table = Table(tmp_path / "smoke.jsonl")
    for found in table.read():
        older = {name: value for name, value in found.settings.items() if name not in ("task", "free")}
        table.add([found._replace(settings=older)], [key[:2] for key in KEYS])
    made = len(training.made)
    assert run(tmp_path)
    assert len(training.made) == made
