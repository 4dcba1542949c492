"""The command line: parsing, presets, exit codes and sentences."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from laperm_jax.lab.cli import app as cli
from laperm_jax.lab.config import ConfigError, TrainConfig, make_config, paper_preset, settings
from laperm_jax.lab.data import datasets

QUICK = ["train", "--widths", "16", "--epochs", "2", "--sync-period", "10"]


def test_no_arguments_are_the_defaults():
    assert cli.parse(["train"]) == cli.TrainCommand()


def test_options():
    line = (
        "train --dataset mnist --widths 30 20 --keep 0.5 0.25 0.1 --init shared:0.08 --augment --out runs/a --steps 9"
    )
    config = make_config(
        dataset="mnist",
        widths=(30, 20),
        keep=(0.5, 0.25, 0.1),
        init="shared:0.08",
        augment=True,
        steps=9,
    )
    assert cli.parse(line.split()) == cli.TrainCommand(config, out=Path("runs/a"))


@pytest.mark.parametrize("model", ["f1", "f2", "conv2", "conv4", "conv7", "conv13", "resnet50"])
def test_a_preset_sets_everything(model):
    assert cli.parse(["train", "--preset", "paper", "--model", model]) == cli.TrainCommand(paper_preset(model))


def test_options_override_a_preset_wherever_they_stand():
    line = "train --epochs 2 --no-augment --preset paper --model conv7 --sync-period 40"
    config = cli.parse(line.split()).config
    assert (config.optimizer.epochs, config.data.augment, config.sync.sync_period) == (2, False, 40)
    assert (config.data.batch_size, config.sync.permute_biases, config.data.dataset) == (50, True, "mnist")
    config = cli.parse(["train", "--preset", "paper", "--model", "conv7", "--steps", "7"]).config
    assert (config.optimizer.epochs, config.optimizer.steps) == (None, 7)


def test_a_preset_the_model_does_not_have():
    with pytest.raises(ConfigError, match="preset paper has no row for model mlp"):
        cli.parse(["train", "--preset", "paper"])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "train --no-such 3",
        "train --model vgg",
        "train --learning-rate fast",
        "data",
        "data prepare imagenet",
        "tran",
    ],
)
def test_what_cannot_be_parsed_exits_with_2(line, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(line.split())
    assert exit_.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["train", "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert all(
        f"--{name.replace('_', '-')}" in text for name in {*settings(TrainConfig()), "out", "resume", "data_dir"}
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --sync-period 0", "laperm: --sync-period is 0; it must be from 1 to 2147483647\n"),
        ("train --learning-rate -0.5", "laperm: --learning-rate is -0.5; it must be greater than 0\n"),
        ("train --model conv13", "laperm: conv13 does not fit images of 8 x 8 x 1: nothing is left of the image"),
        ("train --preset paper", "laperm: preset paper has no row for model mlp; it has f1, f2, conv2"),
        ("data prepare digits", "laperm: digits come with scikit-learn: there is nothing to prepare\n"),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_2(line, message, capsys):
    assert cli.main(line.split()) == 2
    output = capsys.readouterr()
    assert output.err.startswith(message)
    assert output.err.count("\n") == 1
    assert output.out == ""


def test_an_unprepared_dataset_names_folder_and_command(tmp_path, capsys):
    assert cli.main(["train", "--dataset", "mnist", "--data-dir", str(tmp_path)]) == 2
    assert (
        f"mnist is not prepared in {tmp_path}/mnist/3.0.1: run `laperm data prepare mnist`" in capsys.readouterr().err
    )


def test_preparing_without_tensorflow_names_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert cli.main(["data", "prepare", "mnist", "--data-dir", str(tmp_path)]) == 2
    assert "preparing mnist needs tensorflow: install laperm-jax[prepare]" in capsys.readouterr().err


def test_preparing_says_where(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(datasets, "prepare", lambda name, data_dir: data_dir / name)
    assert cli.main(["data", "prepare", "cifar10", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.replace("\n", "") == f"cifar10 is prepared in {tmp_path}/cifar10"


def test_train_prints_accuracy_and_proof(capsys):
    assert cli.main(QUICK) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch   1  loss ")
    assert "26 of 26 weight vectors are exact permutations of their initial values" in lines
    assert any(line.startswith("test accuracy ") for line in lines)
    assert "nothing was written: --out runs/NAME keeps a run" in lines


def test_without_a_sync_period_there_is_nothing_to_prove(capsys):
    assert cli.main([*QUICK, "--sync-period", "None"]) == 0
    assert "permutations" not in capsys.readouterr().out


def test_a_diverged_run_exits_with_1_and_names_the_step(capsys):
    assert cli.main([*QUICK, "--inner", "sgd", "--learning-rate", "1e30", "--schedule", "constant"]) == 1
    assert "stopped after update 1: loss or weights are not finite any more" in capsys.readouterr().out


def test_ctrl_c_leaves_a_readable_run(tmp_path):
    """The real thing: a process of its own, and a signal while it trains."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "laperm_jax.lab.cli.app", "train", "--epochs", "100000", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 120
    while not ((out / "metrics.jsonl").exists() and (out / "metrics.jsonl").stat().st_size):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "interrupted after update" in stdout
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert summary["exact_vectors"] == summary["total_vectors"] == 522
    assert f"the same command with --resume goes on in {out}" in stdout


def test_resuming_a_finished_run_says_so_and_exits_with_0(tmp_path, capsys):
    command = [*QUICK, "--out", str(tmp_path / "r"), "--resume"]
    assert cli.main(command) == 0
    first = capsys.readouterr().out.splitlines()
    assert cli.main(command) == 0
    second = capsys.readouterr().out.splitlines()
    assert second[0] == f"nothing to do: the run in {tmp_path / 'r'} has come to its end"
    assert second[1:] == first[-4:]
