"""Trains the networks of the README's table and writes accuracies and times to benchmarks/results/DEVICE.

    python benchmarks/training.py   # training.json, about ten minutes on two CPU cores

MNIST is looked for in TFDS_DATA_DIR (`laperm data prepare mnist`).
"""

import subprocess
import sys
import time

import numpy as np
from record import write

from laperm_jax.lab.config import make_config, paper_preset, with_settings
from laperm_jax.lab.runs.run import train

SEEDS = (0, 1, 2)
MLP = make_config(
    dataset="mnist", widths=(256, 256), inner="adam", learning_rate=2e-3, sync_period=100, batch_size=128, epochs=10
)
F1 = with_settings(paper_preset("f1"), schedule="cosine", learning_rate=2e-3)
CONV7 = with_settings(paper_preset("conv7"), schedule="cosine", augment=False, epochs=2)

ROWS = {
    "digits, mlp 256-256: `laperm train`": (make_config(), SEEDS),
    "MNIST, mlp 256-256, k = 100, 10 epochs": (MLP, SEEDS),
    "MNIST, mlp 256-256, Adam alone, 10 epochs": (with_settings(MLP, sync_period=None), SEEDS),
    "MNIST, F1 with shared value 0.08, keep 4/7, k = 250, 10 epochs": (F1, SEEDS),
    "MNIST, F1 as in the authors' notebook, 10 epochs": (paper_preset("f1"), SEEDS),
    "MNIST, Conv7, k = 20, 2 epochs": (CONV7, SEEDS),
}


def main() -> None:
    rows = []
    for name, (config, seeds) in ROWS.items():
        summaries = [train(with_settings(config, seed=seed)) for seed in seeds]
        column = lambda key, summaries=summaries: [summary[key] for summary in summaries]
        assert column("exact_vectors") == column("total_vectors")
        row = {
            "run": name,
            "seeds": list(seeds),
            "weight_vectors": column("total_vectors")[0],
            "steps": column("steps")[0],
            "test_accuracy": column("test_accuracy"),
            "test_accuracy_free": column("test_accuracy_free"),
            "val_accuracy": column("val_accuracy"),
            "train_seconds": column("train_seconds"),
            "compile_seconds": column("compile_seconds"),
            "ms_per_step": [1e3 * summary["train_seconds"] / summary["steps"] for summary in summaries],
        }
        print(
            f"{name}: {np.mean(row['test_accuracy']):.2%} reconnected, {np.mean(row['train_seconds']):.1f} s",
            flush=True,
        )
        rows.append(row)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "laperm_jax.lab.cli.app", "train"], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    write("training", "python benchmarks/training.py", {"rows": rows, "laperm_train_seconds": seconds})


if __name__ == "__main__":
    main()
