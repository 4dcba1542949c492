"""Writes the README's table of results from the files in benchmarks/results.

python benchmarks/readme.py
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- results: written by `make readme` from benchmarks/results -->"
END = "<!-- end of results -->"


def render(results: Path) -> str:
    """The tables in Markdown, for every device that was measured."""
    return "\n\n".join(_device(folder) for folder in sorted(results.iterdir()) if folder.is_dir())


def insert(readme: str, tables: str) -> str:
    """The README with the tables between its two markers."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{tables}\n{END}", readme)


def _device(folder: Path) -> str:
    training, overhead = (json.loads((folder / f"{name}.json").read_text()) for name in ("training", "step_overhead"))
    lines = [
        f"On {training['device']} ({training['date'][:10]}, jax {training['versions']['jax']}; "
        f"`{training['command']}` and `{overhead['command']}`):",
        "",
        "| run | seeds | test accuracy | free weights | training | a step |",
        "|---|---|---|---|---|---|",
        *(_training_row(row) for row in training["rows"]),
        "",
        f"`laperm train`, from start to end: {training['laperm_train_seconds']:.0f} s.",
        "",
        "| a step that is no sync, over Adam alone | mlp | Conv7 |",
        "|---|---|---|",
        *(_overhead_row(way, overhead["networks"]) for way in ("apply_gradients", "update and apply_updates")),
    ]
    return "\n".join(lines)


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


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(insert(path.read_text(), render(ROOT / "benchmarks" / "results")))
