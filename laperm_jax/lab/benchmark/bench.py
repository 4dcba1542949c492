"""``laperm bench``: what a sync costs, against a copy and against the same work in other libraries."""

import json

import jax
import jax.numpy as jnp
from rich import box
from rich.console import Console
from rich.table import Table

from laperm_jax import sync
from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.benchmark import peers
from laperm_jax.lab.benchmark.measuring import (
    COPIES,
    COPIES_IN_FULL,
    PATIENCE,
    PERIODS,
    Row,
    measure,
    measure_sync,
    memory_bytes,
)
from laperm_jax.lab.benchmark.trees import parameter_tree
from laperm_jax.lab.config.commands import BenchConfig, check_bench
from laperm_jax.lab.runs import plots
from laperm_jax.lab.runs.summary import environment

_ROW_LENGTH = 1024  # of the scaling series
# For the estimate of the duration: nanoseconds a weight of all of ours, and with the peers; seconds to compile a model.
_OURS, _PEERS, _COMPILING = 150, 1500, 40


def run(config: BenchConfig, console: Console) -> tuple[list[Row], list[Row]]:
    """Measures as the settings say, and writes the results so far after each measurement.

    Returns:
      A row for each model, and a row for each matrix of the scaling series.

    Raises:
      ConfigError: for settings that cannot be run.
    """
    check_bench(config)
    console.print(plan(config))
    rows: list[Row] = []
    series: list[Row] = []
    for name in config.models:
        with console.status(f"measuring {name}"):
            for row in measure(name, config.repeats, config.peers, config.dtype):
                write(config, [*rows, row], series)
        rows.append(row)
        console.print(f"{name}: a sync takes {row['sync_ms']:.4g} ms")
    for size in _series_sizes(config):
        if (needed := _series_bytes(config, size)) > memory_bytes():
            console.print(f"{size:,} weights need {needed / 2**30:.0f} GiB and are left out")
            break
        with console.status(f"measuring {size:,} weights"):
            tree = {"kernel": jax.ShapeDtypeStruct((_ROW_LENGTH, round(size / _ROW_LENGTH)), config.dtype)}
            series.append(measure_sync(tree, config.repeats, with_peers=False))
        console.print(f"{series[-1]['weights']:,} weights: a sync takes {series[-1]['sync_ms']:.4g} ms")
        write(config, rows, series)
    return rows, series


def plan(config: BenchConfig) -> str:
    """Says about how long a benchmark takes, and how much memory, before it starts."""
    sizes = [sum(leaf.size for leaf in leaves_by_path(parameter_tree(name)).values()) for name in config.models]
    series = [size for size in _series_sizes(config) if _series_bytes(config, size) <= memory_bytes()]
    each = lambda size, cost: min(config.repeats * size * cost / 1e9, 20 * PATIENCE)
    seconds = sum(_COMPILING + each(size, _OURS + config.peers * _PEERS) for size in sizes)
    seconds += sum(each(size, _OURS) for size in series)
    in_full = COPIES_IN_FULL * jnp.dtype(config.dtype).itemsize
    needed = min(in_full * max([*sizes, *series], default=0), memory_bytes())
    return f"about {max(seconds / 60, 1):.0f} min on two CPU cores, and {needed / 1e9:.1f} GB of memory"


def _series_sizes(config: BenchConfig) -> list[int]:
    return [10**power for power in range(5, len(str(config.largest)))]


def _series_bytes(config: BenchConfig, size: int) -> int:
    return COPIES * jnp.dtype(config.dtype).itemsize * size


def write(config: BenchConfig, rows: list[Row], series: list[Row]) -> None:
    """Writes ``bench.json``, and ``bench.png`` if there is a scaling series, to the folder of the settings."""
    if config.out is None:
        return
    config.out.mkdir(parents=True, exist_ok=True)
    context = environment()
    settings = {"repeats": config.repeats, "dtype": config.dtype, "implementation": sync.implementation(config.dtype)}
    content = {**settings, **context, "models": rows, "scaling": series}
    (config.out / "bench.json").write_text(json.dumps(content, indent=2) + "\n")
    if series:
        plots.latency(config.out / "bench.png", rows, series, f"one sync on {context['device']}")


def tables(rows: list[Row]) -> list[Table]:
    """The main figures, for a terminal of 80 columns; the JSON holds the rest."""
    peer_names = [name for name in peers.PEERS if f"{name}_ms" in rows[0]]
    same_work = ("sync", *peer_names)
    caption = "median [least, most] of calls from Python, in turns"
    caption += "; * the fastest of those that do the same work" if peer_names else ""
    one_sync = Table(title=f"one sync ({sync.implementation(rows[0]['dtype'])}), milliseconds", box=box.SIMPLE)
    one_sync.caption = "\n".join([caption, *_missing(rows[0], peer_names)])
    titles = {"keys_sort": "keys", "tensorflow": "TF", "naive_jax": "naive"}
    for name in ("model", "sync", "copy", "keys_sort", *peer_names):
        one_sync.add_column(titles.get(name, name), justify="left" if name == "model" else "right", no_wrap=True)
    update = Table(title="a non-sync update, over Adam's", box=box.SIMPLE)
    update.caption = "medians of ratios within a turn, of calls from Python with donated buffers"
    for name in ("model", "update", "apply_gradients", "compile update"):
        update.add_column(name, justify="left" if name == "model" else "right")
    training = Table(title="share of training time in syncs", box=box.SIMPLE)
    training.caption = "a step: of a loop on the device"
    for name in ("model", "a step, ms", *(f"k = {period:,}" for period in PERIODS)):
        training.add_column(name, justify="left" if name == "model" else "right")
    for row in rows:
        fastest = min(row[f"{name}_ms"] for name in same_work if row[f"{name}_ms"] is not None)
        mark = lambda time, fastest=fastest: milliseconds(time) + "*" * (bool(peer_names) and time == fastest)
        low, high = map(milliseconds, row["spread_ms"]["sync"])
        others = (mark(row[f"{name}_ms"]) for name in ("copy", "keys_sort", *peer_names))
        one_sync.add_row(row["model"], f"{mark(row['sync_ms'])} [{low}, {high}]", *others)
        shares = (f"{row[f'{name}_over_adam']:+.1%}" for name in ("update", "apply_gradients"))
        update.add_row(row["model"], *shares, f"{row['update_compile_seconds']:.1f} s")
        shares = ("-" if share is None else f"{share:.2%}" for share in row["share_of_training"].values())
        training.add_row(row["model"], milliseconds(row["train_step_ms"]), *shares)
    return [one_sync, update, training]


def milliseconds(time: float | None, missing: str = "-") -> str:
    """A time for a table, three digits or whole; ``missing`` where nothing was measured."""
    if time is None:
        return missing
    return f"{time:.3g}" if time < 1000 else f"{time:,.0f}"


def _missing(row: Row, peer_names: list[str]) -> list[str]:
    missing = [name for name in peer_names if row[f"{name}_ms"] is None]
    return [f"not installed: {', '.join(missing)}"] if missing else []
