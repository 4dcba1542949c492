"""The commands: a module for each, with its options and what it does."""

from collections.abc import Callable
from typing import Any, NamedTuple

from laperm_jax.lab.cli.commands import (
    bench,
    data,
    decompose,
    doctor,
    evaluate,
    experiment,
    pack,
    profile,
    sample,
    trace,
    train,
)
from laperm_jax.lab.cli.output import Output


class Command(NamedTuple):
    """A command: the dataclass of its options, and the function that runs it and returns the exit code."""

    options: type
    run: Callable[[Any, Output], int]
    examples: tuple[str, ...] = ()


COMMANDS: dict[str, Command] = {
    "train": Command(train.Train, train.run, train.EXAMPLES),
    "evaluate": Command(evaluate.EvaluateConfig, evaluate.run),
    "experiment": Command(experiment.Experiments, experiment.run),
    "bench": Command(bench.BenchConfig, bench.run),
    "data": Command(data.Data, data.run),
    "profile": Command(profile.Profile, profile.run),
    "decompose": Command(decompose.Decompose, decompose.run),
    "trace": Command(trace.Trace, trace.run),
    "sample": Command(sample.Sample, sample.run),
    "pack": Command(pack.Pack, pack.run),
    "unpack": Command(pack.Unpack, pack.run_unpack),
    "doctor": Command(doctor.Doctor, doctor.run),
}
