"""Language end to end, on a text of its own: runs, what is freed, frozen and taken over, and what is written."""

import json

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from laperm_jax._paths import map_by_path
from laperm_jax.lab.cli import app as cli
from laperm_jax.lab.config import DEFAULTS, ConfigError, resolve, with_settings
from laperm_jax.lab.data import datasets
from laperm_jax.lab.data.datasets import Text
from laperm_jax.lab.inspection import packing, replay, sampling
from laperm_jax.lab.models.networks import Variables
from laperm_jax.lab.runs import run
from laperm_jax.lab.runs.weights import to_numpy
from laperm_jax.lab.training.build import build_evaluation
from laperm_jax.lab.training.seeds import transfer_order
from tests.codec import decoder
from tests.lab.training.helpers import small
from tests.runs import files, stopped_after

pytestmark = [pytest.mark.usefixtures("compiled_once"), pytest.mark.nightly]

CONFIG = with_settings(
    DEFAULTS["language"],
    layers=1,
    features=16,
    heads=2,
    context=8,
    batch_size=16,
    epochs=2,
    sync_period=5,
    learning_rate=1e-2,
    init="lecun_normal",
)
_CYCLE = np.arange(2001, dtype=np.uint8) % 7  # what comes next is certain
TEXT = Text(_CYCLE, _CYCLE[:101], _CYCLE[:201], b"\n:EMORZ")


@pytest.fixture(scope="module", autouse=True)
def text():
    """Stands in the place of tiny_shakespeare."""
    with pytest.MonkeyPatch.context() as patch:
        for function in ("load", "load_text"):
            patch.setattr(datasets, function, lambda name, data_dir=None: TEXT)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "language"
    return folder, run.train(CONFIG, folder)


def test_reordering_learns_what_comes_next(finished):
    _, summary = finished
    assert summary["test_loss"] < 0.5 * np.log(7)
    assert summary["exact_vectors"] == summary["total_vectors"] == 16 * 4 + 64 + 16 + 7
    assert {"val_loss", "val_loss_free", "test_loss_free", "sample"} <= summary.keys()
    assert "test_accuracy" not in summary


def test_the_best_epoch_is_that_of_the_smallest_loss(finished):
    folder, summary = finished
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = min(records, key=lambda record: record["val_loss"])
    assert (summary["best_epoch"], summary["val_loss"]) == (best["epoch"], best["val_loss"])


def test_the_reported_loss_is_that_of_the_weights_in_the_file(finished):
    folder, summary = finished
    task, network, evaluator = build_evaluation(resolve(CONFIG), TEXT)
    final = load_file(folder / "weights.safetensors")
    params = map_by_path(lambda path, _: final[path], network.shapes.params)
    assert evaluator.score(Variables(params, {}), task.test) == summary["test_loss"]


@pytest.mark.nightly
def test_a_stopped_run_goes_on_to_the_same_bits(finished, tmp_path):
    folder, _ = finished
    with stopped_after(17):
        assert run.train(CONFIG, tmp_path / "run", resume=True)["status"] == "interrupted"
    run.train(CONFIG, tmp_path / "run", resume=True)
    assert files(tmp_path / "run") == files(folder)


def trained(**settings):
    """Initial and final weights of a few updates, and what is reordered."""
    run = small(resolve(CONFIG), **settings)
    state, _ = run.updates(run.init_state(), 0, 6)
    final = run.training.reconnected_params(state.opt_state, state.params)
    return to_numpy(run.initial.variables.params), to_numpy(final), run.axes


@pytest.mark.nightly
def test_what_is_frozen_stays_and_what_is_freed_is_not_reordered():
    initial, final, axes = trained(freeze=("query", "embedding"), free=("/up/",))
    stays = {path for path in initial if (initial[path] == final[path]).all()}
    assert stays == {path for path in initial if "query" in path or "embedding" in path}
    kernels = {path for path in initial if path.endswith("kernel")}
    assert kernels - axes.keys() == {"blocks/0/attention/query/kernel", "blocks/0/up/kernel"}
    assert not np.isin(final["blocks/0/up/kernel"], initial["blocks/0/up/kernel"]).any()


@pytest.mark.nightly
def test_embeddings_are_reordered_where_asked_for():
    initial, final, axes = trained(permute_embeddings=True)
    assert axes["tokens/embedding"] == axes["positions/embedding"] == (0,)
    before, after = initial["tokens/embedding"], final["tokens/embedding"]
    assert (before != after).any()
    np.testing.assert_array_equal(np.sort(before, axis=0), np.sort(after, axis=0))


@pytest.mark.parametrize("option", ["free", "freeze"])
def test_patterns_that_match_nothing_are_refused(option):
    with pytest.raises(ConfigError, match=rf"--{option} qurey is found in no path; there are .*attention/query/kernel"):
        trained(**{option: ("qurey",)})
    with pytest.raises(ConfigError, match=rf"--{option} \( is not a valid regular expression"):
        trained(**{option: ("(",)})


@pytest.mark.nightly
def test_other_values_take_over_the_order_of_a_run(finished):
    folder, _ = finished
    source, run = load_file(folder / "weights.safetensors"), small(resolve(CONFIG), seeds=(3,), init="levels:2")
    placed = transfer_order(run.initial, source, run.axes).variables.params
    up = np.asarray(placed["blocks"][0]["up"]["kernel"])
    assert len(np.unique(up)) == 2
    order = np.argsort(source["blocks/0/up/kernel"], axis=0)
    assert (np.diff(np.take_along_axis(up, order, axis=0), axis=0) >= 0).all()
    np.testing.assert_array_equal(placed["tokens"]["embedding"], source["tokens/embedding"])


def test_a_run_of_another_network_is_refused_as_a_start(finished):
    folder, _ = finished
    with pytest.raises(ConfigError, match=r"--start is a run of another network: it has no .* of shape"):
        run.train(with_settings(CONFIG, start=folder, features=32))
    with pytest.raises(ConfigError, match=r"--start .*nowhere holds no weights.safetensors: name the folder of a run"):
        run.train(with_settings(CONFIG, start=folder / "nowhere"))


@pytest.mark.nightly
def test_the_score_at_the_start_is_that_of_the_order_taken_over(finished, tmp_path):
    folder, summary = finished
    again = run.train(with_settings(CONFIG, start=folder, epochs=1), tmp_path / "run")
    assert again["test_loss_start"] == summary["test_loss"]  # the same values in the same order
    with pytest.raises(ConfigError, match="began with the order of another run"):
        replay.replay(tmp_path / "run")


@pytest.mark.nightly
def test_it_writes_on_and_the_seed_decides_what(finished):
    folder, _ = finished
    text = sampling.sample(folder, "EMO", length=40, temperature=0)
    assert text.startswith("EMO")
    assert len(text) == 43
    follows = sum(text[place : place + 2] in "\n:EMORZ\n" for place in range(42))
    assert follows >= 35  # most of what comes next is right
    drawn = [sampling.sample(folder, "E", length=40, temperature=5, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_of_a_long_prompt_the_end_is_seen(finished):
    folder, _ = finished
    long = "EMORZ\n:" * 5
    assert sampling.sample(folder, long, length=9, temperature=0) == long + sampling.sample(
        folder, long[-8:], length=9, temperature=0
    ).removeprefix(long[-8:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", ""], "--prompt is empty"),
        (["--prompt", "Ex"], "the text holds 'x'; the characters known are"),
        (["--length", "-1"], "--length is -1; it must be 0 or greater"),
        (["--temperature", "nan"], "--temperature is nan; it must be 0 or greater"),
    ],
)
def test_wrong_arguments_of_sample(finished, capsys, arguments, message):
    assert cli.main(["sample", str(finished[0]), *arguments]) == cli.BAD_INPUT
    assert message in capsys.readouterr().err


def test_laperm_sample(finished, capsys):
    assert cli.main(["sample", str(finished[0]), "--prompt", "EM", "--length", "5"]) == 0
    assert capsys.readouterr().out.startswith("EM")


@pytest.mark.nightly
def test_it_is_packed_and_another_decoder_reads_it(finished, tmp_path, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr(datasets, "shapes", lambda config: ((config.model.context,), 7))
    packing.pack(folder, tmp_path / "net.laperm")
    packing.unpack(tmp_path / "net.laperm", tmp_path / "out")
    file = (folder / "weights.safetensors").read_bytes()
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == file
    decoded = decoder.decode((tmp_path / "net.laperm").read_bytes())
    for path, array in load_file(folder / "weights.safetensors").items():
        assert decoded[path].tobytes() == array.tobytes()


def test_laperm_train_begins_with_the_defaults_of_the_task():
    config = cli.parse(["train", "--task", "language", "--steps", "1000", "--learning-rate", "1e-3"])
    assert config.config == with_settings(DEFAULTS["language"], steps=1000, learning_rate=1e-3)


@pytest.mark.parametrize("values", ["2", "15.0"])
@pytest.mark.parametrize("model", [[], ["--model", "transformer"]])
def test_a_transformer_of_few_values_syncs_at_every_step_and_begins_with_noise(values, model):
    sync = cli.parse(["train", "--task", "language", "--init", f"levels:{values}:0.05", *model]).config.sync
    assert (sync.sync_period, sync.error_feedback, sync.residual_noise) == (1, True, 1.0)


@pytest.mark.nightly
def test_it_reports_losses(tmp_path):
    console = Console(record=True, width=200)
    run.train(with_settings(CONFIG, epochs=1), tmp_path / "run", console=console)
    assert "%" not in console.export_text().split("warning")[0]
    assert (tmp_path / "run" / "curves.png").stat().st_size > 0
