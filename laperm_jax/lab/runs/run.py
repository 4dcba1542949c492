"""A run from settings to summary."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from laperm_jax.lab.config import ConfigError, TrainConfig, resolve
from laperm_jax.lab.data import datasets
from laperm_jax.lab.runs import weights
from laperm_jax.lab.runs.console import ProgressFn, say
from laperm_jax.lab.runs.fit import SeedRun, fit
from laperm_jax.lab.runs.run_folder import Facts, Summary, check_folder, facts_of, read_start, read_summary
from laperm_jax.lab.runs.summary import summarize
from laperm_jax.lab.runs.writer import RunWriter
from laperm_jax.lab.training.build import Training, build_training
from laperm_jax.lab.training.loop import Loop
from laperm_jax.lab.training.seeds import draw_initial, transfer_order


def train(
    config: TrainConfig,
    out: Path | None = None,
    *,
    resume: bool = False,
    data_dir: Path | None = None,
    console: Console | None = None,
    on_progress: ProgressFn | None = None,
) -> Summary:
    """Trains a network.

    The epoch is chosen by the validation score of its reconnected weights, the latest on ties; the test examples are
    used once, for the chosen epoch. The first Ctrl-C or SIGTERM ends the run early and in order, the second one at
    once; ``resume`` continues it. A finished run is not repeated: its summary is returned.

    Args:
      config: settings.
      out: folder for the results; nothing is written if None.
      resume: resume the run in ``out``, bit for bit as if it had not been stopped; start it if there is none yet.
      data_dir: data directory of TensorFlow Datasets.
      console: where to report; nowhere if None.
      on_progress: called with the number of updates made and of all updates; a bar on the console if None.

    Returns:
      What ``summary.json`` holds. Accuracies are shares, losses nats or squares. ``status`` is ``finished``,
      ``interrupted`` or ``diverged``: a weight after update number ``steps``, or the loss of the next one, was not
      finite.

    Raises:
      ConfigError: for settings that cannot be run; if the dataset is not prepared or damaged; if ``out`` holds anything
        but the run to resume, or another process writes to it; if all its checkpoints are damaged.
      OutputError: if its files cannot be written any more; what was saved before is kept.

    Example:
      >>> from laperm_jax.lab.config import make_config
      >>> from laperm_jax.lab.runs.run import train
      >>> summary = train(make_config(widths=(32,), epochs=2, sync_period=5))
      >>> summary["status"], summary["exact_vectors"], summary["total_vectors"]
      ('finished', 42, 42)
    """
    (summary,) = train_seeds(
        [config], [out], resume=resume, data_dir=data_dir, console=console, on_progress=on_progress
    )
    return summary


def train_seeds(
    configs: Sequence[TrainConfig],
    outs: Sequence[Path | None],
    *,
    resume: bool = False,
    data_dir: Path | None = None,
    console: Console | None = None,
    on_progress: ProgressFn | None = None,
) -> list[Summary]:
    """Trains several seeds of one run side by side: each as :func:`train` does, but for rounding.

    Times are shared: each summary has the seconds of all seeds, divided by their number.

    Args:
      configs: settings that differ in ``seed`` only, without ``redraw``.
      outs: folder for the results of each seed.
      resume: as for :func:`train`.
      data_dir: as for :func:`train`.
      console: where to report the first seed; nowhere if None.
      on_progress: as for :func:`train`.

    Returns:
      The summary of each seed. If a loss or weight of one seed was not finite, all say ``diverged``: train them one by
      one.

    Raises:
      ConfigError: as :func:`train`.
      OutputError: as :func:`train`.
    """
    console = console or Console(quiet=True)
    configs = [resolve(config) for config in configs]
    start = read_start(path) if (path := configs[0].model.start) else None
    facts = [facts_of(config, start) for config in configs]
    if finished := _finished(outs, facts, resume):
        say(console, f"nothing to do: the run in {outs[0]} has ended")
        return finished
    training = build_training(configs[0], datasets.load(configs[0].data.dataset, data_dir))
    initials = [draw_initial(training.network, config.seed) for config in configs]
    if start:
        initials = [transfer_order(initial, start, training.method.axes) for initial in initials]
    with contextlib.ExitStack() as stack:
        open_folder = lambda out, facts: stack.enter_context(RunWriter(out, facts, resume)) if out else None
        writers = map(open_folder, outs, facts)
        seeds = [SeedRun(training, *of_seed) for of_seed in zip(initials, writers, strict=True)]
        loop, warnings = fit(training, seeds, console, on_progress)
        summaries = [_finish(config, training, loop, seed) for config, seed in zip(configs, seeds, strict=True)]
    for warning in warnings:
        say(console, f"warning: {warning}")
    return summaries


def _finished(outs: Sequence[Path | None], facts: Sequence[Facts], resume: bool) -> list[Summary]:
    """The summaries in the folders, if all runs have ended; checks that the runs can be written there."""
    if resume and None in outs:
        raise ConfigError("--resume needs --out, the folder of the run to resume")
    for out, of_seed in zip(outs, facts, strict=True):
        if out:
            check_folder(out, of_seed, resume)
    summaries = [summary for out in outs if out and (summary := read_summary(out))]
    return summaries if len(summaries) == len(outs) else []


def _finish(config: TrainConfig, training: Training, loop: Loop, seed: SeedRun) -> Summary:
    """Summarizes a seed, and writes its weights, pictures and summary."""
    summary = summarize(config, training, loop, seed.initial, seed.best)
    if seed.writer:
        initial, final = weights.to_numpy(seed.initial.variables.params), weights.to_numpy(seed.best.reconnected.params)
        final |= weights.to_numpy(seed.best.reconnected.batch_stats)
        seed.writer.finish(summary, initial, final, training.method.axes)
    return summary
