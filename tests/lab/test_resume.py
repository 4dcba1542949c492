"""Runs that are stopped and go on: the same bits, and nothing lost, whatever stopped them."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from laperm_jax.lab import run
from laperm_jax.lab.config import ConfigError, TrainConfig
from laperm_jax.lab.loop import Loop
from laperm_jax.lab.run import train, train_seeds

MLP = TrainConfig(widths=(16,), epochs=3, sync_period=10, learning_rate=2e-2)
CONV = TrainConfig(model="conv2", steps=5, sync_period=2, batch_size=16, reestimate_batchnorm=1)
CHANGING = {"train_seconds", "compile_seconds", "examples_per_second", "date"}


def files(path):
    """What a run leaves behind, without times."""
    without = lambda record: {name: value for name, value in record.items() if name not in CHANGING}
    metrics = [without(json.loads(line)) for line in (path / "metrics.jsonl").read_text().splitlines()]
    weights = {name: array.tobytes() for name, array in load_file(path / "weights.safetensors").items()}
    return without(json.loads((path / "summary.json").read_text())), metrics, weights


@pytest.fixture
def stop_after(monkeypatch):
    """Makes a signal come during the given update."""

    def stop(step, number=signal.SIGTERM):
        run_piece = Loop._run_piece

        def signalled(loop, order, start, end):
            if loop.step < step <= loop.step + end - start:
                signal.raise_signal(number)
                end = start + step - loop.step
            return run_piece(loop, order, start, end)

        monkeypatch.setattr(Loop, "_run_piece", signalled)

    return stop


@pytest.mark.parametrize(
    ("config", "steps"), [(MLP, [1]), (MLP, [10, 19, 30]), (MLP, [56]), (CONV, [3])], ids=lambda value: str(value)[:20]
)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(config, steps, tmp_path, stop_after, monkeypatch):
    train(dataclasses.replace(config, out=tmp_path / "whole"))
    stopped = dataclasses.replace(config, out=tmp_path / "stopped", resume=True)
    for step in steps:
        stop_after(step)
        summary = train(stopped)
        assert (summary["status"], summary["steps"]) == ("interrupted", step)
    monkeypatch.undo()
    train(stopped)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_seeds_side_by_side_go_on_together(tmp_path, stop_after, monkeypatch):
    configs = lambda name: [
        dataclasses.replace(MLP, seed=seed, out=tmp_path / name / str(seed), resume=True) for seed in (0, 1)
    ]
    train_seeds(configs("whole"))
    stop_after(25)
    assert [summary["steps"] for summary in train_seeds(configs("stopped"))] == [25, 25]
    monkeypatch.undo()
    train_seeds(configs("stopped"))
    for seed in ("0", "1"):
        assert files(tmp_path / "stopped" / seed) == files(tmp_path / "whole" / seed)


def test_seeds_that_have_no_checkpoint_in_common_begin_again(tmp_path, stop_after, monkeypatch):
    config = dataclasses.replace(MLP, resume=True)
    alone, together = (dataclasses.replace(config, seed=seed, out=tmp_path / str(seed)) for seed in (0, 1))
    stop_after(25)
    train(alone)
    monkeypatch.undo()
    summaries = train_seeds([alone, together])
    assert [summary["steps"] for summary in summaries] == [57, 57]
    assert len((tmp_path / "0" / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_finished_run_is_left_alone(tmp_path, monkeypatch):
    config = dataclasses.replace(MLP, out=tmp_path / "r", resume=True)  # there is none yet: it begins
    summary = train(config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*")}
    monkeypatch.setattr(run, "Trainer", None)
    assert train(config) == summary
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*")} == before


def flip_a_byte(checkpoint):
    """In the middle of the largest file: that of the arrays."""
    path = max((path for path in checkpoint.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(checkpoint):
    path = max((path for path in checkpoint.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_a_loss(checkpoint):
    path = checkpoint / "progress" / "metadata"
    path.write_text(path.read_text().replace('"train_loss": ', '"train_loss": 1'))


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        truncate,
        change_a_loss,
        lambda checkpoint: shutil.rmtree(checkpoint / "state"),
        lambda checkpoint: shutil.rmtree(checkpoint / "progress"),
        shutil.rmtree,
    ],
    ids=["flipped byte", "truncated", "changed loss", "no state", "no progress", "deleted"],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(damage, tmp_path, stop_after, monkeypatch, capsys):
    train(dataclasses.replace(MLP, out=tmp_path / "whole"))
    stopped = dataclasses.replace(MLP, out=tmp_path / "stopped", resume=True)
    stop_after(50)
    train(stopped)
    monkeypatch.undo()
    damage(tmp_path / "stopped" / "checkpoints" / "50")
    train(stopped, Console(width=80))
    output = capsys.readouterr().out
    assert damage is shutil.rmtree or f"the checkpoint {tmp_path}/stopped/checkpoints/50 " in output
    assert "going on after update 38 of 57" in output
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_where_every_checkpoint_is_damaged_the_run_is_refused(tmp_path, stop_after, monkeypatch):
    stopped = dataclasses.replace(MLP, out=tmp_path / "stopped", resume=True)
    stop_after(50)
    train(stopped)
    monkeypatch.undo()
    for checkpoint in (tmp_path / "stopped" / "checkpoints").iterdir():
        flip_a_byte(checkpoint)
    with pytest.raises(ConfigError, match="and there is none before it; remove the folder to begin again"):
        train(stopped)


def test_a_run_of_other_settings_is_refused(tmp_path):
    train(dataclasses.replace(MLP, epochs=1, out=tmp_path / "r"))
    with pytest.raises(ConfigError, match=r"holds a run of other settings \(sync_period, epochs\); give it the same"):
        train(dataclasses.replace(MLP, sync_period=5, out=tmp_path / "r", resume=True))
    with pytest.raises(ConfigError, match="--resume needs --out"):
        train(dataclasses.replace(MLP, resume=True))


def test_killed_at_any_moment_it_goes_on_to_the_same_bits(tmp_path):
    """Kill -9 at random moments, before the first checkpoint, while one is saved, and while the files are written."""
    config = {"widths": "16", "epochs": "40", "sync-period": "10"}
    options = [word for name, value in config.items() for word in (f"--{name}", value)]
    command = lambda name: [
        *(sys.executable, "-m", "laperm_jax.cli", "train", *options),
        *("--resume", "--out", str(tmp_path / name)),
    ]
    environment = os.environ | {"TERM": "dumb"}
    started = time.monotonic()
    subprocess.run(command("whole"), check=True, capture_output=True, env=environment)
    whole_seconds = time.monotonic() - started
    random = np.random.default_rng(0)
    killed = 0
    for _ in range(5):
        process = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL, env=environment)
        try:
            process.wait(random.uniform(0.3, 1) * whole_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += process.wait() == -signal.SIGKILL
    assert killed
    subprocess.run(command("killed"), check=True, capture_output=True, env=environment)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
