"""What common values, places and residual are worth in networks trained by Adam and by LaPerm (rebuttal, answer 3).

    python benchmarks/decomposition.py

Trains MNIST networks, three seeds each, takes them apart by `laperm decompose`, and writes
benchmarks/results/DEVICE/decomposition.json. MNIST is looked for in TFDS_DATA_DIR. About ten minutes on two cores.
"""

import tempfile
from pathlib import Path

import numpy as np
from record import write
from training import CONV7, MLP

from laperm_jax.lab.config import with_settings
from laperm_jax.lab.inspection.decomposing import Decomposed, Shares, decompose_run
from laperm_jax.lab.runs.run import train
from laperm_jax.lab.runs.weights import load

SEEDS = (0, 1, 2)
NETWORKS = {"mlp 256-256": MLP, "Conv7, 1 epoch": with_settings(CONV7, epochs=1)}


def over_layers(decomposed: Decomposed, run: Path) -> dict[str, float]:
    """Shares of all layers together, each weighted by its size."""
    weights = load(run / "weights.safetensors")
    sizes = [weights[path].size for path in decomposed.shares]
    return dict(zip(Shares._fields, np.average(list(decomposed.shares.values()), axis=0, weights=sizes), strict=True))


def main() -> None:
    rows = []
    for network, config in NETWORKS.items():
        for trained_by, changes in {"LaPerm": {}, "Adam": {"sync_period": None}}.items():
            found, shares = [], []
            for seed in SEEDS:
                with tempfile.TemporaryDirectory() as folder:
                    run = Path(folder) / "run"
                    train(with_settings(config, seed=seed, **changes), run)
                    found.append(decompose_run(run))
                    shares.append(over_layers(found[-1], run))
            column = lambda dicts: {name: [one[name] for one in dicts] for name in dicts[0]}
            row = {
                "network": network,
                "trained by": trained_by,
                "seeds": list(SEEDS),
                "shares": column(shares),
                "accuracies": column([one.scores for one in found]),
            }
            print(row, flush=True)
            rows.append(row)
    write("decomposition", "python benchmarks/decomposition.py", {"rows": rows})


if __name__ == "__main__":
    main()
