"""The benchmark measures what it says, the peers do the same work, compiled programs are read. No figure is judged."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console

from laperm_jax import flax_fan_in
from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.benchmark import bench, measuring, peers, trees
from laperm_jax.lab.benchmark.compiled import collectives, received, sorted_elements
from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.config.commands import BenchConfig
from laperm_jax.rules._fan_in import vector_axes
from laperm_jax.sync._vectors import weight_vectors
from tests import reference

EXPECTED_WEIGHTS = {"f1": 7_840, "conv13": 14_977_728, "gpt2": 12 * 12 * 768**2, "vit": 12 * 12 * 768**2 + 1_357_824}


@pytest.mark.parametrize("name", EXPECTED_WEIGHTS)
def test_the_treated_weights_of_a_tree(name):
    tree = trees.parameter_tree(name)
    treated = vector_axes(flax_fan_in, tree)
    assert sum(leaf.size for path, leaf in leaves_by_path(tree).items() if path in treated) == EXPECTED_WEIGHTS[name]


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_does_the_same_work(name):
    initial, weights = np.random.default_rng(0).normal(size=(2, 3, 3, 4, 5)).astype(np.float32)
    axes = (0, 1, 2)
    problem = [(weights, reference.sort_vectors(initial, axes), axes)]
    try:
        sync = peers.PEERS[name](problem)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    result = sync(0)
    np.testing.assert_array_equal(result[0], weight_vectors(reference.reconnect(weights, initial, axes), axes))


@pytest.mark.nightly
def test_a_run_writes_tables_figures_and_a_picture(tmp_path):
    config = BenchConfig(models=("f1",), largest=10**5, repeats=2, peers=True, out=tmp_path / "new")
    console = Console(width=80, record=True, quiet=True)
    rows, series = bench.run(config, console)
    (written,) = json.loads((tmp_path / "new" / "bench.json").read_text())["models"]
    assert written == rows[0]
    assert (written["model"], written["weights"], written["kernels"]) == ("f1", 7_840, 1)
    assert written["copy_ms"] > 0
    assert 0 < written["sync_ms"] <= written["sync_p95_ms"]
    assert written["state_bytes_over_weights"] == 1
    assert written["redraw_ms"] > 0
    cost = written["sync_ms"] / written["train_step_ms"]
    assert written["share_of_training"] == pytest.approx({k: cost / (int(k) + cost) for k in ("20", "100", "1000")})
    assert written["weights_per_second"] == pytest.approx(7_840 / written["sync_ms"] * 1e3)
    assert (tmp_path / "new" / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert [row["weights"] for row in series] == [1024 * 98]
    assert [table.row_count for table in bench.tables(rows)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repeats": 0}, "--repeats is 0; it must be 1 or more"),
        ({"largest": 5}, "--largest is 5; it must be 100000 or more, or 0 for no series"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(ConfigError, match=message):
        bench.run(BenchConfig(**wrong), Console(quiet=True))


@pytest.mark.nightly
def test_where_memory_is_short_less_is_measured(monkeypatch):
    config = BenchConfig(models=(), largest=10**6, repeats=1)
    for module in (bench, measuring):
        monkeypatch.setattr(module, "memory_bytes", lambda: 9 * 4 * 10**5)
    console = Console(width=80, record=True)
    _, (row,) = bench.run(config, console)
    assert row["sync_ms"] > 0
    assert row["redraw_ms"] is row["keys_sort_ms"] is None
    assert "1,000,000 weights need 0 GiB and are left out" in console.export_text()


def test_two_draws_differ():
    tree = trees.parameter_tree("f1")
    first, second = (measuring._draw(tree, seed) for seed in (0, 1))
    assert jax.tree.structure(first) == jax.tree.structure(tree)
    assert not np.array_equal(first["output"]["kernel"], second["output"]["kernel"])


def compiled_text(function, spec, out_spec, dtype=jnp.float32):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    array = jax.ShapeDtypeStruct((16, 24), dtype, sharding=NamedSharding(mesh, spec))
    return jax.jit(function, out_shardings=NamedSharding(mesh, out_spec)).lower(array).compile().as_text()


@pytest.mark.parametrize(("dtype", "size"), [(jnp.float32, 4), (jnp.int8, 1), (jnp.float16, 2)])
def test_bytes_of_each_kind(dtype, size):
    same = lambda array: array + 1
    assert collectives(compiled_text(same, P("x"), P(), dtype)) == [("all-gather", 16 * 24 * size)]
    assert received(compiled_text(same, P("x"), P(None, "x"), dtype)) == {"all-to-all": 16 * 24 * size // 8}
    assert received(compiled_text(same, P("x"), P("x"), dtype)) == {}


def test_what_is_sorted():
    assert sorted_elements(compiled_text(lambda array: jnp.sort(array, axis=0), P(None, "x"), P(None, "x"))) == 16 * 3
    two = lambda array: jax.lax.sort((array, -array), dimension=0)[1]
    assert sorted_elements(compiled_text(two, P(None, "x"), P(None, "x"))) == 16 * 3
    assert sorted_elements(compiled_text(lambda array: array, P(), P())) == 0
