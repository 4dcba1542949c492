"""The command ``laperm``."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

try:
    import absl.logging
    import tyro
    from rich.console import Console
except ModuleNotFoundError as error:
    raise SystemExit(f"the command `laperm` needs {error.name}: install laperm-jax[lab]") from None

from laperm_jax.codec import MAX_BYTES
from laperm_jax.lab.config import (
    DEFAULTS,
    ConfigError,
    OutputError,
    TrainConfig,
    paper_preset,
    with_settings,
)
from laperm_jax.lab.config.commands import BenchConfig, EvaluateConfig
from laperm_jax.lab.config.names import DatasetName, ScaleName

BAD_INPUT, DIVERGED, CANNOT_WRITE, INTERRUPTED = 2, 1, 74, 130  # exit codes


@dataclasses.dataclass(frozen=True)
class TrainCommand:
    """Train a network by reordering its random initial weights."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = DEFAULTS["classification"]
    data_dir: Path | None = None
    """Data directory of TensorFlow Datasets (TFDS_DATA_DIR, or else ~/tensorflow_datasets)."""
    out: Path | None = None
    """Folder for the results, such as runs/NAME; nothing is written without it."""
    resume: bool = False
    """Resume the run in --out, bit for bit as if it had not been stopped; start it if there is none yet."""


@dataclasses.dataclass(frozen=True)
class DataCommand:
    """Download a dataset and prepare it for training (needs TensorFlow: the extra [prepare])."""

    action: tyro.conf.Positional[Literal["prepare"]]
    """What to do."""
    name: tyro.conf.Positional[DatasetName]
    """Which dataset."""
    data_dir: Path | None = None
    """Data directory of TensorFlow Datasets (TFDS_DATA_DIR, or else ~/tensorflow_datasets)."""


@dataclasses.dataclass(frozen=True)
class ExperimentCommand:
    """Experiments, of the paper and past it: list them, run one, or make a page of all results."""

    action: tyro.conf.Positional[Literal["list", "run", "report"]]
    """What to do."""
    name: tyro.conf.Positional[str | None] = None
    """Which experiment to run."""
    scale: ScaleName = "cpu"
    """Of a run: smoke takes seconds, cpu less than an hour on two cores, full has the paper's settings."""
    seeds: int | None = None
    """Of a run: number of seeds (by default the experiment's own)."""
    results: Path = Path("results")
    """Folder of the results: a run is added to NAME/SCALE.jsonl in it, and a report is made from all of it."""
    out: Path | None = None
    """Of a run: folder for SCALE.jsonl instead, in which the files of each run are kept too, in
    SCALE.runs/NETWORK/VARIANT/seed-N. Of a report: the file to write (results/report.html)."""


@dataclasses.dataclass(frozen=True)
class DecomposeCommand:
    """Take a run's network apart into common values, places and residual, and see what each is worth."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    data_dir: Path | None = None
    """Data directory of TensorFlow Datasets (TFDS_DATA_DIR, or else ~/tensorflow_datasets)."""


@dataclasses.dataclass(frozen=True)
class TraceCommand:
    """Draw how the values of a kernel travelled: the run is made again, up to the epoch that was chosen."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    layer: str | None = None
    """Path of the kernel, as dense1/kernel (the first)."""
    out: Path = Path("trace.png")
    """Picture to write."""
    data_dir: Path | None = None
    """Data directory of TensorFlow Datasets (TFDS_DATA_DIR, or else ~/tensorflow_datasets)."""


@dataclasses.dataclass(frozen=True)
class PackCommand:
    """Pack the network of a run as a seed and permutations: a third of its size, and less where weights are sparse."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    file: tyro.conf.Positional[Path]
    """File to write, as net.laperm."""
    store_values: bool = False
    """Store the initial values as well, for machines whose JAX draws other numbers."""


@dataclasses.dataclass(frozen=True)
class UnpackCommand:
    """Unpack a network: write weights.safetensors, byte for byte the run's own."""

    file: tyro.conf.Positional[Path]
    """File that `laperm pack` has written."""
    out: tyro.conf.Positional[Path]
    """Folder to write to."""
    max_bytes: int = MAX_BYTES
    """Size of the weights that is not exceeded: a short file can name a long array."""


@dataclasses.dataclass(frozen=True)
class SampleCommand:
    """Write text with the language model of a run."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    prompt: str = "ROMEO:"
    """Text to continue."""
    length: int = 500
    """Characters to add."""
    temperature: float = 0.8
    """Divides the logits; 0 takes the likeliest character each time."""
    seed: int = 0
    """Of what is drawn."""
    data_dir: Path | None = None
    """Data directory of TensorFlow Datasets (TFDS_DATA_DIR, or else ~/tensorflow_datasets)."""


@dataclasses.dataclass(frozen=True)
class ProfileCommand:
    """Look at the weight profiles of a run, before and after training, or of a file of weights."""

    path: tyro.conf.Positional[Path]
    """Folder of a run, or a file: *.laperm, *.safetensors, or Keras's *.h5."""
    outputs: Literal["auto", "first", "last"] = "auto"
    """Of a file: the axis of a kernel that numbers output units. auto: first if it is called `weight`, else last."""
    out: Path | None = None
    """Picture to write, as profiles.png."""


Command = (
    TrainCommand
    | BenchConfig
    | EvaluateConfig
    | ExperimentCommand
    | DataCommand
    | DecomposeCommand
    | PackCommand
    | ProfileCommand
    | SampleCommand
    | TraceCommand
    | UnpackCommand
)


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      args: command line without the program's name; ``sys.argv`` if None.

    Returns:
      The exit code: 0, 2 for bad input, 1 for a run that diverged, 74 for one whose files cannot be written, 130 for
      one that was interrupted.
    """
    args = sys.argv[1:] if args is None else list(args)
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    absl.logging.set_verbosity(absl.logging.FATAL)  # of what Orbax says at length, we print a sentence
    try:
        match command := parse(args):
            case TrainCommand():
                return _train(command, console)
            case BenchConfig():
                return _bench(command, console)
            case EvaluateConfig():
                return _evaluate(command, console)
            case ExperimentCommand():
                return _experiment(command, console)
            case DataCommand():
                return _prepare(command, console)
            case ProfileCommand():
                return _profile(command, console)
            case DecomposeCommand():
                return _decompose(command, console)
            case TraceCommand():
                return _trace(command, console)
            case SampleCommand():
                return _sample(command, console)
            case PackCommand():
                return _pack(command, console)
            case UnpackCommand():
                return _unpack(command, console)
    except ConfigError as error:
        errors.print(f"laperm: {error}", markup=False, soft_wrap=True)
        return BAD_INPUT
    except OutputError as error:
        errors.print(f"laperm: {error}", markup=False, soft_wrap=True)
        return CANNOT_WRITE
    except KeyboardInterrupt:
        return INTERRUPTED
    raise AssertionError(command)


def parse(args: Sequence[str]) -> Command:
    """Parses a command line; options given override a preset, and the defaults of a task.

    Raises:
      SystemExit: with 2 for unknown options and values of the wrong type, with 0 after ``--help``.
      ConfigError: for a preset the model does not have.
    """
    commands: dict[str, Callable[..., Any]] = {
        "train": TrainCommand,
        "evaluate": EvaluateConfig,
        "experiment": ExperimentCommand,
        "bench": BenchConfig,
        "data": DataCommand,
        "profile": ProfileCommand,
        "decompose": DecomposeCommand,
        "trace": TraceCommand,
        "sample": SampleCommand,
        "pack": PackCommand,
        "unpack": UnpackCommand,
    }
    description = "Train neural networks by reordering their random initial weights."
    flat = (tyro.conf.OmitArgPrefixes,)
    command = tyro.extras.subcommand_cli_from_dict(
        commands, args=args, prog="laperm", description=description, config=flat
    )
    if isinstance(command, TrainCommand) and (command.config.preset or command.config.task != "classification"):
        default = TrainCommand(_default(command.config))
        args = args[args.index("train") + 1 :]
        command = tyro.cli(TrainCommand, args=args, prog="laperm train", default=default, config=flat)
    return command


def _default(given: TrainConfig) -> TrainConfig:
    """What the options replace: a preset, or the defaults of a task."""
    default = paper_preset(given.model.model) if given.preset else DEFAULTS[given.task]
    only_steps = given.optimizer.steps is not None and given.optimizer.epochs is None
    return with_settings(default, epochs=None) if only_steps else default


def _train(command: TrainCommand, console: Console) -> int:
    from laperm_jax.lab.config.scores import SCORES, format_score
    from laperm_jax.lab.runs.run import train

    config = command.config
    summary = train(config, command.out, resume=command.resume, data_dir=command.data_dir, console=console)
    score = SCORES[config.task]
    reconnected, free = (format_score(score, summary[f"test_{score}{kind}"]) for kind in ("", "_free"))
    chosen = f"of epoch {summary['best_epoch']}, chosen by validation"
    console.print(f"test {score} {reconnected} reconnected, {free} free, {chosen}")
    if config.sync.sync_period:
        vectors = f"{summary['exact_vectors']} of {summary['total_vectors']} weight vectors"
        console.print(f"{vectors} are exact permutations of their initial values")
    rate = f"{summary['examples_per_second']:,.0f} examples a second"
    console.print(f"{summary['steps']} updates, {summary['syncs']} syncs, {summary['train_seconds']:.1f} s, {rate}")
    where = f"results in {command.out}" if command.out else "nothing was written: --out runs/NAME keeps a run"
    console.print(where, soft_wrap=True)
    match summary["status"]:
        case "diverged":
            where = f"stopped after update {summary['steps']}"
            console.print(f"{where}: loss or weights are not finite any more; try a smaller --learning-rate")
            return DIVERGED
        case "interrupted":
            hint = f"; the same command with --resume goes on in {command.out}" if command.out else ""
            console.print(f"interrupted after update {summary['steps']}{hint}", soft_wrap=True)
            return INTERRUPTED
        case _:
            return 0


def _bench(config: BenchConfig, console: Console) -> int:
    from laperm_jax.lab.benchmark import bench

    rows, _ = bench.run(config, console)
    for table in bench.tables(rows) if rows else ():
        console.print(table)
    if config.out:
        console.print(f"results in {config.out}", soft_wrap=True)
    return 0


def _evaluate(config: EvaluateConfig, console: Console) -> int:
    from laperm_jax.lab.inspection import evaluation

    accuracy, counts = evaluation.evaluate(config)
    console.print(evaluation.table(counts))
    console.print(f"test_accuracy {accuracy:.4f}")
    return 0


def _experiment(command: ExperimentCommand, console: Console) -> int:
    from laperm_jax.lab.experiments.catalogue import EXPERIMENTS

    if command.action == "list":
        for experiment in EXPERIMENTS.values():
            console.print(f"{experiment.name:20}{experiment.question}", soft_wrap=True)
        return 0
    if command.action == "report":
        from laperm_jax.lab.experiments import report

        out = command.out or command.results / "report.html"
        report.write(out, command.results)
        console.print(f"report in {out}", soft_wrap=True)
        return 0
    if command.name not in EXPERIMENTS:
        raise ConfigError(f"there is no experiment {command.name}; there are {', '.join(EXPERIMENTS)}")
    if command.seeds is not None and command.seeds < 1:
        raise ConfigError(f"--seeds is {command.seeds}; it must be 1 or more")
    from laperm_jax.lab.experiments import runner

    out, keep = command.out or command.results / command.name, command.out is not None
    table = out / f"{command.scale}.jsonl"
    if not runner.run(EXPERIMENTS[command.name], command.scale, command.seeds, out, console, keep_runs=keep):
        console.print(f"interrupted; finished runs are in {table}, and the same command resumes", soft_wrap=True)
        return INTERRUPTED
    console.print(f"results in {table}; `laperm experiment report` makes a page of them", soft_wrap=True)
    return 0


def _prepare(command: DataCommand, console: Console) -> int:
    from laperm_jax.lab.data import datasets

    try:
        folder = datasets.prepare(command.name, command.data_dir)
    except ModuleNotFoundError as error:
        raise ConfigError(f"preparing {command.name} needs {error.name}: install laperm-jax[prepare]") from None
    console.print(f"{command.name} is prepared in {folder}", soft_wrap=True)
    return 0


def _profile(command: ProfileCommand, console: Console) -> int:
    from laperm_jax.lab.inspection import profiling, weight_files

    console.print(profiling.profile(weight_files.read(command.path, command.outputs), command.out))
    if command.out:
        console.print(f"picture in {command.out}", soft_wrap=True)
    return 0


def _decompose(command: DecomposeCommand, console: Console) -> int:
    from laperm_jax.lab.inspection import decomposing

    for table in decomposing.tables(decomposing.decompose_run(command.run, command.data_dir)):
        console.print(table)
    return 0


def _trace(command: TraceCommand, console: Console) -> int:
    from laperm_jax.lab.inspection import tracing
    from laperm_jax.lab.runs import plots

    plots.check_picture(command.out)
    with console.status("making the run again"):
        traced = tracing.trace(command.run, command.layer, command.data_dir)
    tracing.draw(traced, command.out)
    last = "the run's own, bit for bit" if traced.same else "not the run's own: this machine rounds otherwise"
    console.print(f"picture in {command.out}; the last weights in it are {last}", soft_wrap=True)
    return 0


def _sample(command: SampleCommand, console: Console) -> int:
    from laperm_jax.lab.inspection import sampling

    console.print(sampling.sample(**dataclasses.asdict(command)), markup=False, soft_wrap=True)
    return 0


def _pack(command: PackCommand, console: Console) -> int:
    from laperm_jax.lab.inspection import packing

    size, packed = packing.pack(command.run, command.file, store_values=command.store_values)
    console.print(
        f"{command.file}: {packed:,} bytes, {packed / size:.1%} of the {size:,} of its weights", soft_wrap=True
    )
    return 0


def _unpack(command: UnpackCommand, console: Console) -> int:
    from laperm_jax.lab.inspection import packing

    target = packing.unpack(command.file, command.out, max_bytes=command.max_bytes)
    console.print(f"{target}: the weights that were packed, bit for bit", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
