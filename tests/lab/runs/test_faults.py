"""What happens to runs where machines and files fail; `python benchmarks/reliability.py` counts it all."""

import contextlib
import functools
import gc
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from rich.console import Console

from laperm_jax.lab.cli import app as cli
from laperm_jax.lab.cli.commands.train import Train
from laperm_jax.lab.config import ConfigError, with_settings
from laperm_jax.lab.data import datasets
from laperm_jax.lab.inspection import keras_weights
from laperm_jax.lab.runs.run import train
from laperm_jax.lab.training import optimizers
from tests.runs import MLP, bits_lost, files, stopped_after

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.usefixtures("compiled_once"),
    # Orbax leaves coroutines and threads behind where reading or writing fails.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

MNIST = Path(os.environ.get("TFDS_DATA_DIR", "missing")) / "mnist"


@pytest.fixture(autouse=True)
def collect_what_orbax_leaves_behind():
    yield
    gc.collect()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(MLP, out)
    return out


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def stopped(out):
    """A run that was stopped in its third epoch: it has checkpoints after 38 and 50 updates."""
    with stopped_after(50):
        train(MLP, out, resume=True)
    return out


@pytest.fixture
def file_system(tmp_path):
    """Mounts a file system of some size, or mounts it again, at a folder."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode

    if not shutil.which("mount") or mount("size=1m"):
        pytest.skip("mounting a file system needs root on Linux")

    def remount(options):
        assert not mount(f"remount,{options}")
        return folder

    yield remount
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_killed_at_any_moment(tmp_path, record_fault):
    """Also before the first checkpoint, while one is saved, and while other files are written; 20 times at night."""
    options = ["--widths", "16", "--epochs", "20", "--sync-period", "10", "--resume", "--out"]
    command = lambda name: [sys.executable, "-m", "laperm_jax.lab.cli.app", "train", *options, str(tmp_path / name)]
    run_to_the_end = functools.partial(subprocess.run, check=True, capture_output=True)
    run_to_the_end(command("whole"))
    started = time.monotonic()
    run_to_the_end(command("again"))
    seconds = time.monotonic() - started
    kills, enough = {"run 0": 0}, 5 if hypothesis.settings.default.max_examples <= 100 else 20
    while sum(kills.values()) < enough:
        out = list(kills)[-1]
        process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL)
        try:
            assert process.wait(random.uniform(0.3, 1) * seconds) == 0
            kills[f"run {len(kills)}"] = 0
        except subprocess.TimeoutExpired:
            process.kill()
            kills[out] += process.wait() == -signal.SIGKILL
    run_to_the_end(command(list(kills)[-1]))
    same = {out: files(tmp_path / out) == files(tmp_path / "whole") for out in kills}
    survived = sum(kills[out] for out in kills if same[out])
    lost = sum(bits_lost(tmp_path / out, tmp_path / "whole") for out in kills)
    record_fault("`kill -9` at a random moment of a training", sum(kills.values()), survived, lost)


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def read(checkpoint):
    """What Orbax reads of a checkpoint; an error where it cannot."""
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(checkpointer.restore(checkpoint / "state"))]
    except Exception as error:
        return error


def flip_a_bit(path, position):
    content = bytearray(path.read_bytes())
    content[int(position * len(content)) % len(content)] ^= 1
    path.write_bytes(content)


def flip_a_bit_that_is_read(checkpoint, position):
    """The first from there on: files of checkpoints also hold nodes that nothing points to any more."""
    path, before = largest_file(checkpoint), read(checkpoint)
    while True:
        flip_a_bit(path, position)
        if read(checkpoint) != before:
            return
        position += 0.01


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def change_a_loss(checkpoint):
    path = checkpoint / "progress" / "metadata"
    path.write_text(path.read_text().replace('"train_loss": ', '"train_loss": 1'))


@pytest.mark.parametrize(
    ("fault", "damage"),
    [
        ("flipped bit", lambda checkpoint: flip_a_bit_that_is_read(checkpoint, 0.25)),
        ("flipped bit", lambda checkpoint: flip_a_bit_that_is_read(checkpoint, 0.5)),
        ("flipped bit", lambda checkpoint: flip_a_bit_that_is_read(checkpoint, 0.75)),
        ("changed metrics", change_a_loss),
        ("truncated file", lambda checkpoint: truncate(largest_file(checkpoint))),
        ("truncated file", lambda checkpoint: truncate(checkpoint / "progress" / "metadata")),
        ("deleted half", lambda checkpoint: shutil.rmtree(checkpoint / "state")),
        ("deleted half", lambda checkpoint: shutil.rmtree(checkpoint / "progress")),
        ("deleted", shutil.rmtree),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    fault, damage, stopped, out, whole, capsys, record_fault
):
    damage(stopped / "checkpoints" / "50")
    train(MLP, out, resume=True, console=Console(width=80))
    output = capsys.readouterr().out
    assert fault == "deleted" or f"the checkpoint {stopped}/checkpoints/50 " in output
    assert "resuming after update 38 of 57" in output
    record_fault(f"last checkpoint: {fault}", 1, 1, bits_lost(stopped, whole))
    assert files(stopped) == files(whole)


def test_where_every_checkpoint_is_damaged_the_run_is_refused(stopped, out, record_fault):
    for checkpoint in (stopped / "checkpoints").iterdir():
        flip_a_bit_that_is_read(checkpoint, 0.5)
    with pytest.raises(ConfigError, match="and there is none before it; remove the folder to begin again"):
        train(MLP, out, resume=True)
    record_fault("every checkpoint: flipped bit", 1, refused=1)


@pytest.mark.parametrize(
    "settings",
    [{"widths": (24,)}, {"widths": (16, 16)}, {"inner": "momentum"}, {"keep": (0.5,)}, {"seed": 1}],
    ids=str,
)
def test_a_checkpoint_of_another_run_is_refused(settings, stopped, out, tmp_path, record_fault):
    """Of another network, another optimiser, other initial weights, under the settings of this one."""
    with stopped_after(50):
        train(with_settings(MLP, **settings), tmp_path / "other", resume=True)
    shutil.rmtree(stopped / "checkpoints")
    (tmp_path / "other" / "checkpoints").rename(stopped / "checkpoints")
    with pytest.raises(
        ConfigError, match=f"checkpoint {stopped}/checkpoints/38 cannot be used: it is of a run of other"
    ):
        train(MLP, out, resume=True)
    record_fault("checkpoint of another network, optimiser or seed", 1, refused=1)


@pytest.mark.parametrize("size", [40, 120, 160, 200, 250, 300, 330])
def test_a_full_disk_stops_a_run_with_a_sentence_and_space_lets_it_go_on(
    size, file_system, whole, record_fault, monkeypatch, capsys
):
    """First at any file of a run, then no more."""
    out = file_system(f"size={size}k") / "run"
    monkeypatch.setattr(cli, "parse", lambda args: Train(MLP, out=out, resume=True))
    assert cli.main([]) == cli.CANNOT_WRITE
    errors = capsys.readouterr().err
    assert errors.startswith(f"laperm: --out {out} cannot be written: ")
    assert re.search("No space left on device|RESOURCE_EXHAUSTED", errors)
    assert errors.count("\n") == 1
    file_system("size=10m")
    train(MLP, out, resume=True)
    record_fault("disk full", 1, 1, bits_lost(out, whole))
    assert files(out) == files(whole)


def test_a_folder_that_turns_read_only_gets_a_sentence(file_system, whole, capsys, monkeypatch, record_fault):
    out = file_system("size=10m") / "run"
    with stopped_after(50):
        train(MLP, out, resume=True)
    monkeypatch.setattr(cli, "parse", lambda args: Train(MLP, out=out, resume=True))
    file_system("ro")
    assert cli.main([]) == cli.BAD_INPUT
    assert capsys.readouterr().err == f"laperm: --out {out} cannot be written: Read-only file system\n"
    file_system("rw")
    train(MLP, out, resume=True)
    record_fault("read-only folder", 1, 1, bits_lost(out, whole))
    assert files(out) == files(whole)


def test_a_folder_that_cannot_be_made_gets_a_sentence(capsys, record_fault):
    out = "/sys/laperm" if os.access("/", os.W_OK) else "/laperm"
    assert cli.main(["train", "--out", out]) == cli.BAD_INPUT
    errors = capsys.readouterr().err
    assert re.fullmatch(f"laperm: --out {out} cannot be written: .*\n", errors)
    record_fault("read-only folder", 1, refused=1)


def poisoned(adam, bad):
    """Adam behind gradients that are NaN at one update."""

    def poison(updates, count, params=None):
        nan = jnp.where(count + 1 == bad, jnp.nan, 0.0)
        return jax.tree.map(lambda update: update + nan, updates), count + 1

    source = optax.GradientTransformation(lambda _: jnp.zeros([], jnp.int32), poison)
    return lambda rate: optax.chain(source, adam(rate))


@pytest.mark.parametrize("bad", random.Random(0).sample(range(1, 58), 5))
def test_nan_gradients_stop_a_run_and_what_was_best_before_is_kept(bad, out, monkeypatch, record_fault):
    """No NaN is taken for a weight that was reordered."""
    monkeypatch.setitem(optimizers.INNER, "adam", poisoned(optax.adam, bad))
    summary = train(MLP, out, resume=True)
    assert (summary["status"], summary["steps"]) == ("diverged", bad)
    assert summary["best_epoch"] <= (bad - 1) // 19
    assert summary["exact_vectors"] == summary["total_vectors"] == 26
    record_fault("NaN gradients at a random update", 1, refused=1)


@pytest.mark.parametrize("bad", random.Random(1).sample(range(1, 58), 2))
def test_nan_gradients_are_survived_with_apply_if_finite(bad, out, monkeypatch, record_fault):
    skipping = lambda rate: optax.apply_if_finite(optax.adam(rate), max_consecutive_errors=3)
    monkeypatch.setitem(optimizers.INNER, "adam", poisoned(skipping, bad))
    summary = train(MLP, out, resume=True)
    assert (summary["status"], summary["steps"]) == ("finished", 57)
    assert summary["exact_vectors"] == summary["total_vectors"] == 26
    record_fault("NaN gradients at a random update, with `optax.apply_if_finite`", 1, 1)


@pytest.mark.skipif(not MNIST.is_dir(), reason="TFDS_DATA_DIR names no data directory with mnist")
@pytest.mark.parametrize("position", [0.1, 0.3, 0.5, 0.7, None])
def test_corrupt_records_of_a_dataset_are_refused(position, tmp_path, monkeypatch, capsys, record_fault):
    shutil.copytree(MNIST, tmp_path / "mnist")
    records = next(tmp_path.rglob("mnist-test.array_record*"))
    truncate(records) if position is None else flip_a_bit(records, position)
    monkeypatch.setattr(datasets, "_load_images", datasets._load_images.__wrapped__)
    assert cli.main(["train", "--dataset", "mnist", "--data-dir", str(tmp_path)]) == cli.BAD_INPUT
    errors = capsys.readouterr().err
    assert errors.startswith(f"laperm: mnist in {tmp_path}/mnist/3.0.1 cannot be read: ")
    assert errors.endswith("; remove that folder and run `laperm data prepare mnist`\n")
    record_fault("corrupt records of a dataset", 1, refused=1)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_the_bomb_works(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "bang")))
    assert (tmp_path / "bang").exists()


@pytest.mark.parametrize(
    ("pattern", "refused"),
    [
        ("config.json", True),
        ("checkpoints/50/state/**/*", False),
        ("checkpoints/50/progress/**/*", False),
        ("checkpoints/50/*", False),
        ("checkpoints/**/*", True),
        ("[!c]*", True),
        ("events/*", False),
    ],
)
def test_no_file_of_a_run_is_unpickled(pattern, refused, stopped, out, whole, tmp_path, record_fault):
    paths = [path for path in stopped.glob(pattern) if path.is_file()]
    for path in paths:
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "bang")))
    with pytest.raises(ConfigError, match=str(stopped)) if refused else contextlib.nullcontext():
        train(MLP, out, resume=True)
    assert not (tmp_path / "bang").exists()
    if refused:
        record_fault("pickles in the place of files of a run", len(paths), refused=len(paths))
    else:
        record_fault("pickles in the place of files of a run", len(paths), len(paths), bits_lost(stopped, whole))


def test_a_weight_file_runs_no_code(tmp_path, record_fault):
    """Neither a pickle, nor one inside HDF5, nor a Lambda layer in the description of a model."""
    bomb = pickle.dumps(Bomb(tmp_path / "bang"))
    path = tmp_path / "weights.h5"
    path.write_bytes(bomb)
    with pytest.raises(ConfigError, match=r"weights\.h5"):
        keras_weights.load(path, "f1", (28, 28, 1))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [np.void(bomb)]
    with pytest.raises(ConfigError, match=r"weights\.h5"):
        keras_weights.load(path, "f1", (28, 28, 1))
    with h5py.File(path, "w") as file:
        code = "__import__('os').mkdir('bang')"
        file.attrs["model_config"] = json.dumps({"class_name": "Lambda", "config": {"function": [code, None, None]}})
        file.attrs["layer_names"] = ["dense"]
        file["dense/dense/kernel:0"] = np.ones((784, 10), np.float32)
        file["dense"].attrs["weight_names"] = ["dense/kernel:0"]
    assert keras_weights.load(path, "f1", (28, 28, 1))["output/kernel"].shape == (784, 10)
    assert not (tmp_path / "bang").exists()
    assert not Path("bang").exists()
    record_fault("code in a weight file", 3, 1, refused=2)


def test_no_module_unpickles_or_evaluates():
    package = Path(cli.__file__).parent
    for path in package.rglob("*.py"):
        assert not re.search(r"\b(pickle|marshal|dill|joblib|allow_pickle|eval\(|exec\()", path.read_text()), path
