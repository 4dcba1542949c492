"""``laperm train``."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from laperm_jax.lab.cli import BROKEN_PIPE, DIVERGED, INTERRUPTED
from laperm_jax.lab.cli.options import DataDir
from laperm_jax.lab.cli.output import Output
from laperm_jax.lab.config import DEFAULTS, TrainConfig, defaults_for, paper_preset, with_settings
from laperm_jax.lab.config.scores import SCORES, format_score

EXAMPLES = (
    "laperm train --out runs/digits                          # digits, a few seconds of training",
    "laperm train --preset paper --model f1 --out runs/f1    # a network of the paper, on MNIST",
    "laperm train --task language --steps 500 --resume --out runs/text",
)


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a network by reordering its random initial weights.

    The defaults take half a minute on two CPU cores, most of it to compile; Conv7 of the paper takes an hour there.
    Defaults of optimiser and sync are listed for the mlp: they depend on --task, --model, --init and --keep.
    Ctrl-C stops a run after the current step, and --resume resumes it.
    """

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = DEFAULTS["classification"]
    data_dir: DataDir = None
    out: Path | None = None
    """Folder for the results, such as runs/NAME; nothing is written without it."""
    resume: bool = False
    """Resume the run in --out, bit for bit as if it had not been stopped; start it if there is none yet."""


def with_defaults(command: Train, args: Sequence[str]) -> Train:
    """The options again, on top of the preset or of the defaults of the task and the kind of network that they name.

    Args:
      command: the options, parsed without them.
      args: the command line after ``train``.

    Raises:
      ConfigError: for a preset the model does not have.
    """
    given = command.config
    default = paper_preset(given.model.model) if given.preset else defaults_for(given)
    if default == TrainConfig():
        return command
    if given.optimizer.steps is not None and given.optimizer.epochs is None:
        default = with_settings(default, epochs=None)
    flat = (tyro.conf.OmitArgPrefixes,)
    chosen = tyro.cli(Train, args=list(args), prog="laperm train", default=Train(default), config=flat)
    if not chosen.config.sync.error_feedback and not given.sync.residual_noise:  # --no-error-feedback
        chosen = dataclasses.replace(chosen, config=with_settings(chosen.config, residual_noise=0.0))
    return chosen


def run(command: Train, console: Output) -> int:
    """Trains, and prints the result."""
    from laperm_jax.lab.runs.run import train

    summary = train(command.config, command.out, resume=command.resume, data_dir=command.data_dir, console=console)
    _print_result(command, summary, console)
    if console.pipe_is_broken:
        return BROKEN_PIPE
    match summary["status"]:
        case "diverged":
            if not summary["steps"]:
                console.print("stopped: the first loss is not finite; give smaller initial values by --init")
                return DIVERGED
            where = f"stopped after update {summary['steps']}"
            console.print(f"{where}: loss or weights are not finite any more; try a smaller --learning-rate")
            return DIVERGED
        case "interrupted":
            hint = f"; the same command with --resume resumes the run in {command.out}" if command.out else ""
            console.print(f"interrupted after update {summary['steps']}{hint}", soft_wrap=True)
            return INTERRUPTED
        case _:
            return 0


def _print_result(command: Train, summary: dict[str, Any], console: Output) -> None:
    score = SCORES[command.config.task]
    reconnected, free = (format_score(score, summary[f"test_{score}{kind}"]) for kind in ("", "_free"))
    chosen = f"of epoch {summary['best_epoch']}, chosen by validation"
    console.print(f"test {score} {reconnected} reconnected, {free} free, {chosen}")
    if command.config.sync.sync_period:
        vectors = f"{summary['exact_vectors']} of {summary['total_vectors']} weight vectors"
        console.print(f"{vectors} are exact permutations of their initial values")
    rate = f"{summary['examples_per_second']:,.0f} examples a second"
    console.print(f"{summary['steps']} updates, {summary['syncs']} syncs, {summary['train_seconds']:.1f} s, {rate}")
    where = f"results in {command.out}" if command.out else "nothing was written: --out runs/NAME keeps a run"
    console.print(where, soft_wrap=True)
