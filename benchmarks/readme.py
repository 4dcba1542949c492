"""Writes the tables of README.md and of docs/ from benchmarks/results and results; and what pages.py makes.

python benchmarks/readme.py
"""

import contextlib
import json
import re
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pages as made
import pictures
import tables

from laperm_jax.lab.config import defaults_for, from_settings, settings
from laperm_jax.lab.config.scores import format_score
from laperm_jax.lab.experiments import report
from laperm_jax.lab.experiments.catalogue import BEYOND_EXPERIMENTS
from laperm_jax.lab.experiments.catalogue.settings import WITHOUT_FEEDBACK
from laperm_jax.lab.experiments.core import Experiment, Method, MissingRunsError, Verdict
from laperm_jax.lab.experiments.judges import few_seeds, nats, points
from laperm_jax.lab.experiments.report import Section
from laperm_jax.lab.experiments.results import Results, Row, by_validation, difference

ROOT = Path(__file__).parents[1]
QUICK_START, NOTEBOOK = ROOT / "docs" / "quickstart.md", ROOT / "examples" / "quickstart.ipynb"
BEGIN = "<!-- results: written by `make readme` from benchmarks/results and results -->"
END = "<!-- end of results -->"


class Headline(NamedTuple):
    """A row of the README's table: LaPerm against Adam on one network of an experiment."""

    title: str
    experiment: str
    network: str
    laperm: Mapping[str, Any] = {"method": Method.LAPERM}  # what Results.select takes
    adam: Mapping[str, Any] = {"method": Method.INNER, "quantize": None}


HEADLINES = (
    Headline(
        "MNIST, mlp 256-256, every weight one of two values, error feedback",
        "bits",
        "mlp",
        {"init": "levels:2", "error_feedback": True},
    ),
    Headline(
        "CIFAR-10, vision transformer, 700 steps, two values, error feedback",
        "bits",
        "vit, CIFAR-10",
        {"init": "levels:2:0.05", "error_feedback": True},
    ),
    Headline(
        "tiny_shakespeare, transformer 4 x 128, 1,000 steps, two values, error feedback",
        "bits-language",
        "4 x 128, 1,000 steps",
        {"init": "levels:2:0.05", "error_feedback": True},
    ),
    Headline("MNIST, mlp 256-256, 10 epochs", "dense", "mlp"),
    Headline("MNIST, Conv7, as long as in the paper", "paper-table", "conv7, 45 epochs"),
    Headline("CIFAR-10, Conv2, 20 epochs", "paper-table", "conv2, 20 epochs"),
    Headline(
        "CIFAR-10, vision transformer, 700 steps",
        "vision-transformer",
        "CIFAR-10, 700 steps",
        WITHOUT_FEEDBACK,
    ),
    Headline(
        "the same, error feedback, the better of k = 1 and 20", "feedback", "vit, CIFAR-10", {"error_feedback": True}
    ),
    Headline("tiny_shakespeare, transformer 4 x 128, 3,000 steps", "language", "4 x 128, 3,000 steps"),
)
ON_HOME = tuple(HEADLINES[row] for row in (3, 0, 6))  # in the order of the sentence above them
DEFAULT_SETTINGS = (
    *("inner", "learning_rate", "others_learning_rate", "schedule"),
    *("sync_period", "sync_schedule", "error_feedback", "residual_noise", "keep_rescale"),
)
COUNTS = (*pictures.VALUES, None)  # numbers of values; None: as many as weights
Tables = Sequence[tuple[str, Callable[[dict[str, Any]], str]]]  # a file of benchmarks/results/DEVICE, and its table
MEASURED: Mapping[str, Tables] = {
    "docs/analysis.md": (("decomposition.json", tables.decomposition), ("sync_period.json", tables.sync_periods)),
    "docs/format.md": (("packing.json", tables.packing),),
    "docs/reliability.md": (("reliability.json", tables.faults), ("sharding.json", tables.sharding)),
    "docs/speed.md": (
        ("training.json", tables.training),
        ("step_overhead.json", tables.overhead),
        ("keras_loop.json", tables.keras_loop),
        *((f"{folder}bench.json", tables.sync) for folder in ("", "newest/", "float16/")),
        ("tpu.json", tables.tpu),
    ),
}


def pages() -> dict[Path, str]:
    """The pages with tables, and what they should hold."""
    sections = report.sections(ROOT / "results")
    texts = {
        "README.md": f"{headlines(sections)}\n\n{tally(sections)}",
        "docs/index.md": on_home(sections),
        "docs/results.md": f"{tally(sections)}\n\n{claims(sections)}",
        "docs/command_line.md": made.command_line(),
        "docs/few_levels.md": (few_values(sections), methods(sections)),
        "docs/training.md": defaults(sections),
        "docs/beyond.md": experiments(sections, BEYOND_EXPERIMENTS),
        **{page: measurements(of_page) for page, of_page in MEASURED.items()},
    }
    return {ROOT / page: insert((ROOT / page).read_text(), text) for page, text in texts.items()}


def insert(page: str, text: str | Sequence[str]) -> str:
    """The page with a text, or one after the other, between two markers each."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    texts = iter([text] if isinstance(text, str) else text)
    return pattern.sub(lambda _: f"{BEGIN}\n{next(texts)}\n{END}", page)


def measurements(of_page: Tables) -> str:
    """The tables of a page, for every device that was measured."""
    folders = sorted(folder for folder in (ROOT / "benchmarks" / "results").iterdir() if folder.is_dir())
    files = ((folder / name, render) for folder in folders for name, render in of_page)
    return "\n\n".join(render(json.loads(path.read_text())) for path, render in files if path.exists())


def headlines(sections: Sequence[Section]) -> str:
    """LaPerm against Adam: scores, and their difference with its 95 % interval."""
    rows = (f"| {' | '.join(row)} |" for row in _compared(sections, HEADLINES))
    return tables.markdown(["", "LaPerm", "Adam", "difference [95 %]"], rows)


def on_home(sections: Sequence[Section]) -> str:
    """Some of the headlines, as a list, which needs no wide page."""
    rows = _compared(sections, ON_HOME)
    return "\n".join(f"- {title}: **{ours}**; Adam {adams}; difference {gap}" for title, ours, adams, gap in rows)


def _compared(sections: Sequence[Section], shown: Sequence[Headline]) -> Iterator[tuple[str, str, str, str]]:
    results = {section.experiment.name: section.results for section in sections}
    for title, experiment, network, laperm, adam in shown:
        with contextlib.suppress(KeyError, MissingRunsError):
            found = results[experiment]
            ours, adams = (_score(found.best(network, **where)) for where in (laperm, adam))
            unit = points if found.score == "accuracy" else nats
            yield title, ours, adams, unit(found.gap(network, laperm, adam))


def _score(row: Row) -> str:
    return report.score_text(row) + few_seeds(len(row.runs))


def methods(sections: Sequence[Section]) -> str:
    """The picture of few values as numbers: every method's scores on each network, and their differences."""
    of = {section.experiment.name: section.results for section in sections}
    return "\n\n".join(_methods(of[experiment], network, title) for experiment, network, title in pictures.PANELS)


def _methods(results: Results, network: str, title: str) -> str:
    """Scores by the number of values, then the differences of the first method from all others."""
    unit, name = (points, "points") if results.score == "accuracy" else (nats, "nats (negative: ahead)")
    ours, *others = ({n: pictures.best(results, network, s.where(n)) for n in COUNTS} for s in pictures.STYLES)
    free = pictures.best(results, network, pictures.ADAM.where(None))
    scores, gaps, of_all = [], [], [f"Adam {_mean(free)}"]
    for style, rows in zip(pictures.STYLES, (ours, *others), strict=True):
        if rows[None]:
            of_all.append(f"{style.name} {_mean(rows[None])}")
        if any(rows[n] for n in pictures.VALUES):
            scores.append([style.name, *(_mean(rows[n]) for n in pictures.VALUES)])
    against = {"Adam": dict.fromkeys(COUNTS, free), "LaPerm, all values": dict.fromkeys(COUNTS, others[-1][None])}
    against |= {style.name: rows for style, rows in zip(pictures.STYLES[1:], others, strict=True)}
    for label, rows in against.items():
        pairs = [(ours[n], rows[n]) for n in pictures.VALUES]
        cells = [unit(difference(a, b)).replace(f" {unit.__name__}", "") if a and b else "" for a, b in pairs]
        if any(cells):
            gaps.append([label, *cells])
    table = lambda first, rows: tables.markdown(
        [first, *map(str, pictures.VALUES)], (f"| {' | '.join(row)} |" for row in rows)
    )
    parts = f"**{title}.** All values: {'; '.join(of_all)}.", table("score", scores)
    return "\n\n".join((*parts, table(f"error feedback less, {name}", gaps)))


def _mean(row: Row | None) -> str:
    return format_score(row.score, row.mean()) + few_seeds(len(row.runs)) if row else ""


def few_values(sections: Sequence[Section]) -> str:
    """Accuracy and size of the mlp by the number of values, from results/bits and the packed files."""
    [bits] = (section.results for section in sections if section.experiment.name == "bits")
    measured = json.loads((ROOT / "benchmarks" / "results" / "cpu-2-cores" / "packing.json").read_text())
    packed = {row["network"]: row for row in measured["rows"]}
    rows = []
    for values in COUNTS:
        init = {"init": f"levels:{values}", "error_feedback": True} if values else {"label": "all values, LaPerm"}
        row = packed["mlp 256-256" + (f", {values} values" if values else "")]
        bits_a_weight = 8 * row["entropy_bytes"] / row["reordered_weights"]
        rows.append(
            f"| {values or 'all'} | {report.score_text(bits.best('mlp', **init))} | {bits_a_weight:.2f} "
            f"| {row['entropy_bytes']:,.0f} | {row['packed_bytes']:,} | {row['other_bytes']:,} |"
        )
    header = ["values", "test accuracy", "bits a weight", "entropy, bytes", "packed file, bytes", "biases in it, bytes"]
    return tables.markdown(header, rows)


def defaults(sections: Sequence[Section]) -> str:
    """The defaults of `laperm train` beside the best settings found, wherever they are among two or more."""
    rows = []
    for section in sections:
        results = section.results
        for network in results.networks_with_runs:
            for found in _alike(results.select(network, method=Method.LAPERM, quantize=None, free=(), start=None)):
                best = max(found, key=by_validation(found))
                picked = next((row for row in found if _has_defaults(row)), None)
                if picked and len(found) > 1:
                    unit = points if results.score == "accuracy" else nats
                    gap = "the best" if picked is best else f"{unit(difference(picked, best))}, {best.label}"
                    cells = network, picked.label, _score(picked), str(len(found)), gap
                    rows.append(f"| {section.experiment.name}: {' | '.join(cells)} |")
    return tables.markdown(["experiment: network", "defaults", "score", "settings", "against the best of them"], rows)


def _alike(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    """Rows whose initial weights are equally many and of as few values: which of them is best is a choice."""
    alike: dict[Any, list[Row]] = {}
    for row in rows:
        of_few = row.settings["init"] if row.settings["init"].partition(":")[0] in ("levels", "shared") else None
        alike.setdefault((row.settings["keep"], of_few), []).append(row)
    return alike.values()


def _has_defaults(row: Row) -> bool:
    """Whether a row was trained as `laperm train` trains where nothing is said; lengths and initial values aside."""
    default = settings(defaults_for(from_settings(row.settings)))
    return all(row.settings[name] == default[name] for name in DEFAULT_SETTINGS)


def tally(sections: Sequence[Section]) -> str:
    """How many claims have which verdict, with a link."""
    counts = Counter(judgement.verdict for section in sections for _, judgement in section.judgements)
    of_verdict = ", ".join(f"{counts[verdict]} {verdict}" for verdict in typing.get_args(Verdict) if counts[verdict])
    return f"{counts.total()} claims: {of_verdict}."


def claims(sections: Sequence[Section]) -> str:
    """Every claim with its verdict, what was measured and the criterion."""
    parts = []
    for experiment, results, judgements in sections:
        if not judgements:
            continue
        command = f"`laperm experiment run {experiment.name} --scale {results.scale}`"
        parts.append(f"## {experiment.title}\n\n{experiment.question} {command}")
        for claim, judgement in judgements:
            published = f" The paper: {claim.paper}." if claim.paper != "-" else ""
            amended = f" *Changed after results were seen: {claim.amended}.*" if claim.amended else ""
            parts.append(
                f"**{judgement.verdict[0].upper()}{judgement.verdict[1:]}: {claim.text}** ({claim.source or 'ours'})."
                f"{published} Criterion: {claim.criterion}.{amended}"
            )
            parts.append("\n".join(f"- {measured}" for measured in judgement.measured.split("; ")))
    return "\n\n".join(parts)


def experiments(sections: Sequence[Section], shown: Sequence[Experiment]) -> str:
    """The results of some experiments; if a setting is varied, a column for each of its values."""
    names = {experiment.name for experiment in shown}
    return "\n\n".join(_experiment(section) for section in sections if section.experiment.name in names)


def _experiment(section: Section) -> str:
    experiment, results, _ = section
    titles, rows = report.table(results)
    if experiment.x:
        variants = list(dict.fromkeys(row[1] for row in rows))
        of = {(row[0], row[1]): row[3] for row in rows}
        titles = [titles[3], *variants]
        rows = [[name, *(of.get((name, variant), "-") for variant in variants)] for name in results.networks_with_runs]
    provenance = report.provenance(results)
    command = f"`laperm experiment run {experiment.name} --scale {results.scale}`"
    device, jax_versions, dates = (provenance[name] for name in ("device", "jax", "dates"))
    origin = f"**{experiment.title}.** On {device} ({dates[-1]}, jax {jax_versions}; {command})."
    lines = (f"| {' | '.join(row)} |" for row in rows)
    return f"{origin}\n\n{tables.markdown(titles, lines)}"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
    NOTEBOOK.write_text(made.notebook(QUICK_START.read_text()))
