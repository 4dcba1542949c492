"""Timing of one parameter tree: a sync, a non-sync update, a training step."""

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from laperm_jax import flax_fan_in, laperm
from laperm_jax._paths import PyTree, leaves_by_path
from laperm_jax.lab.benchmark import peers
from laperm_jax.lab.benchmark.trees import image_shape, parameter_tree
from laperm_jax.lab.config import PAPER, paper_preset, with_settings
from laperm_jax.lab.config.commands import TreeName
from laperm_jax.lab.data import datasets
from laperm_jax.lab.models.classifiers import Shape
from laperm_jax.lab.training.build import build_training
from laperm_jax.lab.training.seeds import draw_initial
from laperm_jax.lab.training.step import make_run, make_shuffle
from laperm_jax.rules._fan_in import vector_axes
from laperm_jax.sync import _reference, _sharded, _xla_cpu
from laperm_jax.sync._keys import order_keys
from laperm_jax.sync._vectors import Axes, weight_vectors

Row = dict[str, Any]

PERIODS = (20, 100, 1000)
IMPLEMENTATIONS = {"reference": _reference}
ON_CPU = {"xla_cpu": _xla_cpu, "sharded": _sharded}  # made for CPUs and for several devices
COPIES = 5  # of the weights, that a measurement of the sync and a copy has room for
COPIES_IN_FULL = 10  # and one of everything
PATIENCE = 10.0  # seconds for the calls of one function
_NEVER = 2**31 - 1
_MANY = 5 * 10**7  # weights that our slower implementations take minutes for


def memory_bytes() -> int:
    """Memory of the device, or of the machine where the device is its processor."""
    stats = jax.devices()[0].memory_stats()
    return stats["bytes_limit"] if stats else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def measure(name: TreeName, repeats: int, with_peers: bool, dtype: str = "float32") -> Iterator[Row]:
    """One network: the sync, what LaPerm adds to an update that is none, a sync's share of training.

    Yields the row as far as it is measured, so that a benchmark that runs out of time leaves something.
    """
    tree = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), parameter_tree(name))
    row: Row = {"model": name, "dtype": dtype, "train_step_ms": None}
    row["share_of_training"] = dict.fromkeys(map(str, PERIODS))
    row |= measure_sync(tree, repeats, with_peers)
    yield row
    row |= measure_update(tree, repeats)
    yield row
    if name in PAPER and dtype == "float32":
        row["train_step_ms"] = step = measure_training_step(name, repeats)
        row["share_of_training"] = {str(k): row["sync_ms"] / (k * step + row["sync_ms"]) for k in PERIODS}
        yield row


def measure_training_step(name: TreeName, repeats: int) -> float:
    """Milliseconds of one non-sync step of the paper's training of a network, on random images."""
    config = paper_preset(name)
    config = with_settings(config, sync_period=_NEVER, validation_size=2 * config.data.batch_size)
    images, labels = np.random.default_rng(0).integers(
        0, 256, (2, 6 * config.data.batch_size, *image_shape(name)), np.uint8
    )
    split = datasets.Split(images, labels[:, 0, 0, 0].astype(np.int32) % 10)
    training = build_training(config, datasets.Dataset(split, split, 255))
    method, initial, run = training.method, draw_initial(training.network, config.seed), make_run(training.update)
    order = make_shuffle(training.task, method.steps_per_epoch, method.batch_size)([initial.order_key], 0)
    arguments = [method.init_state(initial), training.task.train, order, np.int32(0), np.int32(method.steps_per_epoch)]

    def train(turn: int) -> Any:
        del turn
        arguments[0], losses = run(*arguments)
        return losses

    return 1e3 * statistics.median(_in_turns({"train": train}, repeats)["train"]) / method.steps_per_epoch


def measure_sync(tree: PyTree, repeats: int, with_peers: bool) -> Row:
    """Latency of ``reconnected_params``, of a copy of the same weights and of a sort of their keys alone.

    Args:
      tree: shapes and dtypes.
      repeats: timed calls of each, in turns, of two sets of weights; of one where memory has no room for two.
      with_peers: whether other libraries, and the other implementations of ours, do the same work, in the same turns.

    Returns:
      Times in milliseconds: ``sync_ms`` and others, medians, with least and most in ``spread_ms``, and ``sync_p95_ms``;
      of ``redraw``, a sync that draws the initial weights again. ``None`` where memory has no room to measure.
    """
    gc.collect()  # what the row before has left behind
    axes = vector_axes(flax_fan_in, tree)
    tree = {path: leaf for path, leaf in leaves_by_path(tree).items() if path in axes}
    in_full = COPIES_IN_FULL * sum(leaf.size * leaf.dtype.itemsize for leaf in tree.values()) <= memory_bytes()
    draws = [_draw(tree, seed) for seed in range(2 if in_full else 1)]
    tx = laperm(optax.identity(), _NEVER, fan_in_axes=axes)
    opt_state = tx.init(draws[0])
    sync, compile_seconds, memory = _compiled(jax.jit(tx.reconnected_params), opt_state, draws[0])
    copy = jax.jit(lambda weights: jax.tree.map(jnp.copy, weights))
    functions: dict[str, Callable[[int], Any]] = {
        "sync": lambda turn: sync(opt_state, draws[turn % len(draws)]),
        "copy": lambda turn: copy(draws[turn % len(draws)]),
    }
    missing: dict[str, None] = {}
    if in_full:
        functions |= _redraw_and_keys(tree, axes, draws)
    else:
        missing |= {"redraw_ms": None, "keys_sort_ms": None}
    if with_peers and sum(leaf.size for leaf in tree.values()) <= _MANY:
        functions |= _implementations(axes, draws[0], opt_state.sorted_init)
    if with_peers and all(leaf.dtype == jnp.float32 for leaf in tree.values()):
        problem = [
            (np.asarray(leaf), np.asarray(opt_state.sorted_init[path]), axes[path]) for path, leaf in draws[0].items()
        ]
        for name, make in peers.PEERS.items():
            try:
                functions[name] = make(problem)
            except ModuleNotFoundError:
                missing[f"{name}_ms"] = None
    seconds = _in_turns(functions, repeats)
    weights = sum(leaf.size for leaf in draws[0].values())
    sync_ms = 1e3 * statistics.median(seconds["sync"])
    largest = max(leaf.nbytes for leaf in draws[0].values())
    return {
        "weights": weights,
        "kernels": len(axes),
        **{f"{name}_ms": 1e3 * statistics.median(times) for name, times in seconds.items()},
        **missing,
        "spread_ms": {name: [1e3 * min(times), 1e3 * max(times)] for name, times in seconds.items()},
        "sync_p95_ms": 1e3 * float(np.percentile(seconds["sync"], 95)),
        "weights_per_second": 1e3 * weights / sync_ms,
        "fraction_of_copy_bandwidth": statistics.median(seconds["copy"]) * 1e3 / sync_ms,
        "temporary_bytes_over_largest_kernel": memory.temp_size_in_bytes / largest,
        "state_bytes_over_weights": sum(leaf.nbytes for leaf in jax.tree.leaves(opt_state.sorted_init))
        / sum(leaf.nbytes for leaf in draws[0].values()),
        "sync_compile_seconds": compile_seconds,
    }


def _implementations(axes: dict[str, Axes], weights: PyTree, values: PyTree) -> dict[str, Any]:
    """The same sync by each implementation in XLA, chosen or not; all give the same bits."""

    def sync(module: ModuleType) -> Callable[[int], Any]:
        place = lambda weights, values: {path: module.place(weights[path], values[path], axes[path]) for path in axes}
        jitted = jax.jit(place)
        return lambda turn: jitted(weights, values)

    modules = IMPLEMENTATIONS | (ON_CPU if jax.default_backend() == "cpu" else {})
    return {name: sync(module) for name, module in modules.items()}


def _redraw_and_keys(tree: PyTree, axes: dict[str, Axes], draws: list[PyTree]) -> dict[str, Any]:
    """A sync that keeps no sorted copy, and a sort of the keys alone, of contiguous rows."""
    tx = laperm(optax.identity(), _NEVER, fan_in_axes=axes, redraw=lambda: _draw(tree, 0))
    opt_state = tx.init(draws[0])
    redraw = jax.jit(tx.reconnected_params)
    sort = jax.jit(lambda rows: [lax.sort(order_keys(row), dimension=1) for row in rows])
    rows = [jnp.asarray(weight_vectors(np.asarray(leaf), axes[path])) for path, leaf in draws[0].items()]
    return {"redraw": lambda turn: redraw(opt_state, draws[turn % 2]), "keys_sort": lambda turn: sort(rows)}


def measure_update(tree: PyTree, repeats: int) -> Row:
    """Cost of a non-sync update over Adam's own, with donated buffers, and the seconds to compile it."""
    params = _draw(tree, 0)
    adam = optax.adam(1e-3)
    tx = laperm(adam, _NEVER, fan_in_axes=flax_fan_in)

    def adam_apply(grads: Any, state: Any, params: Any) -> Any:
        updates, state = adam.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    makers = {
        "adam_update": (adam.update, adam.init, 0),
        "update": (tx.update, tx.init, 0),
        "adam_apply": (adam_apply, adam.init, 2),
        "apply_gradients": (tx.apply_gradients, tx.init, 2),
    }
    functions, compile_seconds = {}, {}
    for name, (function, init, donated) in makers.items():
        state = init(params)
        grads = jax.tree.map(jnp.ones_like, params)
        compiled, compile_seconds[name], _ = _compiled(
            jax.jit(function, donate_argnums=(1, donated)), grads, state, params
        )
        functions[name] = _stepper(compiled, grads, state, params, donated)
    seconds = _in_turns(functions, 3 * repeats)
    pairs = lambda name, base: zip(seconds[name], seconds[base], strict=False)  # both of one turn
    ratio = lambda name, base: statistics.median(ours / theirs for ours, theirs in pairs(name, base)) - 1
    return {
        **{f"{name}_ms": 1e3 * statistics.median(times) for name, times in seconds.items()},
        "update_over_adam": ratio("update", "adam_update"),
        "apply_gradients_over_adam": ratio("apply_gradients", "adam_apply"),
        "update_compile_seconds": compile_seconds["update"],
    }


def _stepper(compiled: Any, grads: Any, state: Any, params: Any, donated: int) -> Callable[[int], Any]:
    """A function that makes one update after another, each with the buffers the last one gave back."""
    # A copy of the parameters, since each of the functions to compare gives its arguments away.
    arguments = [grads, state, jax.tree.map(jnp.copy, params)]

    def step(turn: int) -> Any:
        del turn
        arguments[donated], arguments[1] = compiled(*arguments)
        return arguments

    return step


def _draw(tree: PyTree, seed: int) -> PyTree:
    """Normal weights; each a fresh array."""
    leaves, treedef = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    draw = jax.jit(_draw_leaf, static_argnums=(1, 2))
    draws = [draw(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, draws)


def _draw_leaf(key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
    """Drawn row by row, for the memory's sake."""
    return lax.map(lambda key: jax.random.normal(key, shape[1:], dtype), jax.random.split(key, shape[0]))


def _compiled(function: Any, *arguments: Any) -> tuple[Any, float, Any]:
    """The compiled function, the seconds it took to trace and compile, and what memory it needs."""
    started = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    return compiled, time.perf_counter() - started, compiled.memory_analysis()


def _in_turns(functions: dict[str, Callable[[int], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each function's calls, made in turns after a first one that is not counted.

    A function that has taken ``PATIENCE`` seconds is not called again; each is timed once at least.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            if sum(seconds[name]) > PATIENCE:
                continue
            started = time.perf_counter()
            jax.block_until_ready(function(turn))
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds
