"""What syncs do at several periods, and what comes of it: the figures behind the rule of thumb in docs/analysis.md.

    python benchmarks/sync_period.py

Trains MNIST networks at each period, two seeds, and writes benchmarks/results/DEVICE/sync_period.json: the metrics of
the first sync, means over all weights, and test accuracies. MNIST is looked for in TFDS_DATA_DIR.
About ten minutes on two cores.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from record import write
from training import CONV7, F1, MLP

from laperm_jax.lab.config import with_settings
from laperm_jax.lab.runs.run import train
from laperm_jax.lab.runs.weights import load

SEEDS = (0, 1)
PERIODS = (5, 20, 50, 100, 200, 400)
SHORT_MLP = with_settings(MLP, epochs=5)
NETWORKS = {
    "mlp": (SHORT_MLP, PERIODS),
    "mlp, learning rate constant": (with_settings(SHORT_MLP, schedule="constant", learning_rate=1e-3), PERIODS),
    "mlp, keep 10 %": (with_settings(SHORT_MLP, keep=(0.1,)), PERIODS),
    "F1, shared value": (with_settings(F1, epochs=5), PERIODS),
    "Conv7, 1 epoch": (with_settings(CONV7, epochs=1), (20, 200)),
}


def measure(config, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        summary = train(with_settings(config, seed=seed), run)
        metrics = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["first_sync"]
        weights = load(run / "weights.safetensors")
    sizes = [weights[path].size for path in metrics]
    names = ("moved", "stuck", "rank_distance", "free_distance")
    means = {name: float(np.average([layer[name] for layer in metrics.values()], weights=sizes)) for name in names}
    return means | {name: summary[name] for name in ("test_accuracy", "test_accuracy_free")}


def main() -> None:
    rows = []
    for network, (config, periods) in NETWORKS.items():
        for period in periods:
            measured = [measure(with_settings(config, sync_period=period), seed) for seed in SEEDS]
            columns = {name: [one[name] for one in measured] for name in measured[0]}
            rows.append({"network": network, "sync_period": period, "seeds": list(SEEDS), **columns})
            print(rows[-1], flush=True)
    write("sync_period", "python benchmarks/sync_period.py", {"rows": rows})


if __name__ == "__main__":
    main()
