"""laperm trace: the replayed run, its pictures, and what it refuses."""

import matplotlib.image
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from laperm_jax.lab.cli import app
from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.inspection import animation, replay, replay_pictures
from laperm_jax.lab.inspection.replay import Replay
from laperm_jax.sync._vectors import weight_vectors

pytestmark = pytest.mark.usefixtures("compiled_once")
RNG = np.random.default_rng(0)


@pytest.mark.nightly
def test_replay_ends_with_the_weights_and_the_score_of_the_run(runs):
    run, summary = runs["laperm"]
    replayed = replay.replay(run, "output/kernel", moments=9)
    assert replayed.exact
    final = weight_vectors(load_file(run / "weights.safetensors")["output/kernel"], (0,))
    np.testing.assert_array_equal(replayed.vectors[-1], final)
    ascending = np.sort(replayed.vectors, axis=2)
    np.testing.assert_array_equal(ascending, ascending[:1].repeat(len(replayed.steps), axis=0))
    assert replayed.steps[0] == 0
    assert replayed.steps[-1] == summary["best_epoch"] * 19
    assert replayed.scores[-1] == summary["val_accuracy"]
    assert replayed.units == 10


@pytest.mark.nightly
def test_first_layers_have_the_shape_of_an_image(runs):
    replayed = replay.replay(runs["adam"][0], moments=3)
    assert (replayed.layer, replayed.shape, replayed.units) == ("dense1/kernel", (8, 8, 1), 16)
    assert replayed.vectors.shape[1:] == (replay.MAX_UNITS, 64)


@pytest.mark.parametrize("total", [0, 1, 7, 429, 10**6])
def test_spread_moments_are_ascending_from_none_to_the_last_update(total):
    steps = replay.spread(total, 48)
    assert (steps[0], steps[-1]) == (0, total)
    assert steps == sorted(set(steps))
    assert len(steps) <= 50


def moving(values, units=3, moments=5, score="accuracy"):
    """A replay of vectors that are reordered at random."""
    vectors = RNG.permuted(np.broadcast_to(values, (moments, units, len(values))), axis=2).astype(np.float32)
    scores = np.linspace(0.1, 0.9, moments).tolist()
    return Replay("dense1/kernel", units, list(range(0, 10 * moments, 10)), vectors, (4, 4, 1), score, scores, True)


REPLAYS = {
    "distinct": moving(RNG.normal(size=16)),
    "shared": moving(np.repeat([0.0, 0.08], 8), score="loss"),
    "zero": moving(np.zeros(16)),
    "one moment": moving(RNG.normal(size=16), units=1, moments=1),
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", REPLAYS)
def test_a_replay_is_drawn(name, tmp_path):
    replay_pictures.draw(REPLAYS[name], tmp_path / "trace.png")
    assert matplotlib.image.imread(tmp_path / "trace.png").std() > 0.05


@pytest.mark.nightly
@pytest.mark.parametrize("suffix", animation.KINDS)
@pytest.mark.parametrize("name", REPLAYS)
def test_a_replay_moves(name, suffix, tmp_path):
    path = tmp_path / f"trace{suffix}"
    assert animation.animate(REPLAYS[name], path) == path.stat().st_size
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == len(REPLAYS[name].steps)


def test_frames_are_dropped_where_a_moving_picture_would_be_too_large(tmp_path, monkeypatch):
    animation.animate(REPLAYS["distinct"], tmp_path / "all.gif")
    monkeypatch.setattr(animation, "MAX_BYTES", (tmp_path / "all.gif").stat().st_size - 1)
    animation.animate(REPLAYS["distinct"], tmp_path / "some.gif")
    with Image.open(tmp_path / "some.gif") as image:
        assert image.n_frames == 3


@pytest.mark.nightly
def test_laperm_trace_draws_and_animates(runs, tmp_path, capsys):
    run, _ = runs["laperm"]
    still, moving = tmp_path / "[trace].png", tmp_path / "trace.webp"
    assert app.main(["trace", str(run), "--out", str(still), "--animate", str(moving)]) == 0
    assert f"picture in {still} and {moving}; the last weights in it are the run's own" in capsys.readouterr().out
    assert matplotlib.image.imread(still).std() > 0.05
    assert moving.stat().st_size < 2_000_000


def test_what_cannot_be_traced_is_refused(runs, tmp_path, refuse):
    run, _ = runs["laperm"]
    assert "there are dense1/kernel, output/kernel" in refuse("trace", run, "--layer", "conv")
    assert "--out" in (line := refuse("trace", run, "--out", tmp_path / "trace.doc"))
    assert "is not a picture file; name one of *.png" in line
    assert "--animate" in (line := refuse("trace", run, "--animate", tmp_path / "trace.png"))
    assert "is not a picture file; name one of *.webp, *.gif" in line
    assert "holds no run" in refuse("trace", tmp_path)
    begun = tmp_path / "begun"
    begun.mkdir()
    for name in ("config.json", "weights.safetensors"):
        (begun / name).write_bytes((run / name).read_bytes())
    with pytest.raises(ConfigError, match="is not finished; resume it with --resume"):
        replay.replay(begun)
