"""Results as runs would leave them, without training."""

from laperm_jax.lab.config import resolve, settings
from laperm_jax.lab.config.scores import SCORES
from laperm_jax.lab.experiments.results import Results
from laperm_jax.lab.experiments.table import Run, Table


def run_of(cell, curve=(), **entries):
    """The run of a cell with the given entries of its summary."""
    score = SCORES[cell.config.task]
    context = {"device": "a test", "date": "2026-01-01T00:00", "versions": {"jax": "0"}}
    summary = {f"test_{score}_free": 0.5, f"val_{score}": 0.5, **context, **entries}
    return Run(*cell.key, settings(resolve(cell.config)), summary, list(curve))


def write_results(folder, experiment, scale, summary_of, curve=(), seeds=None):
    """Writes the table of an experiment.

    Args:
      folder: where the results of all experiments are.
      experiment: the experiment.
      scale: its scale.
      summary_of: a function from a cell to entries of its summary; None leaves the cell out.
      curve: the metrics of every run.
      seeds: number of seeds.

    Returns:
      The results.
    """
    cells = list(experiment.cells(scale, seeds))
    runs = [run_of(cell, curve, **entries) for cell in cells if (entries := summary_of(cell)) is not None]
    table = Table(folder / experiment.name / f"{scale}.jsonl")
    table.add(runs, [cell.key[:2] for cell in cells])
    return Results(experiment, scale, table.path.parent)
