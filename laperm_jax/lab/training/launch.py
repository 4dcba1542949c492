"""Starts a program as several processes of one JAX cluster on this machine, and stops all of them when one dies.

    python -m laperm_jax.lab.training.launch -n 2 --devices 4 examples/multi_process.py --out runs/two

On a cluster that JAX knows (Slurm, Open MPI, Kubernetes, TPU) use the cluster's launcher instead; the program stays the
same, and calls :func:`initialize` first.
"""

import argparse
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax

from laperm_jax.lab.training.signals import heard_interrupt

_ADDRESS, _COUNT, _NUMBER = "LAPERM_COORDINATOR_ADDRESS", "LAPERM_PROCESS_COUNT", "LAPERM_PROCESS_NUMBER"
_HEARTBEAT_SECONDS = 30  # after which the others notice that a process is gone
_POLL_SECONDS = 0.1
_STOP_SECONDS = 10  # from asking a process to end to killing it


def initialize() -> None:
    """Joins the processes that :func:`main` or a cluster's launcher has started; a single process continues alone.

    Call it before anything else of JAX.

    Example:
      >>> from laperm_jax.lab.training import launch
      >>> launch.initialize()  # nobody has launched this process
      >>> import jax
      >>> jax.process_count()
      1
    """
    if _ADDRESS in os.environ:
        jax.distributed.initialize(
            os.environ[_ADDRESS],
            num_processes=int(os.environ[_COUNT]),
            process_id=int(os.environ[_NUMBER]),
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        )
    elif launched_together(os.environ):
        jax.distributed.initialize(heartbeat_timeout_seconds=_HEARTBEAT_SECONDS)


def launched_together(environment: Mapping[str, str]) -> bool:
    """Whether the environment is that of one process among several.

    The presence of a cluster alone does not say so: a notebook on Kubernetes or in a Slurm allocation is one process.

    Args:
      environment: environment variables.

    Returns:
      True if Slurm or Open MPI has started several processes, a TPU slice has several hosts, the process is a pod of an
      indexed Kubernetes job, or a coordinator is named.

    Example:
      >>> from laperm_jax.lab.training.launch import launched_together
      >>> launched_together({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1"})
      False
      >>> launched_together({"OMPI_COMM_WORLD_SIZE": "4"})
      True
    """
    count = lambda name: int(environment.get(name) or 1)
    # Processes that srun starts have SLURM_STEP_NODELIST; a batch script is one process of the job, and has not.
    slurm = (
        "SLURM_STEP_NODELIST" in environment
        and count("SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS") > 1
    )
    mpi = count("OMPI_COMM_WORLD_SIZE") > 1
    tpu = any("," in environment.get(name, "") for name in ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES"))
    # JAX asks Kubernetes for the other pods of an indexed job, through a package of that name.
    indexed = {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= environment.keys()
    kubernetes = indexed and importlib.util.find_spec("kubernetes") is not None
    return slurm or mpi or tpu or kubernetes or "JAX_COORDINATOR_ADDRESS" in environment


def main(args: Sequence[str] | None = None) -> int:
    """Starts the processes and waits for them.

    Args:
      args: command line without the program's name; ``sys.argv`` if None.

    Returns:
      The exit code: 0 if all succeeded, else that of the first that failed, or 128 plus the number of its signal; 130
      after Ctrl-C or SIGTERM.
    """
    parser = argparse.ArgumentParser(
        prog="python -m laperm_jax.lab.training.launch", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("-n", type=int, default=2, metavar="PROCESSES", help="number of processes (2)")
    parser.add_argument("--devices", type=int, default=1, help="CPU devices of each process (1)")
    parser.add_argument("program", help="Python file to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args(args)
    if options.n < 1 or options.devices < 1:
        parser.error("-n and --devices must be 1 or more")
    if not Path(options.program).is_file():
        parser.error(f"{options.program} is not a file")
    processes: list[subprocess.Popen[bytes]] = []
    with heard_interrupt() as interrupted:
        try:
            processes.extend(_start(options))
            return _watch(processes, interrupted)
        finally:
            _stop(processes)


def _start(options: argparse.Namespace) -> Iterator[subprocess.Popen[bytes]]:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {
        _ADDRESS: f"localhost:{port}",
        _COUNT: str(options.n),
        "JAX_NUM_CPU_DEVICES": str(options.devices),
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
    }
    command = [sys.executable, options.program, *options.arguments]
    for number in range(options.n):
        yield subprocess.Popen(command, env=shared | {_NUMBER: str(number)})


def _watch(processes: Sequence[subprocess.Popen[bytes]], interrupted: Callable[[], bool]) -> int:
    """Waits until all processes have ended, one has failed, or a signal comes."""
    while not interrupted():
        codes = [process.poll() for process in processes]
        for number, code in enumerate(codes):
            if code:
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                print(f"launch: process {number} of {len(codes)} {how}; stopping the others", file=sys.stderr)
                return 128 - code if code < 0 else code
        if all(code == 0 for code in codes):
            return 0
        time.sleep(_POLL_SECONDS)
    print(f"launch: interrupted; stopping the {len(processes)} processes", file=sys.stderr)
    return 128 + signal.SIGINT


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Asks the processes that still run to end, and kills those that do not."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
