"""laperm pack and laperm unpack: the weights of a run as a seed and permutations."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from laperm_jax.lab.cli import app as cli
from laperm_jax.lab.config import ConfigError, OutputError, with_settings
from laperm_jax.lab.data.datasets import load
from laperm_jax.lab.inspection import packing
from laperm_jax.lab.runs.run import train
from laperm_jax.lab.runs.weights import to_numpy
from tests.lab.training.helpers import small
from tests.runs import MLP

pytestmark = [pytest.mark.usefixtures("compiled_once"), pytest.mark.nightly]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "run"
    train(with_settings(MLP, permute_biases=True), out)
    return out


def test_unpack_restores_the_run_byte_for_byte(run, tmp_path, capsys):
    file, out = tmp_path / "net.laperm", tmp_path / "new" / "out"
    assert cli.main(["pack", str(run), str(file)]) == 0
    assert "% of the 5,136 of its weights" in capsys.readouterr().out
    assert file.stat().st_size < 0.8 * (run / "weights.safetensors").stat().st_size
    assert cli.main(["unpack", str(file), str(out)]) == 0
    assert capsys.readouterr().out == f"{out}/weights.safetensors: the weights that were packed, bit for bit\n"
    assert (out / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
    assert [path.name for path in out.iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"init": "normal:0.05", "keep": (0.3,), "keep_rescale": True},
        {"init": "equidistant:0.1", "keep": (0.5, 0.2)},
        {"init": "uniform:0.1", "widths": (32, 16), "seed": 5},
        {"init": "orthogonal:2", "model": "conv7", "dataset": "mnist"},
        {"init": "shared:0.08", "model": "f1", "keep": (4 / 7,)},
        {"init": "levels:3", "model": "vit", "layers": 1, "features": 16, "heads": 2},
        {"init": "he_normal", "model": "vit", "layers": 1, "features": 16, "heads": 2, "free": ("query", "patches")},
    ],
)
def test_recipes_draw_the_initial_values_of_a_run(settings, monkeypatch):
    config = with_settings(MLP, **settings, validation_size=180)
    digits = load("digits")
    if config.data.dataset == "mnist":
        images = np.repeat(np.repeat(digits.train.images, 4, 1), 4, 2)[:, 4:, 4:]
        digits = dataclasses.replace(digits, train=dataclasses.replace(digits.train, images=images))
    run = small(config, dataset=digits)
    initial, recipes = to_numpy(run.initial.variables.params), packing.recipes(config)
    assert recipes.keys() == run.axes.keys()
    for path, recipe in recipes.items():
        assert recipe.draw(initial[path].shape, np.float32).tobytes() == initial[path].tobytes()


def test_recipes_refuse_a_malformed_pattern():
    with pytest.raises(ConfigError, match=r"--free '\(' is not a valid regular expression"):
        packing.recipes(with_settings(MLP, free=("(",)))


def refuse(arguments, capsys):
    assert cli.main(arguments) == cli.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_pack_refuses(run, tmp_path, capsys):
    file = str(tmp_path / "net.laperm")
    assert "holds no run: name a folder that `laperm train --out` has" in refuse(["pack", str(tmp_path), file], capsys)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_bytes((run / "config.json").read_bytes())
    begun = ["pack", str(tmp_path / "begun"), file]
    assert "the run has not ended; resume it with --resume" in refuse(begun, capsys)
    (tmp_path / "begun" / "weights.safetensors").write_bytes(b"nothing")
    assert "cannot be read as safetensors" in refuse(begun, capsys)
    weights = load_file(run / "weights.safetensors")
    save_file({path: array + 1 for path, array in weights.items()}, tmp_path / "begun" / "weights.safetensors")
    assert "is not a permutation of the initial values that its recipe draws; pack it with the jax" in refuse(
        begun, capsys
    )
    (tmp_path / "begun" / "config.json").write_text('{"model": "mlp", "colour": "red"}')
    assert "is not what a run writes" in refuse(begun, capsys)
    for of_another_type in ('{"init": 5}', '{"keep": 0.5}', '{"keep_rescale": 1}'):
        (tmp_path / "begun" / "config.json").write_text(of_another_type)
        assert "is not what a run writes (--" in refuse(begun, capsys)
    (tmp_path / "begun" / "config.json").write_text('{"init": "levels:1e5"}')
    assert "from 2 to 65,536, not 100000" in (sentence := refuse(begun, capsys))
    assert "pack it with" not in sentence
    (tmp_path / "begun" / "config.json").write_text('{"sync_period": null}')
    assert "trained without a sync period" in refuse(begun, capsys)
    assert not (tmp_path / "net.laperm").exists()


def test_pack_and_unpack_overwrite_nothing(run, tmp_path, capsys):
    file = tmp_path / "net.laperm"
    packing.pack(run, file)
    before = file.read_bytes()
    assert f"{file} exists already; remove it, or name another" in refuse(["pack", str(run), str(file)], capsys)
    assert "exists already" in refuse(["unpack", str(file), str(run)], capsys)
    assert file.read_bytes() == before


def test_unpack_refuses(run, tmp_path, capsys, monkeypatch):
    file, out = tmp_path / "net.laperm", tmp_path / "out"
    assert "cannot be read: No such file" in refuse(["unpack", str(file), str(out)], capsys)
    packing.pack(run, file)
    assert "max_bytes allows 1,000" in refuse(["unpack", str(file), str(out), "--max-bytes", "1000"], capsys)
    file.write_bytes(file.read_bytes()[:-1])
    assert "its checksum does not match; download it again" in refuse(["unpack", str(file), str(out)], capsys)
    assert not out.exists()


def test_unpack_refuses_another_layout_of_safetensors(run, tmp_path, monkeypatch):
    packing.pack(run, tmp_path / "net.laperm")
    to_bytes = packing.weights.to_bytes
    monkeypatch.setattr(packing.weights, "to_bytes", lambda weights: to_bytes(weights) + b" ")
    with pytest.raises(ConfigError, match="safetensors lays a file out differently here"):
        packing.unpack(tmp_path / "net.laperm", tmp_path / "out")


def test_pack_names_a_file_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"net\.laperm cannot be written: File exists"):
        packing.pack(run, tmp_path / "file" / "net.laperm")
