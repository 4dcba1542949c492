"""One process at a time writes to a folder."""

import os
import signal
import subprocess
import sys

import pytest

from laperm_jax.lab.cli import app as cli
from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.runs.lock import locked
from laperm_jax.lab.runs.run import train
from tests.runs import MLP, stopped_after

pytestmark = pytest.mark.usefixtures("compiled_once")

HOLD = """
import sys, pathlib
from laperm_jax.lab.runs.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    """Starts processes that lock a folder until they are killed."""
    processes = []

    def hold(folder):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", HOLD, folder], text=True, **pipes)
        processes.append(process)
        assert process.stdout.readline() == "locked\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.nightly
def test_a_run_in_use_is_refused_until_its_process_is_killed(holder, tmp_path, capsys):
    with stopped_after(25):
        train(MLP, tmp_path / "run")
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    process = holder(tmp_path / "run")
    arguments = [
        "--widths",
        "16",
        "--epochs",
        "3",
        "--sync-period",
        "10",
        "--learning-rate",
        "2e-2",
        "--resume",
        "--out",
    ]
    assert cli.main(["train", *arguments, str(tmp_path / "run")]) == cli.BAD_INPUT
    assert capsys.readouterr().err.startswith(f"laperm: {tmp_path / 'run'} is in use by another process; wait")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert train(MLP, tmp_path / "run", resume=True)["status"] == "finished"


def test_a_new_run_is_refused_while_another_begins(holder, tmp_path):
    holder(tmp_path / "new")
    with pytest.raises(ConfigError, match="new is in use by another process"):
        train(MLP, tmp_path / "new")


def test_locked_is_released_at_the_end_of_the_block_and_by_errors(tmp_path):
    folder = tmp_path / "folder"
    with locked(folder), pytest.raises(ConfigError, match="folder is in use"), locked(folder):
        pass
    with pytest.raises(RuntimeError, match="inside"), locked(folder):
        raise RuntimeError("inside")
    with locked(folder):
        pass


@pytest.mark.nightly
def test_a_finished_run_needs_no_lock(holder, tmp_path):
    summary = train(MLP, tmp_path / "run")
    holder(tmp_path / "run")
    assert train(MLP, tmp_path / "run", resume=True) == summary
