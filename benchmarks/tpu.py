"""Compiles training steps with a sync inside for TPUs, on this machine's CPU, and counts what the compiler made.

    make tpu

The compiler is libtpu's, for chips that this machine does not have: nothing is run. On two CPU cores a convolutional
step takes about three minutes by both methods, so that all of it takes hours. Each program is written as soon as it is
compiled, and what the file has from the same versions is not compiled again: it can be stopped, and ``--models`` and
``--no-pods`` do a part.
"""

import argparse
import functools
import time
from collections.abc import Callable, Collection, Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from record import read, write

from laperm_jax import LaPerm, flax_fan_in, laperm
from laperm_jax._paths import map_by_path
from laperm_jax.lab.benchmark import compiled
from laperm_jax.lab.config import DEFAULTS, TrainConfig, make_config, paper_preset, resolve
from laperm_jax.lab.models.networks import Network, Variables
from laperm_jax.rules._fan_in import vector_axes
from laperm_jax.sync._keys import order_keys
from laperm_jax.sync._vectors import Axes

BATCH, CHIPS = 64, 4
UPDATE = "Conv13, update alone"  # of given gradients; all others are whole training steps
_VIT_B = make_config(model="vit", layers=12, features=768, heads=12, patch=16)
# Settings, shape of one example, dtype of an example, outputs.
MODELS: dict[str, tuple[TrainConfig, tuple[int, ...], Any, int]] = {
    UPDATE: (paper_preset("conv13"), (32, 32, 3), jnp.float32, 10),
    "Conv13": (paper_preset("conv13"), (32, 32, 3), jnp.float32, 10),
    "ResNet50": (paper_preset("resnet50"), (32, 32, 3), jnp.float32, 10),
    "transformer 4 x 128": (DEFAULTS["language"], (DEFAULTS["language"].model.context,), jnp.int32, 65),
    "ViT-B/16": (_VIT_B, (224, 224, 3), jnp.float32, 1000),
}


# Which axes of a kernel may be spread over the chips, given the axes of one vector; the first that can be divided is.
LAYOUTS: dict[str, Callable[[Axes, int], tuple[int, ...]]] = {
    "data parallel": lambda axes, ndim: (),
    "outputs sharded": lambda axes, ndim: tuple(axis for axis in range(ndim) if axis not in axes),
    "fan-in sharded": lambda axes, ndim: (axes[-1], *axes[:-1]) if len(axes) > 2 else axes,  # channels, or heads
}
PROGRAMS = [("v5e", None), *(("v5e", layout) for layout in LAYOUTS), ("v6e", None), ("v6e", "fan-in sharded")]

VOCABULARY, CONTEXT, HEAD = 32_000, 2_048, 128


class Size(NamedTuple):
    layers: int
    features: int
    hidden: int


class Pod(NamedTuple):
    """A slice, how its chips are arranged, and what the vendor says of a chip: operations and bytes a second."""

    topology: str
    fsdp: int
    tensor: int
    flops: float
    memory_bandwidth: float
    link_bandwidth: float


SIZES = {"7 billion": Size(32, 4_096, 16_384), "70 billion": Size(80, 8_192, 34_816)}
PODS = {
    "256 x v5e": Pod("v5e:16x16", 32, 8, 197e12, 819e9, 200e9),
    "512 x v5p": Pod("v5p:8x8x8", 64, 8, 459e12, 2765e9, 600e9),
}
# How each kernel is spread: tensor parallel by heads and hidden features, FSDP along the other long axis.
_SPECS = {
    "query": (None, "fsdp", "tensor", None),
    "key": (None, "fsdp", "tensor", None),
    "value": (None, "fsdp", "tensor", None),
    "out": (None, "tensor", None, "fsdp"),
    "up": (None, "fsdp", "tensor"),
    "down": (None, "tensor", "fsdp"),
    "token": ("tensor", "fsdp"),
}


def apply_gradients(tx: Any, grads: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
    """An update by LaPerm, or by an optimiser of Optax."""
    if isinstance(tx, LaPerm):
        return tx.apply_gradients(grads, opt_state, params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def make_step(network: Network, tx: Any) -> Any:
    """A training step: ``(variables, state of the optimiser, inputs, targets, key) -> (variables, state, loss)``."""

    def step(variables: Variables, opt_state: Any, inputs: jax.Array, targets: jax.Array, key: jax.Array) -> Any:
        def loss_fn(params: Any) -> tuple[jax.Array, Any]:
            logits, batch_stats = network.apply(variables._replace(params=params), inputs, key)
            return optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets).mean(), batch_stats

        (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(variables.params)
        params, opt_state = apply_gradients(tx, grads, opt_state, variables.params)
        return Variables(params, batch_stats), opt_state, loss

    return jax.jit(step, donate_argnums=(0, 1))


def make_update(tx: Any) -> Any:
    """An update by given gradients: ``(params, state of the optimiser, gradients) -> (params, state)``."""
    return jax.jit(
        lambda params, opt_state, grads: apply_gradients(tx, grads, opt_state, params), donate_argnums=(0, 1)
    )


def abstract_arguments(network: Network, tx: Any, model: str, mesh: Mesh, layout: str | None) -> tuple[Any, ...]:
    """Shapes, dtypes and shardings of a step's arguments."""
    _, shape, dtype, _ = MODELS[model]
    axes = vector_axes(flax_fan_in, network.shapes.params)

    def spec(path: str, leaf: Any) -> PartitionSpec:
        candidates = LAYOUTS[layout](axes[path], leaf.ndim) if layout and path in axes else ()
        axis = next((axis for axis in candidates if leaf.shape[axis] % CHIPS == 0), None)
        return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, "x")

    at = lambda leaf, spec: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))
    whole = lambda leaf: at(leaf, PartitionSpec())
    params = map_by_path(lambda path, leaf: at(leaf, spec(path, leaf)), network.shapes.params)
    variables = Variables(params, jax.tree.map(whole, network.shapes.batch_stats))
    opt_state = compiled.abstract_state(tx, params)
    batch = BATCH * mesh.size
    targets = (batch, *shape) if dtype == jnp.int32 else (batch,)
    by_chip = lambda shape, dtype: at(jax.ShapeDtypeStruct(shape, dtype), PartitionSpec("x"))
    key = whole(jax.eval_shape(jax.random.key, 0))
    return variables, opt_state, by_chip((batch, *shape), dtype), by_chip(targets, jnp.int32), key


def measure(step: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Compiles a step and reads the program of one chip."""
    lowered = step.lower(*arguments)
    started = time.perf_counter()
    program = lowered.compile()
    seconds = time.perf_counter() - started
    memory = program.memory_analysis()
    return {
        "compile_seconds": round(seconds, 2),
        "code_bytes": memory.generated_code_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "aliased_bytes": memory.alias_size_in_bytes,
        "received_bytes": compiled.received(program.as_text()),
    }


def rows(models: list[str], done: Collection[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Every model for every chip and layout that is not done, with LaPerm and with Adam alone."""
    for model in models:
        config, shape, _, outputs = MODELS[model]
        network = Network(resolve(config), shape, outputs)
        adam = optax.adam(1e-3)
        methods = {"Adam": adam, "LaPerm": laperm(adam, 100, fan_in_axes=flax_fan_in)}
        for chip, layout in PROGRAMS:
            if (model, chip, layout) in done:
                continue
            devices = topology(f"{chip}:2x2" if layout else f"{chip}:1x1")
            mesh = Mesh(np.array(devices), ("x",), axis_types=(AxisType.Auto,))
            row = {"model": model, "chip": chip, "chips": len(devices), "layout": layout}
            for name, tx in methods.items():
                arguments = abstract_arguments(network, tx, model, mesh, layout)
                if model == UPDATE:
                    (params, _), opt_state, *_ = arguments
                    row[name] = measure(make_update(tx), (params, opt_state, params))
                else:
                    row[name] = measure(make_step(network, tx), arguments)
            yield row


def topology(name: str) -> list[Any]:
    """The devices of a slice such as ``v5e:2x2``, of which this machine has none."""
    one_chip = {"chips_per_host_bounds": (1, 1, 1)} if name.endswith(":1x1") else {}
    return list(topologies.get_topology_desc(platform="tpu", topology_name=name, **one_chip).devices)


def _packed(halves: jax.Array, order: jax.Array) -> jax.Array:
    """Positions ``order`` sorted by 16-bit halves, as one sort of integers that hold both."""
    return lax.sort(halves << 16 | order, dimension=0, is_stable=False) & jnp.uint32(0xFFFF)


def _two_passes(keys: jax.Array, index: jax.Array) -> jax.Array:
    unsigned = keys.view(jnp.uint32) ^ jnp.uint32(2**31)
    by_low = _packed(unsigned & jnp.uint32(0xFFFF), index.view(jnp.uint32))
    high = jnp.take_along_axis(unsigned >> 16, by_low.view(jnp.int32), axis=0)
    return jnp.take_along_axis(by_low, _packed(high, index.view(jnp.uint32)).view(jnp.int32), axis=0).view(jnp.int32)


# Argsorts of the columns of float32 keys as integers, by the keys and their positions.
SORTS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "stable": lambda keys, index: lax.sort((keys, index), dimension=0, is_stable=True)[1],
    "two keys": lambda keys, index: lax.sort((keys, index), dimension=0, num_keys=2, is_stable=False)[1],
    "two passes of packed uint32": _two_passes,
}


def measure_sorts() -> Iterator[dict[str, Any]]:
    """Each way to argsort the kernel of a layer of Conv13, on one chip."""
    for chip in ("v5e", "v6e"):
        sharding = SingleDeviceSharding(topology(f"{chip}:1x1")[0])
        weights = jax.ShapeDtypeStruct((4608, 512), jnp.float32, sharding=sharding)
        for name, argsort in SORTS.items():
            of = lambda weights, argsort=argsort: argsort(
                order_keys(weights), lax.broadcasted_iota(jnp.int32, weights.shape, 0)
            )
            yield {"chip": chip, "argsort": name, **measure(jax.jit(of), (weights,))}


def shapes(size: Size) -> dict[str, Any]:
    """Parameters by Flax's names; the layers are stacked."""
    heads = (size.features // HEAD, HEAD)
    kernels = dict.fromkeys(("query", "key", "value"), (size.features, *heads)) | {
        "out": (*heads, size.features),
        "up": (size.features, size.hidden),
        "down": (size.hidden, size.features),
    }
    layers: dict[str, Any] = {name: {"kernel": (size.layers, *shape)} for name, shape in kernels.items()}
    layers |= {"norm1": {"scale": (size.layers, size.features)}, "norm2": {"scale": (size.layers, size.features)}}
    tree = {"layers": layers, "token": {"embedding": (VOCABULARY, size.features)}}
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), tree, is_leaf=lambda node: type(node) is tuple
    )


def on_pod(params: Any, mesh: Mesh) -> Any:
    """The parameters with their shardings; norms are on every chip."""

    def place(path: str, leaf: Any) -> Any:
        sharding = NamedSharding(mesh, PartitionSpec(*_SPECS.get(path.split("/")[-2], ())))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return map_by_path(place, params)


def loss_fn(params: Any, tokens: jax.Array, mesh: Mesh) -> jax.Array:
    """Cross-entropy of the next tokens, computed in bfloat16; the layers in a loop that keeps its inputs only."""
    by_text = lambda array: lax.with_sharding_constraint(array, NamedSharding(mesh, PartitionSpec("fsdp")))
    half = functools.partial(jax.tree.map, lambda leaf: leaf.astype(jnp.bfloat16))
    embedding = half(params["token"]["embedding"])

    @jax.checkpoint
    def layer(stream: jax.Array, weights: Any) -> tuple[jax.Array, None]:
        kernel = {name: leaf["kernel"] for name, leaf in half(weights).items() if "kernel" in leaf}
        inputs = _norm(stream, weights["norm1"]["scale"])
        project = lambda name: jnp.einsum("btf,fhd->bthd", inputs, kernel[name])
        attended = jax.nn.dot_product_attention(project("query"), project("key"), project("value"), is_causal=True)
        stream += jnp.einsum("bthd,hdf->btf", attended, kernel["out"])
        hidden = jax.nn.gelu(_norm(stream, weights["norm2"]["scale"]) @ kernel["up"])
        return by_text(stream + hidden @ kernel["down"]), None

    stream, _ = lax.scan(layer, by_text(embedding[tokens]), params["layers"])
    logits = (stream @ embedding.T).astype(jnp.float32)
    logits = lax.with_sharding_constraint(logits, NamedSharding(mesh, PartitionSpec("fsdp", None, "tensor")))
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits[:, :-1], tokens[:, 1:]).mean()


def _norm(stream: jax.Array, scale: jax.Array) -> jax.Array:
    wide = stream.astype(jnp.float32)
    return (wide * lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + 1e-6) * scale).astype(stream.dtype)


def measure_pods() -> Iterator[dict[str, Any]]:
    """Each size on each pod: Adam alone, LaPerm, and LaPerm with error feedback."""
    rule = functools.partial(flax_fan_in, stacked=1)
    adam = optax.adam(1e-4)
    methods = {
        "Adam": adam,
        "LaPerm": laperm(adam, 1000, fan_in_axes=rule),
        "error feedback": laperm(adam, 1000, fan_in_axes=rule, error_feedback=True),
    }
    for pod_name, pod in PODS.items():
        devices = np.array(topology(pod.topology)).reshape(pod.fsdp, pod.tensor)
        mesh = Mesh(devices, ("fsdp", "tensor"), axis_types=(AxisType.Auto,) * 2)
        for size_name, size in SIZES.items():
            params = on_pod(shapes(size), mesh)
            weights = sum(leaf.size for leaf in jax.tree.leaves(params))
            row: dict[str, Any] = {"size": size_name, "weights": weights, "pod": pod_name, **pod._asdict()}
            row["tokens"] = pod.fsdp * CONTEXT
            for name, tx in methods.items():
                row[name] = measure_on_pod(tx, params, mesh, batch=pod.fsdp)
                print(f"{size_name}, {pod_name}, {name}: {row[name]}", flush=True)
            yield row


def measure_on_pod(tx: Any, params: Any, mesh: Mesh, batch: int) -> dict[str, Any]:
    """Compiles the training step of a method on a batch of texts."""

    def step(params: Any, opt_state: Any, tokens: jax.Array) -> Any:
        loss, grads = jax.value_and_grad(loss_fn)(params, tokens, mesh)
        return *apply_gradients(tx, grads, opt_state, params), loss

    texts = NamedSharding(mesh, PartitionSpec("fsdp"))
    tokens = jax.ShapeDtypeStruct((batch, CONTEXT), jnp.int32, sharding=texts)
    arguments = params, compiled.abstract_state(tx, params), tokens
    return measure(jax.jit(step, donate_argnums=(0, 1)), arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS), help="what to compile")
    parser.add_argument("--no-pods", dest="pods", action="store_false", help="leave out the pods, which take minutes")
    options = parser.parse_args()
    table = {"libtpu": version("libtpu"), "batch": BATCH, "rows": [], "sorts": [], "pods": []}
    earlier = read("tpu")
    if earlier.get("libtpu") == table["libtpu"]:
        table |= {name: earlier[name] for name in ("rows", "sorts", "pods") if name in earlier}
    done = {(row["model"], row["chip"], row["layout"]) for row in table["rows"]}
    for row in rows(options.models, done):
        times = ", ".join(f"{name} {row[name]['compile_seconds']:.1f} s" for name in ("Adam", "LaPerm"))
        codes = ", ".join(f"{row[name]['code_bytes'] / 1e6:.1f} MB" for name in ("Adam", "LaPerm"))
        print(f"{row['model']}, {row['chips']} x {row['chip']}, {row['layout'] or 'one chip'}: {times}; {codes}")
        table["rows"] = sorted([*table["rows"], row], key=lambda row: list(MODELS).index(row["model"]))
        write("tpu", "make tpu", table)
    if not table["sorts"]:
        table["sorts"] = list(measure_sorts())
        write("tpu", "make tpu", table)
    if options.pods and not table["pods"]:
        table["pods"] = list(measure_pods())
        write("tpu", "make tpu", table)


if __name__ == "__main__":
    main()
