"""How small packed networks are, beside their entropy and general compressors, and how long it takes.

    python benchmarks/packing.py

Trains, packs and unpacks; writes benchmarks/results/DEVICE/packing.json. Needs the commands zstd and xz, and MNIST and
CIFAR-10 in TFDS_DATA_DIR. About a quarter of an hour on two cores.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import write

from laperm_jax import codec, flax_fan_in
from laperm_jax.lab.config import TrainConfig, make_config, paper_preset, with_settings
from laperm_jax.lab.inspection import packing
from laperm_jax.lab.runs.run import train
from laperm_jax.lab.runs.weights import load
from laperm_jax.sync._vectors import weight_vectors

# Conv13 for a moment only: the order of its values does not change the size.
CONV13 = with_settings(
    paper_preset("conv13"), epochs=None, steps=20, sync_period=10, validation_size=500, augment=False
)
MLP = make_config(dataset="mnist", epochs=2, sync_period=100, batch_size=128)
NETWORKS = {
    "Conv13": CONV13,
    "mlp 256-256": MLP,
    "mlp 256-256, keep 30 %": with_settings(MLP, keep=(0.3,)),
    **{
        f"mlp 256-256, {values} values": with_settings(
            MLP, init=f"levels:{values}", sync_period=50, error_feedback=True
        )
        for values in (2, 3, 4, 8, 16)
    },
    "F1, shared value": paper_preset("f1"),
    "F2, shared value": paper_preset("f2"),
}
COMPRESSORS = {"zstd -19": ["zstd", "-19", "--stdout"], "xz -9": ["xz", "-9", "--stdout"]}


def packed_ranks(vectors: np.ndarray) -> bytes:
    """Each weight as the number of its value among its vector's different values, in as many bits as that takes."""
    bits = []
    for vector in vectors:
        values, numbers = np.unique(vector, return_inverse=True)
        width = max(1, int(np.ceil(np.log2(len(values)))))
        bits.append(((numbers[:, None] >> np.arange(width)) & 1).astype(np.uint8).ravel())
    return np.packbits(np.concatenate(bits)).tobytes()


def compressed(command: list[str], content: bytes) -> int:
    return len(subprocess.run(command, input=content, stdout=subprocess.PIPE, check=True).stdout)


def measure(name: str, config: TrainConfig, folder: Path) -> dict[str, object]:
    run, file, out = folder / "run", folder / "net.laperm", folder / "out"
    train(config, run)
    seconds = {}
    for action, arguments in {"pack": [run, file], "unpack": [file, out]}.items():
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "laperm_jax.lab.cli.app", action, *map(str, arguments)], check=True)
        seconds[f"{action}_seconds"] = time.perf_counter() - started
    original = (run / "weights.safetensors").read_bytes()
    assert (out / "weights.safetensors").read_bytes() == original
    weights = load(run / "weights.safetensors")
    axes = {path: flax_fan_in(path, weights[path]) for path in packing.recipes(config)}
    bound = sum(codec.entropy(weights[path], of_path) for path, of_path in axes.items()) / 8
    floats = b"".join(weights[path].tobytes() for path in axes)
    ranks = b"".join(packed_ranks(weight_vectors(weights[path], of_path)) for path, of_path in axes.items())
    others = sum(array.nbytes for path, array in weights.items() if path not in axes)
    row = {
        "network": name,
        "weights_bytes": len(original),
        "other_bytes": others,
        "reordered_weights": sum(weights[path].size for path in axes),
        "entropy_bytes": bound,
        "packed_bytes": file.stat().st_size,
        "places_bytes": sum(codec.permutation_bytes(file.read_bytes()).values()),
        **{
            f"{what}, {how}": compressed(command, content)
            for how, command in COMPRESSORS.items()
            for what, content in {"floats": floats, "ranks": ranks}.items()
        },
        **seconds,
    }
    print(row, flush=True)
    return row


def main() -> None:
    if missing := [command for command in ("zstd", "xz") if not shutil.which(command)]:
        raise SystemExit(f"{', '.join(missing)} must be installed")
    rows = []
    for name, config in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(name, config, Path(folder)))
    write("packing", "python benchmarks/packing.py", {"rows": rows})


if __name__ == "__main__":
    main()
