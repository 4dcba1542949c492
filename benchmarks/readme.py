"""Writes the tables of README.md and of docs/ from the files in benchmarks/results and in results.

python benchmarks/readme.py
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from laperm_jax.lab.benchmark.bench import milliseconds
from laperm_jax.lab.experiments import report
from laperm_jax.lab.experiments.catalogue import BEYOND_EXPERIMENTS

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- results: written by `make readme` from benchmarks/results and results -->"
END = "<!-- end of results -->"
PEERS = {"numpy": "NumPy", "torch": "PyTorch", "tensorflow": "TensorFlow", "naive_jax": "argsort(argsort) in JAX"}


Tables = Sequence[tuple[str, Callable[[dict[str, Any]], str]]]  # names of files, and what makes a table of one


def render(results: Path, experiments: Path) -> str:
    """The tables in Markdown: of every device that was measured, and of the claims that experiments decided about."""
    devices = [_section(folder, FILES) for folder in sorted(results.iterdir()) if folder.is_dir()]
    return "\n\n".join([*devices, _claims(experiments)])


def render_page(results: Path, tables: Tables) -> str:
    """Tables in Markdown, of every device that was measured."""
    folders = [folder for folder in sorted(results.iterdir()) if folder.is_dir()]
    return "\n\n".join(_section(folder, tables) for folder in folders)


def insert(page: str, tables: str) -> str:
    """The page with the tables between its two markers."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{tables}\n{END}", page)


def _claims(experiments: Path) -> str:
    rows = (
        f"| {claim.text} | {claim.paper} | {judgement.measured} | **{judgement.verdict}** | "
        f"`{section.experiment.name}`, {section.results.scale} |"
        for section in report.sections(experiments)
        for claim, judgement in section.judgements
    )
    table = _table(["claim", "the paper", "measured", "verdict", "experiment, scale"], rows)
    return f"The claims, decided by criteria that stand in `laperm experiment report`:\n\n{table}"


def _experiments(experiments: Path, names: Sequence[str]) -> str:
    """The results of some experiments; where a setting is varied, a column for each of its values."""
    parts = []
    for section in report.sections(experiments):
        experiment, results, _ = section
        if experiment.name not in names:
            continue
        titles, rows = report.table(results)
        if experiment.x:
            variants = list(dict.fromkeys(row[1] for row in rows))
            of = {(row[0], row[1]): row[3] for row in rows}
            titles = [titles[3], *variants]
            rows = [[name, *(of.get((name, variant), "-") for variant in variants)] for name in results.networks]
        runs = [run.summary for row in results.rows for run in row.runs]
        device, date = runs[0]["device"], max(run["date"] for run in runs)[:10]
        command = f"`laperm experiment run {experiment.name} --scale {results.scale}`"
        origin = f"**{experiment.title}.** On {device} ({date}, jax {runs[0]['versions']['jax']}; {command})."
        lines = (f"| {' | '.join(row)} |" for row in rows)
        parts.append(f"{origin}\n\n{_table(titles, lines)}")
    return "\n\n".join(parts)


def _section(folder: Path, tables: Tables) -> str:
    """What there is of the tables of a device."""
    return "\n\n".join(
        render(json.loads((folder / name).read_text())) for name, render in tables if (folder / name).exists()
    )


def _faults(results: dict[str, Any]) -> str:
    rows = (
        f"| {row['fault']} | {row['tried']:,} | {row['survived']:,} | {row['refused']:,} | {row['bits_lost']:,} |"
        for row in results["rows"]
    )
    table = _table(["fault", "tried", "survived", "refused", "bits lost"], rows)
    return f"{_origin(results, results['command'])}\n\n{table}"


def _sharding(results: dict[str, Any]) -> str:
    mb = lambda size: f"{size / 1e6:,.2f}"
    counts = sorted({row["devices"] for row in results["rows"]})
    of = {(row["layout"], row["processes"], row["devices"]): row for row in results["rows"]}
    layouts = list(dict.fromkeys(row["layout"] for row in results["rows"]))

    def of_each_device(what: str, counts: Sequence[int], show: Callable[[dict[str, Any]], str]) -> str:
        rows = (f"| {layout} | {' | '.join(show(of[layout, 1, count]) for count in counts)} |" for layout in layouts)
        return _table([what, *(f"{count} device{'s' * (count > 1)}" for count in counts)], rows)

    moved = of_each_device("received at a sync, MB", counts, lambda row: mb(sum(row["received_bytes"].values())))
    # One device sorts a block at a time, in a loop, of which the program shows one turn.
    work = of_each_device("weights sorted, millions", counts[1:], lambda row: mb(row["sorted_elements"]))
    memory = of_each_device("weights, gradients and state, MB", counts, lambda row: mb(row["argument_bytes"]))
    big = _table(
        ["a billion weights on 8 devices, compiled", "GB each", "predicted", "peak", "predicted"],
        (
            f"| {row['layout']} | "
            + " | ".join(
                f"{row[name] / 1e9:.3f}"
                for name in ("argument_bytes", "predicted_argument_bytes", "peak_bytes", "predicted_peak_bytes")
            )
            + " |"
            for row in results["big"]
        ),
    )
    weights = results["rows"][0]["weights"]
    origin = f"{_origin(results, results['command'])} One layer of a transformer, {weights:,} weights; of each device:"
    return f"{origin}\n\n{moved}\n\n{work}\n\n{memory}\n\n{big}"


def _training(results: dict[str, Any]) -> str:
    header = ["run", "seeds", "test accuracy", "free weights", "training", "a step"]
    table = _table(header, (_training_row(row) for row in results["rows"]))
    seconds = f"`laperm train`, from start to end: {results['laperm_train_seconds']:.0f} s."
    return f"{_origin(results, results['command'])}\n\n{table}\n\n{seconds}"


def _long_training(results: dict[str, Any]) -> str:
    """Accuracies only: who trains for so long has other work done beside it, and times mean little."""
    rows = (_training_row(row).rsplit("|", 3)[0] + "|" for row in results["rows"])
    table = _table(["run", "seeds", "test accuracy", "free weights"], rows)
    return f"{_origin(results, results['command'])}\n\n{table}"


def _overhead(results: dict[str, Any]) -> str:
    ways = ("apply_gradients", "update and apply_updates")
    table = _table(
        ["a step that is no sync, over Adam alone", "mlp", "Conv7"],
        (_overhead_row(way, results["networks"]) for way in ways),
    )
    return f"{_origin(results, results['command'])}\n\n{table}"


def _keras_loop(results: dict[str, Any]) -> str:
    ways = list(results["rows"][0]["updates_per_second"])
    rows = (
        f"| {row['model']}, batch {row['batch_size']} | "
        + " | ".join(f"{row['updates_per_second'][way]:,.0f}" for way in ways)
        + f" | **{row['updates_per_second'][ways[0]] / row['updates_per_second'][ways[2]]:.0f}x** |"
        for row in results["rows"]
    )
    keras = [f"Keras, {way}" for way in ways[2:]]
    table = _table(["updates a second", *ways[:2], *keras, "first over third"], rows)
    versions = f"Keras {results['keras']}, TensorFlow {results['tensorflow']}"
    return f"{_origin(results, results['command'])} {versions}:\n\n{table}"


def _sync(results: dict[str, Any]) -> str:
    header = ["model", "weights", "laperm_jax", *PEERS.values(), "share of training, k = 100"]
    table = _table(header, (_sync_row(row) for row in results["models"]))
    command = f"laperm bench --peers --repeats {results['repeats']}"
    return f"{_origin(results, command)} One sync, milliseconds:\n\n{table}"


def _scaling(results: dict[str, Any]) -> str:
    figures = (f"{row['weights']:.0e}: {1e6 * row['sync_ms'] / row['weights']:.1f}" for row in results["scaling"])
    return f"{_origin(results, 'laperm bench --models')} Nanoseconds a weight, in rows of 1,024: {', '.join(figures)}."


def _table(header: Sequence[str], rows: Iterable[str]) -> str:
    return "\n".join([f"| {' | '.join(header)} |", "|" + "---|" * len(header), *rows])


def _origin(results: dict[str, Any], command: str) -> str:
    return f"On {results['device']} ({results['date'][:10]}, jax {results['versions']['jax']}; `{command}`)."


def _sync_row(row: dict[str, Any]) -> str:
    sync, *others = (milliseconds(row[f"{name}_ms"], "not installed") for name in ("sync", *PEERS))
    share = row["share_of_training"]["100"]
    shown = "-" if share is None else f"{share:.2%}"
    return f"| {row['model']} | {row['weights']:,} | **{sync}** | {' | '.join(others)} | {shown} |"


def _training_row(row: dict[str, Any]) -> str:
    mean = lambda name: np.mean(row[name])
    spread = f" ± {np.std(row['test_accuracy'], ddof=1):.2%}" if len(row["seeds"]) > 1 else ""
    accuracy = f"**{mean('test_accuracy'):.2%}**{spread}"
    times = f"{mean('train_seconds'):.1f} s | {mean('ms_per_step'):.2g} ms"
    return f"| {row['run']} | {len(row['seeds'])} | {accuracy} | {mean('test_accuracy_free'):.2%} | {times} |"


def _overhead_row(way: str, networks: dict[str, Any]) -> str:
    return (
        f"| {way} | " + " | ".join(f"{networks[name][way]['over_adam_alone']:+.1%}" for name in ("mlp", "conv7")) + " |"
    )


def _packing(results: dict[str, Any]) -> str:
    others = ("floats, zstd -19", "floats, xz -9", "ranks, zstd -19", "ranks, xz -9")

    def row(measured: dict[str, Any]) -> str:
        numbers = [
            f"{measured['weights_bytes']:,}",
            f"**{measured['packed_bytes']:,}**",
            f"**{measured['places_bytes']:,}**",
            f"{measured['entropy_bytes']:,.0f}",
            f"{measured['places_bytes'] / measured['entropy_bytes'] - 1:+.2%}",
            *(f"{measured[name]:,}" for name in others),
            f"{measured['pack_seconds']:.1f} s",
            f"{measured['unpack_seconds']:.1f} s",
        ]
        return f"| {measured['network']} | {' | '.join(numbers)} |"

    header = ["bytes", "weights", "packed", "of it places", "entropy", "over it", *others, "pack", "unpack"]
    return f"{_origin(results, results['command'])}\n\n{_table(header, map(row, results['rows']))}"


def _sync_periods(results: dict[str, Any]) -> str:
    def row(measured: dict[str, Any]) -> str:
        mean = lambda name: float(np.mean(measured[name]))
        shares = [f"{mean(name):.1%}" for name in ("stuck", "moved")]
        accuracies = [f"{mean(name):.2%}" for name in ("test_accuracy", "test_accuracy_free")]
        cells = [str(measured["sync_period"]), *shares, f"{mean('free_distance'):.2f}", *accuracies]
        return f"| {measured['network']} | {' | '.join(cells)} |"

    header = ["network", "k", "stuck", "moved", "distance", "test accuracy", "free weights"]
    table = _table(header, map(row, results["rows"]))
    title = f"At the first sync, and at the end; means of {len(results['rows'][0]['seeds'])} seeds:"
    return f"{_origin(results, results['command'])} {title}\n\n{table}"


def _decomposition(results: dict[str, Any]) -> str:
    names = list(results["rows"][0]["accuracies"])

    def row(measured: dict[str, Any]) -> str:
        accuracies = (np.array(measured["accuracies"][name]) for name in names)
        shares = " / ".join(f"{np.mean(measured['shares'][part]):.1%}" for part in ("values", "places", "residual"))
        cells = (f"{values.mean():.2%} ± {values.std(ddof=1):.2%}" for values in accuracies)
        return f"| {measured['network']}, {measured['trained by']} | {shares} | {' | '.join(cells)} |"

    table = _table(["network, trained by", "D0 / D1 / D2", *names], map(row, results["rows"]))
    seeds = len(next(iter(results["rows"][0]["accuracies"].values())))
    title = f"Test accuracy, mean and standard deviation of {seeds} seeds:"
    return f"{_origin(results, results['command'])} {title}\n\n{table}"


FILES: Tables = (
    ("training.json", _training),
    ("training_long.json", _long_training),
    ("step_overhead.json", _overhead),
    ("keras_loop.json", _keras_loop),
    ("bench.json", _sync),
    ("scaling/bench.json", _scaling),
)


def pages() -> dict[Path, str]:
    """The pages with tables, and what they should hold."""
    results = ROOT / "benchmarks" / "results"
    tables = {
        "README.md": render(results, ROOT / "results"),
        "docs/analysis.md": render_page(
            results, [("decomposition.json", _decomposition), ("sync_period.json", _sync_periods)]
        ),
        "docs/beyond.md": _experiments(ROOT / "results", [experiment.name for experiment in BEYOND_EXPERIMENTS]),
        "docs/format.md": render_page(results, [("packing.json", _packing)]),
        "docs/reliability.md": render_page(results, [("reliability.json", _faults), ("sharding.json", _sharding)]),
    }
    return {ROOT / name: insert((ROOT / name).read_text(), text) for name, text in tables.items()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
