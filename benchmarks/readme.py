"""Writes the README's table of results from the files in benchmarks/results.

python benchmarks/readme.py
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- results: written by `make readme` from benchmarks/results -->"
END = "<!-- end of results -->"
PEERS = {"numpy": "NumPy", "torch": "PyTorch", "tensorflow": "TensorFlow", "naive_jax": "argsort(argsort) in JAX"}


def render(results: Path) -> str:
    """The tables in Markdown, for every device that was measured."""
    return "\n\n".join(_device(folder) for folder in sorted(results.iterdir()) if folder.is_dir())


def insert(readme: str, tables: str) -> str:
    """The README with the tables between its two markers."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{tables}\n{END}", readme)


def _device(folder: Path) -> str:
    sections = [render(json.loads((folder / name).read_text())) for name, render in FILES if (folder / name).exists()]
    return "\n\n".join(sections)


def _training(results: dict[str, Any]) -> str:
    lines = [
        _origin(results, results["command"]),
        "",
        "| run | seeds | test accuracy | free weights | training | a step |",
        "|---|---|---|---|---|---|",
        *(_training_row(row) for row in results["rows"]),
        "",
        f"`laperm train`, from start to end: {results['laperm_train_seconds']:.0f} s.",
    ]
    return "\n".join(lines)


def _overhead(results: dict[str, Any]) -> str:
    lines = [
        _origin(results, results["command"]),
        "",
        "| a step that is no sync, over Adam alone | mlp | Conv7 |",
        "|---|---|---|",
        *(_overhead_row(way, results["networks"]) for way in ("apply_gradients", "update and apply_updates")),
    ]
    return "\n".join(lines)


def _sync(results: dict[str, Any]) -> str:
    models = " ".join(row["model"] for row in results["models"])
    command = f"laperm bench --peers --repeats {results['repeats']} --models {models}"
    lines = [
        _origin(results, command) + " One sync, milliseconds:",
        "",
        f"| model | weights | laperm_jax | {' | '.join(PEERS.values())} |",
        f"|---|---|---|{'---|' * len(PEERS)}",
        *(_sync_row(row) for row in results["models"]),
    ]
    return "\n".join(lines)


def _origin(results: dict[str, Any], command: str) -> str:
    return f"On {results['device']} ({results['date'][:10]}, jax {results['versions']['jax']}; `{command}`)."


def _sync_row(row: dict[str, Any]) -> str:
    sync, *others = (_milliseconds(row[f"{name}_ms"]) for name in ("sync", *PEERS))
    return f"| {row['model']} | {row['weights']:,} | **{sync}** | {' | '.join(others)} |"


def _milliseconds(time: float | None) -> str:
    if time is None:
        return "not installed"
    return f"{time:.3g}" if time < 1000 else f"{time:,.0f}"


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


FILES: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("training.json", _training),
    ("step_overhead.json", _overhead),
    ("bench.json", _sync),
)

if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(insert(path.read_text(), render(ROOT / "benchmarks" / "results")))
