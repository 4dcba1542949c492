"""One page about all experiments: for each a figure, a table, and what its results say about each claim."""

import typing
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from laperm_jax.lab.config import ConfigError, resolve, settings
from laperm_jax.lab.config.names import ScaleName
from laperm_jax.lab.config.scores import format_score
from laperm_jax.lab.experiments import figures
from laperm_jax.lab.experiments.catalogue import EXPERIMENTS
from laperm_jax.lab.experiments.core import Claim, Experiment, Judgement, Verdict
from laperm_jax.lab.experiments.results import Results, Row


class Section(NamedTuple):
    """An experiment and its results at the largest scale that was run, with the judgements on its claims."""

    experiment: Experiment
    results: Results
    judgements: list[tuple[Claim, Judgement]]


def sections(folder: Path) -> list[Section]:
    """The experiments with results in ``folder/NAME/SCALE.jsonl``, in the order of the catalogue.

    Raises:
      ConfigError: if there is none.
    """
    found = []
    for experiment in EXPERIMENTS.values():
        for scale in reversed(typing.get_args(ScaleName)):
            if (results := Results(experiment, scale, folder / experiment.name)).rows:
                found.append(Section(experiment, results, results.judgements()))
                break
    if not found:
        raise ConfigError(f"there are no results in {folder}: run `laperm experiment run NAME`, or give --results")
    return found


def write(out: Path, folder: Path) -> None:
    """Writes the page: one HTML file that needs no network.

    Args:
      out: the file.
      folder: where the results are.

    Raises:
      ConfigError: if there are no results, or the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = sections(folder)
    counts = Counter(judgement.verdict for section in found for _, judgement in section.judgements)
    tally = {verdict: counts[verdict] for verdict in typing.get_args(Verdict) if counts[verdict]}
    page = environment.get_template("report.html").render(
        sections=[_context(section) for section in found], tally=tally
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page)
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error.strerror}") from None


def table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the results: a row for each network and variant, means over the seeds."""
    titles = ["network", "variant", "seeds", f"test {results.score}", "free weights"]
    return [*titles, *results.experiment.metrics.values()], [_cells(results, row) for row in results.rows]


def score_text(row: Row) -> str:
    """The mean test score of a row, and its standard deviation if it has several seeds."""
    several = len(row.runs) > 1
    if row.score == "accuracy":
        return f"{100 * row.mean():.2f}{f' ± {100 * row.spread():.2f}' if several else ''} %"
    return format_score(row.score, row.mean()) + (f" ± {row.spread():.2g}" if several else "")


def provenance(results: Results) -> dict[str, Any]:
    """Where and when the runs were made: ``device`` and ``jax``, as text where there are several, and ``dates``."""
    runs = [run.summary for row in results.rows for run in row.runs]
    return {
        "device": " and ".join(sorted({run["device"] for run in runs})),
        "jax": " and ".join(sorted({run["versions"]["jax"] for run in runs})),
        "dates": sorted({run["date"][:10] for run in runs}),
    }


def _context(section: Section) -> dict[str, Any]:
    experiment, results, judgements = section
    titles, rows = table(results)
    return {
        **provenance(results),
        "experiment": experiment,
        "scale": results.scale,
        "judgements": judgements,
        "legend": figures.legend(results),
        "figures": [
            figure for network in results.networks_with_runs for figure in figures.of_network(results, network)
        ],
        "settings": {network: _settings(results, network) for network in results.networks_with_runs},
        "titles": titles,
        "rows": rows,
        "samples": [(row, row.runs[0].summary["sample"]) for row in results.rows if "sample" in row.runs[0].summary],
    }


def _cells(results: Results, row: Row) -> list[str]:
    """A row of the table."""
    free = format_score(results.score, row.mean(f"test_{results.score}_free"))
    others = (_mean(row, metric) for metric in results.experiment.metrics)
    return [row.network, row.label, str(len(row.runs)), score_text(row), free, *others]


def _mean(row: Row, metric: str) -> str:
    """The mean of an entry that some runs may not have."""
    try:
        mean = row.mean(metric)
    except KeyError:
        return "-"
    return f"{mean:.2%}" if "accuracy" in metric else f"{mean:,.4g}"


def _settings(results: Results, network: str) -> str:
    """The settings of a network, before a variant replaces some, in a line."""
    config = settings(resolve(results.experiment.networks[results.scale][network]))
    length = f"{config['epochs']} epochs" if config["epochs"] else f"{config['steps']} steps"
    augmented = ", augmented" if config["augment"] else ""
    transformer = config["model"] in ("vit", "transformer")
    size = f" of {config['layers']} blocks and {config['features']} features" if transformer else ""
    return (
        f"{config['model']}{size} on {config['dataset']}{augmented}; {length} of batches of {config['batch_size']}; "
        f"unless the variant says otherwise {config['inner']}, learning rate {config['learning_rate']:g} with schedule "
        f"{config['schedule']}, k = {config['sync_period']}, initial kernels {config['init']}"
    )
