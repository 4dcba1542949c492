"""The file of results: one line for each run, in a fixed order, whole whoever writes it."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from laperm_jax.lab.config import ConfigError, OutputError
from laperm_jax.lab.experiments.table import Run, Table

ORDER = [("mlp", "b"), ("mlp", "a")]


def run(variant="a", seed=0, accuracy=0.1):
    return Run("mlp", variant, seed, {"keep": [1.0]}, {"test_accuracy": accuracy}, [{"epoch": 1}])


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path / "new" / "cpu.jsonl")


def test_read_returns_what_add_has_written(table):
    assert table.read() == []
    table.add([run(accuracy=0.1 + 0.2)], ORDER)
    assert table.read() == [run(accuracy=0.1 + 0.2)]
    line = json.loads(table.path.read_text())
    assert list(line) == ["network", "variant", "seed", "settings", "summary", "curve"]


def test_order_of_lines_does_not_depend_on_the_order_of_adding(table):
    runs = [run("a", 0), run("b", 1), run("other", 0), run("b", 0)]
    table.add(runs, ORDER)
    at_once = table.path.read_bytes()
    table.path.unlink()
    for one in reversed(runs):
        table.add([one], ORDER)
    assert table.path.read_bytes() == at_once
    assert [found.key[1:] for found in table.read()] == [("b", 0), ("b", 1), ("a", 0), ("other", 0)]


def test_a_run_replaces_its_predecessor(table):
    table.add([run(accuracy=0.1), run(seed=1)], ORDER)
    table.add([run(accuracy=0.2)], ORDER)
    assert [found.summary["test_accuracy"] for found in table.read()] == [0.2, 0.1]


def test_two_writers_lose_no_run(table):
    def add_seeds(variant):
        for seed in range(20):
            Table(table.path).add([run(variant, seed)], ORDER)

    with ThreadPoolExecutor() as pool:
        list(pool.map(add_seeds, "ab"))
    assert [found.key[1:] for found in table.read()] == [(variant, seed) for variant in "ba" for seed in range(20)]


@pytest.mark.parametrize("line", ["{", '{"network": "mlp"}', "[]", "3"])
def test_a_line_that_is_no_run_is_named(table, line):
    table.add([run()], ORDER)
    table.path.write_text(table.path.read_text() + line + "\n")
    with pytest.raises(ConfigError, match=r"line 2 of .*cpu\.jsonl is not a run"):
        table.read()


def test_a_file_that_is_no_text_is_named(table):
    table.path.parent.mkdir()
    table.path.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ConfigError, match=r"cpu\.jsonl cannot be read"):
        table.read()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/deeper cannot be written: Not a directory"):
        Table(tmp_path / "file" / "deeper" / "cpu.jsonl").add([run()], ORDER)


def test_a_full_disk_leaves_the_old_table(table, monkeypatch):
    table.add([run()], ORDER)

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OutputError, match="No space left on device"):
        table.add([run(seed=1)], ORDER)
    assert table.read() == [run()]
