"""laperm profile, laperm decompose and laperm trace: what they read, print and draw."""

import matplotlib.image
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from laperm_jax.lab.cli import app as cli
from laperm_jax.lab.config import ConfigError, with_settings
from laperm_jax.lab.inspection import decomposing, packing, tracing, weight_files
from laperm_jax.lab.runs import plots
from laperm_jax.lab.runs.run import train
from laperm_jax.sync._vectors import from_vectors, weight_vectors
from tests.runs import MLP

pytestmark = pytest.mark.usefixtures("compiled_once")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs by LaPerm and by Adam alone, and their summaries."""
    folder = tmp_path_factory.mktemp("runs")
    configs = {"laperm": MLP, "adam": with_settings(MLP, sync_period=None)}
    return {name: (folder / name, train(config, folder / name)) for name, config in configs.items()}


def refuse(arguments, capsys):
    assert cli.main(list(map(str, arguments))) == cli.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_run_is_read_with_its_initial_weights(runs):
    run, _ = runs["laperm"]
    layers = weight_files.read(run)
    assert list(layers.axes) == ["dense1/kernel", "output/kernel"]
    for path, kernel in layers.weights.items():
        np.testing.assert_array_equal(np.sort(kernel, axis=0), np.sort(layers.initial[path], axis=0))
        assert (kernel != layers.initial[path]).any()


def test_files_of_all_kinds_are_read(runs, tmp_path):
    run, _ = runs["laperm"]
    expected = weight_files.read(run).weights
    packing.pack(run, tmp_path / "net.laperm")
    for path in (tmp_path / "net.laperm", run / "weights.safetensors"):
        layers = weight_files.read(path)
        assert layers.initial is None
        assert {name: array.tobytes() for name, array in layers.weights.items()} == {
            name: array.tobytes() for name, array in expected.items()
        }


def test_profile_prints_and_draws(runs, tmp_path, capsys):
    run, _ = runs["adam"]
    assert cli.main(["profile", str(run), "--out", str(tmp_path / "profiles.png")]) == 0
    output = capsys.readouterr().out
    assert output.count("before") == output.count("after") == 2
    assert matplotlib.image.imread(tmp_path / "profiles.png").std() > 0.05
    assert cli.main(["profile", str(run / "weights.safetensors")]) == 0
    assert "before" not in capsys.readouterr().out


def test_a_layer_of_many_long_vectors_is_drawn_from_some_of_its_places(tmp_path):
    weights = {"kernel": RNG.normal(size=(3000, 500)).astype(np.float32)}
    plots.profile_panels(tmp_path / "large.svg", None, weights, {"kernel": (0,)})
    assert (tmp_path / "large.svg").stat().st_size < 2_000_000


def test_what_cannot_be_profiled_is_refused(runs, tmp_path, capsys):
    assert "holds no run" in refuse(["profile", tmp_path], capsys)
    assert "there is no file" in refuse(["profile", tmp_path / "none.h5"], capsys)
    save_file({"kernel": np.full((3, 3), np.nan)}, tmp_path / "nan.safetensors")
    assert "kernel: vectors must be finite" in refuse(["profile", tmp_path / "nan.safetensors"], capsys)
    run, _ = runs["laperm"]
    assert "is no picture; name one of *.png" in refuse(["profile", run, "--out", tmp_path / "p.txt"], capsys)
    (tmp_path / "file").touch()
    assert cli.main(["profile", str(run), "--out", str(tmp_path / "file" / "p.png")]) == cli.CANNOT_WRITE


def test_decompose_measures_what_parts_are_worth(runs, capsys):
    for name, (run, summary) in runs.items():
        found = decomposing.decompose_run(run)
        assert found.scores["as trained"] == summary["test_accuracy"]
        assert found.scores["D1 shuffled"] < 0.35 < found.scores["D2 removed"]
        for shares in found.shares.values():
            assert sum(shares[:3]) == pytest.approx(1, abs=1e-5)
            assert shares.residual_scaled <= shares.residual + 1e-6
            held = shares.residual_initial - shares.residual
            assert held == pytest.approx(0, abs=1e-6) if name == "laperm" else held > 0
    assert cli.main(["decompose", str(runs["adam"][0])]) == 0
    assert "D0 normal, D2 removed" in capsys.readouterr().out


def test_networks_with_batchnorm_are_decomposed(tmp_path, monkeypatch):
    monkeypatch.setattr(decomposing, "_BATCHES", 2)
    config = with_settings(MLP, model="conv2", epochs=None, steps=2, batch_size=16, sync_period=1)
    train(config, tmp_path / "run")
    found = decomposing.decompose_run(tmp_path / "run")
    assert list(found.shares) == ["conv1/kernel", "conv2/kernel", "dense1/kernel", "dense2/kernel", "output/kernel"]
    assert all(0 <= accuracy <= 1 for accuracy in found.scores.values())


def test_trace_follows_a_kernel_to_the_weights_of_the_run(runs, tmp_path, capsys):
    run, summary = runs["laperm"]
    traced = tracing.trace(run, "output/kernel")
    final = load_file(run / "weights.safetensors")["output/kernel"]
    assert traced.same
    np.testing.assert_array_equal(traced.vectors[-1], weight_vectors(final, (0,)))
    assert traced.steps[:2] == [0, 10]
    assert traced.steps[-1] == summary["best_epoch"] * 19
    np.testing.assert_array_equal(
        np.sort(traced.vectors, axis=2), np.sort(traced.vectors[:1], axis=2).repeat(len(traced.steps), 0)
    )
    assert cli.main(["trace", str(run), "--out", str(tmp_path / "trace.png")]) == 0
    assert "the last weights in it are the run's own, bit for bit" in capsys.readouterr().out
    assert matplotlib.image.imread(tmp_path / "trace.png").std() > 0.05
    assert tracing.trace(runs["adam"][0]).shape == (8, 8, 1)


def test_what_cannot_be_traced_is_refused(runs, tmp_path, capsys):
    run, _ = runs["laperm"]
    assert "there are dense1/kernel, output/kernel" in refuse(["trace", run, "--layer", "conv"], capsys)
    assert "is no picture" in refuse(["trace", run, "--out", tmp_path / "trace.doc"], capsys)
    begun = tmp_path / "begun"
    begun.mkdir()
    for name in ("config.json", "weights.safetensors"):
        (begun / name).write_bytes((run / name).read_bytes())
    with pytest.raises(ConfigError, match="has not come to its end; go on with it by --resume"):
        tracing.trace(begun)


@pytest.mark.parametrize(("shape", "axes"), [((3, 4, 5), (0, 1)), ((3, 4, 5), (0, 2)), ((3, 4), ()), ((6,), (0,))])
def test_vectors_go_back_to_where_they_came_from(shape, axes):
    array = RNG.normal(size=shape)
    np.testing.assert_array_equal(from_vectors(weight_vectors(array, axes), shape, axes), array)
