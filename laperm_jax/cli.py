"""The command ``laperm``."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

try:
    import tyro
    from rich.console import Console
except ModuleNotFoundError as error:
    raise SystemExit(f"the command `laperm` needs {error.name}: install laperm-jax[lab]") from None

from laperm_jax.lab.config import BenchConfig, ConfigError, DatasetName, TrainConfig, paper_preset

BAD_INPUT, DIVERGED, INTERRUPTED = 2, 1, 130  # exit codes


@dataclasses.dataclass(frozen=True)
class DataCommand:
    """Download a dataset and prepare it for training (needs TensorFlow: the extra [prepare])."""

    action: tyro.conf.Positional[Literal["prepare"]]
    """What to do."""
    name: tyro.conf.Positional[DatasetName]
    """Which dataset."""
    data_dir: Path | None = None
    """Data directory of TensorFlow Datasets (TFDS_DATA_DIR, or else ~/tensorflow_datasets)."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      args: command line without the program's name; ``sys.argv`` if None.

    Returns:
      The exit code: 0, 2 for bad input, 1 for a run that diverged, 130 for one that was interrupted.
    """
    args = sys.argv[1:] if args is None else list(args)
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    try:
        match command := parse(args):
            case TrainConfig():
                return _train(command, console)
            case BenchConfig():
                return _bench(command, console)
            case DataCommand():
                return _prepare(command, console)
    except ConfigError as error:
        errors.print(f"laperm: {error}", markup=False, soft_wrap=True)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    raise AssertionError(command)


def parse(args: Sequence[str]) -> TrainConfig | BenchConfig | DataCommand:
    """Parses a command line; options given override a preset.

    Raises:
      SystemExit: with 2 for unknown options and values of the wrong type, with 0 after ``--help``.
      ConfigError: for a preset the model does not have.
    """
    commands: dict[str, Callable[..., Any]] = {"train": TrainConfig, "bench": BenchConfig, "data": DataCommand}
    description = "Train neural networks by reordering their random initial weights."
    command = tyro.extras.subcommand_cli_from_dict(commands, args=args, prog="laperm", description=description)
    if isinstance(command, TrainConfig) and command.preset:
        preset = paper_preset(command.model)
        if command.steps is not None and command.epochs is None:
            preset = dataclasses.replace(preset, epochs=None)
        command = tyro.cli(TrainConfig, args=args[args.index("train") + 1 :], prog="laperm train", default=preset)
    return command


def _train(config: TrainConfig, console: Console) -> int:
    from laperm_jax.lab.run import train

    summary = train(config, console)
    console.print(
        f"test accuracy {summary['test_accuracy']:.2%} reconnected, {summary['test_accuracy_free']:.2%} free, of epoch "
        f"{summary['best_epoch']}, chosen by validation"
    )
    if config.sync_period:
        vectors = f"{summary['exact_vectors']} of {summary['total_vectors']} weight vectors"
        console.print(f"{vectors} are exact permutations of their initial values")
    rate = f"{summary['examples_per_second']:,.0f} examples a second"
    console.print(f"{summary['steps']} updates, {summary['syncs']} syncs, {summary['train_seconds']:.1f} s, {rate}")
    console.print(f"results in {config.out}" if config.out else "nothing was written: --out runs/NAME keeps a run")
    match summary["status"]:
        case "diverged":
            step = summary["steps"] + 1
            console.print(f"stopped: the loss of update {step} is not finite; try a smaller --learning-rate")
            return DIVERGED
        case "interrupted":
            console.print(f"interrupted after update {summary['steps']}")
            return INTERRUPTED
        case _:
            return 0


def _bench(config: BenchConfig, console: Console) -> int:
    from laperm_jax.lab import bench

    rows, _ = bench.run(config, console)
    for table in bench.tables(rows) if rows else ():
        console.print(table)
    if config.out:
        console.print(f"results in {config.out}")
    return 0


def _prepare(command: DataCommand, console: Console) -> int:
    from laperm_jax.lab import data

    try:
        folder = data.prepare(command.name, command.data_dir)
    except ModuleNotFoundError as error:
        raise ConfigError(f"preparing {command.name} needs {error.name}: install laperm-jax[prepare]") from None
    console.print(f"{command.name} is prepared in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
