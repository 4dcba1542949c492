"""``laperm experiment``."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from laperm_jax.lab.cli import BROKEN_PIPE, INTERRUPTED
from laperm_jax.lab.cli.options import check_writable
from laperm_jax.lab.cli.output import Output
from laperm_jax.lab.cli.suggestions import did_you_mean
from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.config.names import ScaleName


@dataclasses.dataclass(frozen=True)
class Experiments:
    """List the experiments, run one, or write a report of all results.

    A run at --scale smoke takes seconds, at cpu up to an hour and a half on two cores, at full as long as the paper's.
    It can be stopped: the same command resumes it.
    """

    action: Positional[Literal["list", "run", "report"]]
    """What to do."""
    name: Annotated[str | None, Positional, tyro.conf.arg(metavar="NAME")] = None
    """Which experiment to run."""
    scale: ScaleName = "cpu"
    """Size of the networks to run, and length of their training; full has the paper's settings."""
    seeds: int | None = None
    """Number of seeds to run (by default the experiment's own)."""
    networks: tuple[str, ...] = ()
    """Names of the networks to run, as the results call them (by default all)."""
    variants: tuple[str, ...] = ()
    """Labels of the variants to run, as the results call them (by default all)."""
    results: Path = Path("results")
    """Folder of the results: a run is added to NAME/SCALE.jsonl in it, and a report is made of all of it."""
    out: Path | None = None
    """For `run`, a folder for SCALE.jsonl instead, which keeps the files of each run too, in
    SCALE.runs/NETWORK/VARIANT/seed-N. For `report`, the file to write (RESULTS/report.html)."""


def run(command: Experiments, console: Output) -> int:
    """Does what was asked for."""
    match command.action:
        case "list":
            return _list(console)
        case "run":
            return _run(command, console)
        case "report":
            return _report(command, console)


def _list(console: Output) -> int:
    from laperm_jax.lab.experiments.catalogue import EXPERIMENTS

    width = max(map(len, EXPERIMENTS)) + 2
    for experiment in EXPERIMENTS.values():
        console.print(f"{experiment.name:{width}}{experiment.question}", soft_wrap=True)
    return 0


def _run(command: Experiments, console: Output) -> int:
    from laperm_jax.lab.experiments.catalogue import EXPERIMENTS

    names = f"the experiments are {', '.join(EXPERIMENTS)}"
    if command.name is None:
        raise ConfigError(f"name the experiment to run: `laperm experiment run NAME`; {names}")
    if command.name not in EXPERIMENTS:
        meant = did_you_mean(command.name, list(EXPERIMENTS))
        raise ConfigError(f"there is no experiment {command.name}{meant or ';'} {names}")
    if command.seeds is not None and command.seeds < 1:
        raise ConfigError(f"--seeds is {command.seeds}; it must be 1 or more")
    out, keep = command.out or command.results / command.name, command.out is not None
    check_writable(out, folder=True)
    from laperm_jax.lab.experiments import runner

    which: dict[str, Any] = {"networks": command.networks, "variants": command.variants, "keep_runs": keep}
    table = out / f"{command.scale}.jsonl"
    if not runner.run(EXPERIMENTS[command.name], command.scale, command.seeds, out, console, **which):
        console.print(f"interrupted; finished runs are in {table}, and the same command resumes", soft_wrap=True)
        return BROKEN_PIPE if console.pipe_is_broken else INTERRUPTED
    console.print(f"results in {table}; `laperm experiment report` makes a page of them", soft_wrap=True)
    return BROKEN_PIPE if console.pipe_is_broken else 0


def _report(command: Experiments, console: Output) -> int:
    from laperm_jax.lab.experiments import report

    out = command.out or command.results / "report.html"
    check_writable(out)
    report.write(out, command.results)
    console.print(f"report in {out}", soft_wrap=True)
    return 0
