"""laperm profile: its table, its picture, and what it refuses."""

import matplotlib.image
import numpy as np
import pytest
from safetensors.numpy import save_file

from laperm_jax.lab.cli import app
from laperm_jax.lab.config import with_settings
from laperm_jax.lab.inspection import packing, profiling, weight_files
from laperm_jax.lab.runs import plots
from laperm_jax.lab.runs.run import train
from tests.runs import MLP

pytestmark = pytest.mark.usefixtures("compiled_once")
RNG = np.random.default_rng(0)


@pytest.mark.nightly
def test_a_run_is_read_with_its_initial_weights(runs):
    run, _ = runs["laperm"]
    layers = weight_files.read(run)
    assert list(layers.axes) == ["dense1/kernel", "output/kernel"]
    for path, kernel in layers.weights.items():
        np.testing.assert_array_equal(np.sort(kernel, axis=0), np.sort(layers.initial[path], axis=0))
        assert (kernel != layers.initial[path]).any()


@pytest.mark.nightly
def test_packed_and_unpacked_weights_are_the_same_layers(runs, tmp_path):
    run, _ = runs["laperm"]
    expected = weight_files.read(run).weights
    packing.pack(run, tmp_path / "net.laperm")
    for path in (tmp_path / "net.laperm", run / "weights.safetensors"):
        layers = weight_files.read(path)
        assert layers.initial is None
        assert {name: array.tobytes() for name, array in layers.weights.items()} == {
            name: array.tobytes() for name, array in expected.items()
        }


@pytest.mark.nightly
def test_free_kernels_of_a_run_have_no_row_before_training(tmp_path, capsys):
    run = tmp_path / "run"
    train(with_settings(MLP, free=("output",), epochs=None, steps=2), run)
    assert app.main(["profile", str(run), "--out", str(tmp_path / "picture.png")]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if "/kernel" in line]
    assert rows == [["dense1/kernel", "before"], ["dense1/kernel", "after"], ["output/kernel", "after"]]


def test_profile_prints_and_draws(runs, tmp_path, capsys):
    run, _ = runs["adam"]
    assert app.main(["profile", str(run), "--out", str(tmp_path / "new" / "profiles.png")]) == 0
    output = capsys.readouterr().out
    assert output.count("before") == output.count("after") == 2
    assert matplotlib.image.imread(tmp_path / "new" / "profiles.png").std() > 0.05
    assert app.main(["profile", str(run / "weights.safetensors")]) == 0
    assert "before" not in capsys.readouterr().out


def test_left_out_arrays_are_named_with_the_reason(tmp_path, capsys):
    weights = {f"mask{number}": np.ones((3, 3), bool) for number in range(5)} | {"a.kernel": np.eye(3)}
    save_file(weights, tmp_path / "a.safetensors")
    assert app.main(["profile", str(tmp_path / "a.safetensors")]) == 0
    output = capsys.readouterr().out
    assert "left out, numbers of type bool: mask0, mask1, mask2 and 2 more\n" in output
    assert list(profiling.left_out(weight_files.Layers({}, {}))) == []


@pytest.mark.nightly
@pytest.mark.parametrize(
    "kernel", [RNG.normal(size=(3000, 500)), 0.08 * (RNG.random((784, 10)) < 0.5), np.zeros((4, 3))]
)
def test_profiles_of_any_kernel_are_drawn(kernel, tmp_path):
    weights = {"kernel": kernel.astype(np.float32)}
    initial = {"kernel": RNG.permuted(weights["kernel"], axis=0)}
    for before in (None, initial):
        plots.profiles(tmp_path / "picture.svg", before, weights, {"kernel": (0,)})
        assert (tmp_path / "picture.svg").stat().st_size < 2_000_000


def test_what_cannot_be_profiled_is_refused(runs, tmp_path, refuse):
    assert "there is no file" in refuse("profile", tmp_path / "none.h5")
    assert "holds no run" in refuse("profile", tmp_path)
    save_file({"kernel": np.full((3, 3), np.nan)}, tmp_path / "nan.safetensors")
    assert "kernel: vectors must be finite" in refuse("profile", tmp_path / "nan.safetensors")
    run, _ = runs["laperm"]
    assert "is not a picture file; name one of *.png" in refuse("profile", run, "--out", tmp_path / "p.txt")
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'} is a file" in refuse("profile", run, "--out", tmp_path / "file" / "p.png")
