"""Several processes: initialize, and the launcher."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from laperm_jax.lab.training import launch

EXAMPLE = str(Path(__file__).parents[3] / "examples" / "multi_process.py")
OPTIONS = ["--steps", "200", "--out"]
LAUNCH = [sys.executable, "-m", "laperm_jax.lab.training.launch", "-n", "2", "--devices", "4", EXAMPLE, *OPTIONS]


def children(process):
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in tasks.read_text().split()]


@pytest.mark.nightly
def test_two_processes_train_like_one_even_after_one_is_killed(tmp_path, record_fault):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8"}
    alone = [sys.executable, EXAMPLE, *OPTIONS, str(tmp_path / "one")]
    done = subprocess.run(alone, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert "1 processes, 8 devices" in done.stdout
    assert "528 of 528 weight vectors exact" in done.stdout

    command = [*LAUNCH, str(tmp_path / "two")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (tmp_path / "two" / "checkpoints" / "50").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(children(process)[1], signal.SIGKILL)
    killed = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert "launch: process 1 of 2 was killed by SIGKILL; stopping the others" in errors
    assert time.monotonic() - killed < 60

    shutil.copytree(tmp_path / "two", tmp_path / "moved")
    moved = subprocess.run([*alone[:-1], str(tmp_path / "moved")], capture_output=True, text=True, check=True)
    assert "528 of 528 weight vectors exact" in moved.stdout
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "2 processes, 8 devices" in done.stdout
    assert "528 of 528 weight vectors exact" in done.stdout
    one, two, moved = (json.loads((tmp_path / name / "curve.json").read_text()) for name in ("one", "two", "moved"))
    assert len(two) == len(moved) == 200
    np.testing.assert_allclose(one, two, rtol=1e-4)
    np.testing.assert_allclose(one, moved, rtol=1e-4)  # from two processes with 8 devices to one with one
    assert two[-1] < two[0] / 5
    record_fault("one of two processes killed", 1, 1)


SLURM = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "4"}
STEP = {**SLURM, "SLURM_STEP_NODELIST": "node[1-2]"}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
MPI = {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1", "OMPI_COMM_WORLD_RANK": "0"}
ALONE = [
    {},
    {"SLURM_JOB_ID": "7"},
    SLURM,  # a batch script
    {**STEP, "SLURM_NTASKS": "1"},
    {**STEP, "SLURM_STEP_NUM_TASKS": "1"},  # an interactive shell within an allocation for four
    {**MPI, "OMPI_COMM_WORLD_SIZE": "1"},
    MPI,
    POD,
    {**POD, "JOB_COMPLETION_INDEX": "0"},  # without the package, JAX cannot ask for the other pods
    {**POD, "TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"},
]
TOGETHER = [
    STEP,
    {**STEP, "SLURM_STEP_NUM_TASKS": "2"},
    {**MPI, "OMPI_COMM_WORLD_SIZE": "2"},
    {**POD, "TPU_WORKER_HOSTNAMES": "host-0,host-1", "TPU_WORKER_ID": "0"},
    {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234"},
]


@pytest.fixture
def initialized(monkeypatch):
    """Calls of jax.distributed.initialize."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **kwargs: calls.append((args, kwargs)))
    monkeypatch.setattr(os, "environ", {})
    return calls


@pytest.mark.parametrize("environment", ALONE, ids=" ".join)
def test_initialize_leaves_a_process_alone(environment, initialized):
    os.environ.update(environment)
    launch.initialize()
    assert not initialized


@pytest.mark.parametrize("environment", TOGETHER, ids=" ".join)
def test_initialize_joins_a_cluster(environment, initialized):
    os.environ.update(environment)
    launch.initialize()
    ((args, kwargs),) = initialized
    assert not args
    assert kwargs.keys() == {"heartbeat_timeout_seconds"}


def test_initialize_joins_an_indexed_job_where_jax_can_ask_kubernetes(initialized, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "kubernetes" or None)
    os.environ.update({**POD, "JOB_COMPLETION_INDEX": "0"})
    launch.initialize()
    assert len(initialized) == 1


@pytest.mark.nightly
@pytest.mark.parametrize("variable", ["SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST", "OMPI_MCA_orte_hnp_uri"])
def test_a_process_alone_on_a_cluster_computes(variable):
    program = "from laperm_jax.lab.training import launch; launch.initialize(); import jax; print(jax.process_count())"
    environment = os.environ | {variable: "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_an_exit_code_is_passed_on(tmp_path, capfd):
    program = tmp_path / "program.py"
    program.write_text("import os, sys\nsys.exit(3 if os.environ['LAPERM_PROCESS_NUMBER'] == '1' else 0)\n")
    assert launch.main(["-n", "2", str(program)]) == 3
    assert "launch: process 1 of 2 ended with exit code 3" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_stops_all_processes(number, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import time\ntime.sleep(600)\n")
    command = [sys.executable, "-m", "laperm_jax.lab.training.launch", "-n", "2", str(program)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(started := children(process)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "launch: interrupted; stopping the 2 processes\n"
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["-n", "0", EXAMPLE], "-n and --devices must be 1 or more"), (["no_such.py"], "no_such.py is not a file")],
)
def test_wrong_arguments_get_a_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        launch.main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
