"""What a sync costs on several devices, and what a transformer of a billion weights needs on eight.

    python benchmarks/sharding.py

Forced CPU devices stand in for accelerators, so that bytes and work are counted, not seconds: what each device receives
and sorts is read from the compiled program. Every program is also run, on one process and on two, and all must leave
the same bits. About two minutes on two CPU cores.
"""

import argparse
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from record import write

from laperm_jax import flax_fan_in, laperm
from laperm_jax.lab.benchmark import compiled
from laperm_jax.lab.training import launch

PROCESSES_AND_DEVICES = [(1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (2, 2), (2, 4)]  # devices of each process
WIDTH, BIG_WIDTH, BIG_LAYERS, VOCABULARY = 512, 1536, 36, 50_304
# Of each kernel of a layer, the axis that is spread over devices, if any.
LAYOUTS = {
    "replicated": {},
    "fan-out (tensor parallel)": {"query": 1, "key": 1, "value": 1, "out": 2, "up": 1, "down": 1},
    "fan-in (FSDP)": dict.fromkeys(("query", "key", "value", "out", "up", "down"), 0),
    "fan-out, then fan-in (Megatron)": {"query": 1, "key": 1, "value": 1, "out": 0, "up": 1, "down": 0},
}
# The CPU's own order of operations lets temporaries of all leaves live at once; accelerators get one that saves memory.
AS_ON_ACCELERATORS = "--xla_cpu_enable_concurrency_optimized_scheduler=false"


def layer(width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the kernels of a transformer's layer."""
    heads = (width // 64, 64)
    shapes = dict.fromkeys(("query", "key", "value"), (width, *heads))
    return shapes | {"out": (*heads, width), "up": (width, 4 * width), "down": (4 * width, width)}


def place(mesh: Any, shapes: dict[str, tuple[int, ...]], layout: str, layers: int | None = None) -> Any:
    """Abstract kernels with their shardings; stacked, with a leading axis of layers."""
    tree = {}
    for name, shape in shapes.items():
        spec: list[str | None] = [None] * len(shape)
        if name in LAYOUTS[layout]:
            spec[LAYOUTS[layout][name]] = "x"
        if layers:
            shape, spec = (layers, *shape), [None, *spec]
        sharding = NamedSharding(mesh, PartitionSpec(*spec))
        tree[name] = {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)}
    return tree


def compile_update(tx: Any, params: Any) -> tuple[Any, Any]:
    """The compiled step, in place, and the function that makes its state: each leaf laid out as its parameter."""
    state = compiled.abstract_state(tx, params)
    step = jax.jit(tx.apply_gradients, donate_argnums=(0, 1, 2))
    init = jax.jit(tx.init, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, state))
    return step.lower(params, state, params).compile(), init


def measure(layout: str) -> dict[str, Any]:
    """One sync of a layer on all devices that there are."""
    mesh = jax.make_mesh((jax.device_count(),), ("x",), axis_types=(AxisType.Auto,))
    params = place(mesh, layer(WIDTH), layout)
    tx = laperm(optax.identity(), 1, fan_in_axes=flax_fan_in)
    step, init = compile_update(tx, params)
    text, memory = step.as_text(), step.memory_analysis()

    def draw(seed: int) -> Any:
        generator = np.random.default_rng(seed)
        arrays = {name: generator.normal(size=shape).astype(np.float32) for name, shape in layer(WIDTH).items()}
        make = lambda leaf, array: jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: array[index])
        return {name: {"kernel": make(params[name]["kernel"], array)} for name, array in arrays.items()}

    initial = draw(0)
    synced, _ = step(draw(1), init(initial), initial)
    leaves = [multihost_utils.process_allgather(leaf, tiled=True) for leaf in jax.tree.leaves(synced)]
    return {
        "layout": layout,
        "processes": jax.process_count(),
        "devices": jax.device_count(),
        "weights": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "received_bytes": compiled.received(text),
        "sorted_elements": compiled.sorted_elements(text),
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "sha256": hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest(),
    }


def measure_big(layout: str) -> dict[str, Any]:
    """A training step of a billion weights, compiled for eight devices and not run."""
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    kernels = place(mesh, layer(BIG_WIDTH), layout, BIG_LAYERS)
    sharding = NamedSharding(mesh, PartitionSpec("x"))
    embedding = jax.ShapeDtypeStruct((VOCABULARY, BIG_WIDTH), jnp.float32, sharding=sharding)
    params = {"layers": kernels, "token": {"embedding": embedding}}
    tx = laperm(optax.adam(1e-3), 1000, fan_in_axes=functools.partial(flax_fan_in, stacked=1))
    step, _ = compile_update(tx, params)
    memory = step.memory_analysis()
    weights = sum(leaf.size for leaf in jax.tree.leaves(params))
    treated = sum(leaf.size for leaf in jax.tree.leaves(kernels))
    # Weights, gradients, two moments of Adam, sorted weights; two counters. At a sync, five times the largest leaf.
    arguments = 4 * (4 * weights + treated) // 8 + 8
    return {
        "layout": layout,
        "weights": weights,
        "predicted_argument_bytes": arguments,
        "argument_bytes": memory.argument_size_in_bytes,
        "predicted_peak_bytes": arguments + 5 * 4 * max(leaf.size for leaf in jax.tree.leaves(kernels)) // 8,
        "peak_bytes": memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
    }


PARTS = {"sync": measure, "big": measure_big}


def launched(part: str, processes: int, devices: int) -> list[dict[str, Any]]:
    """Measures one part on processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [
            sys.executable,
            "-m",
            "laperm_jax.lab.training.launch",
            "-n",
            str(processes),
            "--devices",
            str(devices),
        ]
        subprocess.run([*command, __file__, "--part", part, "--out", out], check=True)
        return json.loads(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", choices=PARTS, help="measure one of the two here, on the devices that there are")
    parser.add_argument("--out", type=Path, help="file for the rows of a part")
    options = parser.parse_args()
    if options.part == "big":
        os.environ["XLA_FLAGS"] = AS_ON_ACCELERATORS  # read when the first device is asked for
    if options.part:
        launch.initialize()
        rows = [PARTS[options.part](layout) for layout in LAYOUTS if (options.part, layout) != ("big", "replicated")]
        if jax.process_index() == 0:
            options.out.write_text(json.dumps(rows))
        return
    rows = []
    for processes, devices in PROCESSES_AND_DEVICES:
        rows += launched("sync", processes, devices)
        for row in rows[-len(LAYOUTS) :]:
            moved = ", ".join(f"{kind} {size:,}" for kind, size in row["received_bytes"].items()) or "nothing"
            sorted_ = f"sorted {row['sorted_elements']:,}"
            print(f"{processes} x {devices}, {row['layout']}: received {moved}; {sorted_}", flush=True)
    if len({row["sha256"] for row in rows}) != 1:
        raise SystemExit("not all have left the same bits")
    big = launched("big", 1, 8)
    for row in big:
        print(
            f"{row['weights']:,} weights, {row['layout']}: {row['argument_bytes']:,} bytes, peak {row['peak_bytes']:,}"
        )
    write("sharding", "python benchmarks/sharding.py", {"width": WIDTH, "rows": rows, "big": big})


if __name__ == "__main__":
    main()
