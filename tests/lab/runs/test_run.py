"""A whole run: summary, choice of the model, files, and how it ends."""

import io
import json
import signal
import threading
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from laperm_jax._paths import leaves_by_path, map_by_path
from laperm_jax.lab.config import ConfigError, make_config, resolve, with_settings
from laperm_jax.lab.data import datasets
from laperm_jax.lab.models.networks import Variables
from laperm_jax.lab.runs import weights
from laperm_jax.lab.runs.run import train
from laperm_jax.lab.training import optimizers
from laperm_jax.lab.training.build import build_evaluation
from laperm_jax.lab.training.loop import Loop
from laperm_jax.lab.training.seeds import draw_initial
from laperm_jax.lab.training.signals import heard_interrupt
from tests.lab.training.helpers import small

pytestmark = pytest.mark.usefixtures("compiled_once")

QUICK = make_config(widths=(16,), epochs=3, sync_period=10, learning_rate=2e-2)
SUMMARY_KEYS = {
    *(
        "dataset",
        "model",
        "inner",
        "sync_period",
        "error_feedback",
        "seed",
        "epochs",
        "steps",
        "syncs",
        "test_accuracy",
        "status",
    ),
    *("test_accuracy_free", "val_accuracy", "exact_vectors", "total_vectors", "params_sha256", "train_seconds"),
    *("examples_per_second", "device", "versions", "best_epoch", "val_accuracy_free", "compile_seconds", "date"),
    *("seeds_side_by_side", "profile_similarity_initial", "profile_similarity_free"),
}


@pytest.fixture
def foreground():
    """Ctrl-C as in a terminal: a process started in the background inherits that it is ignored."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "nested" / "quick"
    return path, train(QUICK, path)


def test_the_summary_says_what_was_done(folder):
    path, summary = folder
    assert summary.keys() == SUMMARY_KEYS
    assert json.loads((path / "summary.json").read_text()) == summary
    assert (summary["epochs"], summary["steps"], summary["syncs"], summary["status"]) == (3, 57, 5, "finished")
    assert summary["exact_vectors"] == summary["total_vectors"] == 26
    assert 0.5 < summary["test_accuracy"] <= 1
    assert summary["examples_per_second"] == pytest.approx(57 * 64 / summary["train_seconds"])
    assert summary["versions"]["jax"] == jax.__version__


def test_the_metrics_have_a_line_an_epoch_and_the_best_is_chosen(folder):
    path, summary = folder
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [(record["epoch"], record["step"]) for record in records] == [(1, 19), (2, 38), (3, 57)]
    best = max(records, key=lambda record: (record["val_accuracy"], record["epoch"]))
    assert summary["best_epoch"] == best["epoch"]
    assert summary["val_accuracy"] == best["val_accuracy"]
    assert summary["val_accuracy_free"] == best["val_accuracy_free"]


def test_the_weights_file_has_the_score_of_the_summary(folder):
    path, summary = folder
    saved = load_file(path / "weights.safetensors")
    assert weights.fingerprint(saved) == summary["params_sha256"]
    task, network, evaluator = build_evaluation(resolve(QUICK), datasets.load("digits"))
    initial = draw_initial(network, QUICK.seed).variables
    variables = Variables(map_by_path(lambda layer, _: saved[layer], initial.params), {})
    assert evaluator.score(variables, task.test) == summary["test_accuracy"]
    axes = dict.fromkeys(("dense1/kernel", "output/kernel"), (0,))
    assert weights.count_exact_vectors(weights.to_numpy(initial.params), saved, axes) == (26, 26)


def test_the_checkpoints_hold_the_last_state_and_the_best(folder):
    path, summary = folder
    run = small(resolve(QUICK))
    template = jax.eval_shape(run.init_state)
    with ocp.CheckpointManager((path / "checkpoints").absolute()) as manager:
        assert set(manager.all_steps()) == {38, 57, summary["best_epoch"] * 19}
        last = manager.restore(57, args=ocp.args.Composite(state=ocp.args.StandardRestore(template)))["state"]
    state = run.init_state()
    for epoch in range(3):
        state, _ = run.updates(state, 0, 19, epoch)
    state = state._replace(last_sync=last.last_sync)  # the loop's own
    assert leaves_by_path(last).keys() == leaves_by_path(state).keys()
    for ours, theirs in zip(jax.tree.leaves(last), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_metrics_describe_the_first_sync_of_each_epoch(folder):
    path, _ = folder
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    run = small(resolve(QUICK))
    state, _ = run.updates(run.init_state(), 0, 9)
    for name, kernel in run.initial.variables.params.items():
        ranks = lambda weights: np.asarray(weights).argsort(axis=0).argsort(axis=0)
        before, after = ranks(kernel["kernel"]), ranks(state.params[name]["kernel"])
        metrics = records[0]["first_sync"][f"{name}/kernel"]
        assert metrics["moved"] == pytest.approx((before != after).mean(), abs=1e-6)
        assert metrics["rank_distance"] == pytest.approx(abs(before - after).mean() / len(before), rel=1e-5)
    assert [record["first_sync"] is None for record in records] == [False, False, False]


@pytest.mark.nightly
@pytest.mark.parametrize("changes", [{"sync_period": None}, {"sync_period": 1}, {"sync_period": 20, "epochs": 1}])
def test_where_nothing_happens_between_syncs_none_is_described(changes, tmp_path):
    train(with_settings(QUICK, **changes), tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["first_sync"] is None for line in lines)


SHARED = with_settings(QUICK, model="f1", init="shared:0.08", keep=(0.5,), learning_rate=1e-3)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("config", "warning"),
    [
        (with_settings(SHARED, sync_period=9), "100.0% of the weights cannot reach a neighbouring value"),
        (
            with_settings(SHARED, sync_period=1000, epochs=20),
            "worse than free ones; a shorter --sync-period",
        ),
        (QUICK, None),
    ],
)
def test_a_period_too_short_or_too_long_is_warned_of(config, warning):
    console = Console(record=True, file=io.StringIO(), width=80)
    train(config, console=console)
    warnings = [line for line in console.export_text().splitlines() if "warning" in line]
    assert len(warnings) == (warning is not None)
    assert warning is None or warning in warnings[0]


def test_pictures_events_and_config(folder):
    path, _ = folder
    assert {file.name for file in path.iterdir()} == {
        *("config.json", "metrics.jsonl", "summary.json", "weights.safetensors"),
        *("curves.png", "profiles.png", "events", "checkpoints", ".lock"),
    }
    for picture in ("curves.png", "profiles.png"):
        assert (path / picture).read_bytes().startswith(b"\x89PNG")
    (events,) = (path / "events").iterdir()
    assert all(tag in events.read_bytes() for tag in (b"train_loss", b"val_accuracy_free", b"learning_rate"))
    config = json.loads((path / "config.json").read_text())
    assert (config["widths"], config["validation_size"], config["epochs"]) == ([16], 180, 3)
    assert not {"out", "data_dir"} & config.keys()  # results are shared: no paths of this machine in them


@pytest.mark.nightly
def test_the_same_seed_gives_the_same_bits(folder):
    _, summary = folder
    assert train(QUICK)["params_sha256"] == summary["params_sha256"]
    assert train(with_settings(QUICK, seed=1))["params_sha256"] != summary["params_sha256"]


def test_a_folder_that_holds_something_is_refused_and_left_alone(folder, tmp_path):
    path, _ = folder
    before = (path / "summary.json").read_text()
    with pytest.raises(ConfigError, match="already holds a run; name a new folder, or resume it with --resume"):
        train(QUICK, path)
    assert (path / "summary.json").read_text() == before
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("")
    for resume in (False, True):
        with pytest.raises(ConfigError, match="already holds other files; name a new folder"):
            train(QUICK, tmp_path / "folder", resume=resume)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        train(QUICK, tmp_path / "file")


def test_nothing_is_left_behind_where_the_settings_are_wrong(tmp_path):
    with pytest.raises(ConfigError):
        train(with_settings(QUICK, model="conv13"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.nightly
def test_a_run_with_batchnorm_keeps_its_statistics(tmp_path):
    config = make_config(model="conv2", steps=3, sync_period=2, batch_size=16, reestimate_batchnorm=2)
    summary = train(config, tmp_path / "r")
    saved = load_file(tmp_path / "r" / "weights.safetensors")
    assert {"norm1/mean", "norm1/var", "norm1/scale", "conv1/kernel"} <= saved.keys()
    assert summary["exact_vectors"] == summary["total_vectors"] == 64 + 64 + 256 + 256 + 10


@pytest.mark.nightly
def test_without_a_sync_period_it_is_the_inner_optimizer_alone(tmp_path):
    summary = train(with_settings(QUICK, sync_period=None), tmp_path / "r")
    assert (summary["syncs"], summary["total_vectors"], summary["sync_period"]) == (0, 0, None)
    assert summary["test_accuracy"] == summary["test_accuracy_free"] > 0.5
    assert not (tmp_path / "r" / "profiles.png").exists()


@pytest.mark.nightly
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_what_was_good(tmp_path):
    config = with_settings(QUICK, inner="sgd", learning_rate=1e30, schedule="constant")
    summary = train(config, tmp_path / "r")
    assert summary["status"] == "diverged"
    assert (summary["best_epoch"], summary["epochs"]) == (0, 1)
    saved = load_file(tmp_path / "r" / "weights.safetensors")
    assert all(np.isfinite(array).all() for array in saved.values())
    assert summary["exact_vectors"] == summary["total_vectors"]
    assert (tmp_path / "r" / "summary.json").exists()


@pytest.mark.nightly
def test_divergence_after_a_good_epoch_keeps_that_epoch(monkeypatch):
    """The learning rate explodes in the second epoch."""
    schedule = lambda *_: lambda count: jax.numpy.where(count < 25, 0.3, 1e30)
    monkeypatch.setattr(optimizers, "learning_rate_schedule", schedule)
    summary = train(with_settings(QUICK, inner="sgd"))
    assert (summary["status"], summary["best_epoch"]) == ("diverged", 1)
    assert 25 <= summary["steps"] < 38
    assert summary["test_accuracy"] > 0.2


@pytest.mark.nightly
@pytest.mark.usefixtures("foreground")
def test_an_interrupt_ends_the_run_in_order(tmp_path, monkeypatch):
    """Ctrl-C in the second epoch: the run stops there, is evaluated, and all its files are written."""
    run_epoch = Loop.run_epoch

    def interrupted_in_the_second(loop):
        if loop.step:
            signal.raise_signal(signal.SIGINT)
        return run_epoch(loop)

    monkeypatch.setattr(Loop, "run_epoch", interrupted_in_the_second)
    summary = train(QUICK, tmp_path / "r")
    assert summary["status"] == "interrupted"
    assert 19 < summary["steps"] < 57
    assert summary["exact_vectors"] == summary["total_vectors"] == 26
    assert {"summary.json", "weights.safetensors", "curves.png"} <= {file.name for file in (tmp_path / "r").iterdir()}
    assert len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.usefixtures("foreground")
def test_the_second_interrupt_is_raised():
    with heard_interrupt() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.nightly
def test_a_run_in_another_thread_leaves_signals_alone():
    result = {}
    thread = threading.Thread(target=lambda: result.update(train(with_settings(QUICK, epochs=1))))
    thread.start()
    thread.join()
    assert result["status"] == "finished"


def test_it_reports_to_a_console(capsys):
    train(with_settings(QUICK, epochs=7), console=Console(width=80))
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split()[1]) for line in lines] == [1, 5, 7]  # into a pipe, every fifth
    assert all("reconnected" in line and "free" in line for line in lines)
    assert lines[1].startswith("epoch   5  loss ")


@pytest.mark.nightly
def test_no_out_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(with_settings(QUICK, epochs=1))
    assert not list(Path().iterdir())


@pytest.mark.nightly
def test_error_feedback_lets_two_values_learn(tmp_path):
    levels = with_settings(QUICK, widths=(64,), epochs=12, init="levels:2", sync_period=5, learning_rate=4e-3)
    without = train(levels)
    summary = train(with_settings(levels, error_feedback=True), tmp_path / "r")
    assert summary["error_feedback"]
    assert summary["exact_vectors"] == summary["total_vectors"] > 0
    assert summary["test_accuracy"] > without["test_accuracy"] + 0.1


def test_error_feedback_needs_a_sync_period():
    with pytest.raises(ConfigError, match="--error-feedback needs a --sync-period"):
        train(with_settings(QUICK, sync_period=None, error_feedback=True))


def test_residual_noise_begins_the_residual_and_needs_error_feedback():
    config = with_settings(QUICK, error_feedback=True, residual_noise=0.5, init="levels:2", epochs=None, steps=1)
    run = small(resolve(config))
    state = run.init_state()
    kernels = leaves_by_path(state.params)
    for path, residual in leaves_by_path(state.opt_state.residual).items():
        assert abs(np.std(residual) / np.std(kernels[path]) - 0.5) < 0.1
    with pytest.raises(ConfigError, match="--residual-noise needs --error-feedback"):
        train(with_settings(QUICK, residual_noise=0.5))
