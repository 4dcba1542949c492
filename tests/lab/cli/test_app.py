"""The command line: parsing, presets, suggestions, exit codes and sentences."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import laperm_jax
from laperm_jax.lab.cli import app as cli
from laperm_jax.lab.cli.commands import COMMANDS
from laperm_jax.lab.cli.commands.train import Train
from laperm_jax.lab.config import ConfigError, TrainConfig, make_config, paper_preset, settings
from laperm_jax.lab.data import datasets

VIT = {"learning_rate": 1e-3}
_EVERY_STEP = {"error_feedback": True, "sync_period": 1}
_SPARSE = {"error_feedback": True, "keep_rescale": True}
_SHARED = {"error_feedback": True, "sync_period": 250}
_OF_F2 = {"learning_rate": 1e-3, "schedule": "exponential"}
QUICK = ["train", "--widths", "16", "--epochs", "2", "--sync-period", "10"]


def test_no_arguments_are_the_defaults():
    assert cli.parse(["train"]) == Train()


def test_options():
    line = (
        "train --dataset mnist --widths 30 20 --keep 0.5 0.25 0.1 --init shared:0.08 --augment --out runs/a --steps 9"
    )
    config = make_config(
        dataset="mnist",
        widths=(30, 20),
        keep=(0.5, 0.25, 0.1),
        init="shared:0.08",
        augment=True,
        steps=9,
        sync_period=250,
        error_feedback=True,
    )
    assert cli.parse(line.split()) == Train(config, out=Path("runs/a"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--init levels:2", {"error_feedback": True}),
        ("--keep 0.3", _SPARSE | {"sync_period": 5}),
        ("--keep 0.3 --model conv7", _SPARSE | {"sync_period": 20, "learning_rate": 1e-3}),
        ("--keep 0.3 --no-error-feedback --no-keep-rescale", {"sync_period": 5}),
        ("--init levels:2 --sync-period None", {"sync_period": None}),
        ("--model vit", VIT | _EVERY_STEP),
        ("--model vit --init levels:3:0.05", VIT | _EVERY_STEP | {"residual_noise": 1.0}),
        ("--model vit --init levels:2.0 --start runs/a", VIT | _EVERY_STEP | {"start": Path("runs/a")}),
        ("--init levels", {"error_feedback": True}),  # refused later
        ("--model conv7 --init levels:4", _EVERY_STEP | {"learning_rate": 2e-3}),
        ("--model vit --init levels:2 --no-error-feedback", VIT | {"sync_period": 1}),
        ("--model vit --init levels:2 --sync-period None", VIT | {"sync_period": None}),
        ("--model vit --init levels:20", VIT | _EVERY_STEP),
        ("--model f2 --init shared:0.03", _SHARED | _OF_F2),
        ("--model f2 --init shared:0.03 --schedule cosine", _SHARED | _OF_F2 | {"schedule": "cosine"}),
        ("--model conv7 --learning-rate 0.1", {"sync_period": 20, "learning_rate": 0.1}),
        ("--model conv7 --sync-period 50", {"sync_period": 50, "learning_rate": 1e-3}),
    ],
)
def test_the_kind_of_network_decides_what_is_not_said(line, expected):
    config = cli.parse(["train", *line.split()]).config
    said = {name: settings(config)[name] for name in ("init", "model", "keep")}
    assert config == make_config(**said | expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ("normal:0.05", 50, False)),
        ("--features 64", ("normal:0.1", 5, True)),
        ("--features 64 --no-error-feedback --init normal:0.05", ("normal:0.05", 5, False)),
        ("--features 64 --init levels:20", ("levels:20", 1, True)),
    ],
)
def test_narrow_transformers_have_defaults_of_their_own(line, expected):
    config = cli.parse(["train", "--task", "language", *line.split()]).config
    assert (config.model.init, config.sync.sync_period, config.sync.error_feedback) == expected
    assert (config.optimizer.learning_rate, config.optimizer.others_learning_rate) == (4e-3, 3.2e-2)


@pytest.mark.parametrize("model", ["f1", "f2", "conv2", "conv4", "conv7", "conv13", "resnet50"])
def test_a_preset_sets_everything(model):
    assert cli.parse(["train", "--preset", "paper", "--model", model]) == Train(paper_preset(model))


def test_options_override_a_preset_wherever_they_stand():
    line = "train --epochs 2 --no-augment --preset paper --model conv7 --sync-period 40"
    config = cli.parse(line.split()).config
    assert (config.optimizer.epochs, config.data.augment, config.sync.sync_period) == (2, False, 40)
    assert (config.data.batch_size, config.sync.permute_biases, config.data.dataset) == (50, True, "mnist")
    config = cli.parse(["train", "--preset", "paper", "--model", "conv7", "--steps", "7"]).config
    assert (config.optimizer.epochs, config.optimizer.steps) == (None, 7)


def test_a_preset_the_model_does_not_have():
    with pytest.raises(ConfigError, match="preset paper has no row for model mlp"):
        cli.parse(["train", "--preset", "paper"])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "train --no-such 3",
        "train --model vgg",
        "train --learning-rate fast",
        "data",
        "data prepare imagenet",
        "tran",
    ],
)
def test_what_cannot_be_parsed_exits_with_2(line, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(line.split())
    assert exit_.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def printed_help(line, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([*line.split(), "--help"])
    assert exit_.value.code == 0
    return capsys.readouterr().out


def test_train_help_groups_every_option_and_ends_with_three_examples(capsys):
    text, _, examples = printed_help("train", capsys).partition("examples:\n")
    for group in ("data options", "model options", "optimizer options", "sync options", "sparsity options"):
        assert group in text
    assert all(f"--{name.replace('_', '-')}" in text for name in (*settings(TrainConfig()), "out", "resume"))
    lines = examples.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert isinstance(cli.parse(shlex.split(line, comments=True)[1:]), Train)


def test_help_has_one_line_for_each_command_and_more_in_its_own(capsys):
    text = " ".join(printed_help("", capsys).replace("│", " ").split())
    for name, command in COMMANDS.items():
        assert f"• {name} {command.options.__doc__.splitlines()[0]}" in text
    assert "takes as long as it took the first time" not in text
    assert "takes as long as it took the first time" in " ".join(printed_help("trace", capsys).split())


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"laperm {laperm_jax.__version__}\n"


def test_a_shell_completion_is_printed(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--tyro-print-completion", "bash"])
    assert not exit_.value.code
    assert "--learning-rate" in capsys.readouterr().out


def test_help_and_the_list_of_experiments_import_no_jax():
    heavy = ["jax", "flax", "orbax", "matplotlib", "tensorflow_datasets", "sklearn"]
    for line in (["train", "--help"], ["experiment", "list"]):
        code = f"import sys\nfrom laperm_jax.lab.cli import main\ntry: main({line})\nexcept SystemExit: pass\n"
        code += f"assert not [name for name in {heavy} if name in sys.modules], {line}"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("tran", "there is no command tran; did you mean train?"),
        ("train --lerning-rate 3", "there is no option --lerning-rate; did you mean --learning-rate?"),
        ("train --sync_perid 3", "there is no option --sync-perid; did you mean --sync-period?"),
        ("train --no-augmnt", "there is no option --no-augmnt; did you mean --no-augment?"),
        ("train --model conv9", "did you mean conv7?"),
        ("train --model=cnv7", "did you mean conv7?"),
        ("data prepare mnits", "did you mean mnist?"),
        ("data prepair mnist", "did you mean prepare?"),
        ("experiment rnu dense", "did you mean run?"),
        ("bench --models f1 conv77", "did you mean conv7?"),
        ("profile a.h5 --output first", "there is no option --output; did you mean --outputs?"),
    ],
)
def test_a_mistyped_word_gets_a_suggestion(line, suggestion, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(line.split())
    assert exit_.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("laperm: ")
    assert last.endswith(suggestion)


def test_experiments_are_named_where_none_or_an_unknown_one_is_given(capsys):
    assert cli.main(["experiment", "run"]) == 2
    assert "laperm: name the experiment to run: `laperm experiment run NAME`; the experiments are dense, " in (
        capsys.readouterr().err
    )
    assert cli.main(["experiment", "run", "shared-valu"]) == 2
    assert "there is no experiment shared-valu; did you mean shared-value? the exper" in capsys.readouterr().err


def test_experiment_list_separates_names_from_questions(capsys):
    assert cli.main(["experiment", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line.split("  ")[0] + re.search("  +", line)[0]) for line in lines}) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --sync-period 0", "laperm: --sync-period is 0; it must be from 1 to 2147483647\n"),
        (
            "train --learning-rate -0.5",
            "laperm: --learning-rate is -0.5; it must be greater than 0 and at most 1e",
        ),
        ("train --keep", "laperm: --keep needs at least one number\n"),
        ("train --residual-noise 1e39", "laperm: --residual-noise is 1e+39; it must be from 0 to 1000\n"),
        ("train --init levels:0", "laperm: --init is levels:0; the number of levels must be a whole number from 2 to"),
        ("train --model conv13", "laperm: conv13 does not fit images of 8 x 8 x 1: nothing is left of the image"),
        ("train --preset paper", "laperm: preset paper has no row for model mlp; it has f1, f2, conv2"),
        ("data prepare digits", "laperm: digits come with scikit-learn: there is nothing to prepare\n"),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_2(line, message, capsys):
    assert cli.main(line.split()) == 2
    output = capsys.readouterr()
    assert output.err.startswith(message)
    assert output.err.count("\n") == 1
    assert output.out == ""


def test_initial_weights_that_overflow_are_not_blamed_on_the_learning_rate(capsys):
    assert cli.main([*QUICK, "--init", "levels:2:1e30"]) == 1
    output = capsys.readouterr()
    assert "stopped: the first loss is not finite; give smaller initial values by --init" in output.out
    assert output.err == ""


def test_an_unprepared_dataset_names_folder_and_command(tmp_path, capsys):
    assert cli.main(["train", "--dataset", "mnist", "--data-dir", str(tmp_path)]) == 2
    assert (
        f"mnist is not prepared in {tmp_path}/mnist/3.0.1: run `laperm data prepare mnist`" in capsys.readouterr().err
    )


def test_preparing_says_where(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(datasets, "prepare", lambda name, data_dir, say: data_dir / name)
    assert cli.main(["data", "prepare", "cifar10", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.replace("\n", "") == f"cifar10 is prepared in {tmp_path}/cifar10"


def test_train_prints_accuracy_and_proof(capsys):
    assert cli.main(QUICK) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch   1  loss ")
    assert "26 of 26 weight vectors are exact permutations of their initial values" in lines
    assert any(line.startswith("test accuracy ") for line in lines)
    assert "nothing was written: --out runs/NAME keeps a run" in lines


@pytest.mark.nightly
def test_without_a_sync_period_there_is_nothing_to_prove(capsys):
    assert cli.main([*QUICK, "--sync-period", "None"]) == 0
    assert "permutations" not in capsys.readouterr().out


@pytest.mark.nightly
def test_a_diverged_run_exits_with_1_and_names_the_step(capsys):
    assert cli.main([*QUICK, "--inner", "sgd", "--learning-rate", "1e30", "--schedule", "constant"]) == 1
    assert "stopped after update 1: loss or weights are not finite any more" in capsys.readouterr().out


def started(*arguments, **options):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "laperm_jax.lab.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_for(path, process):
    deadline = time.monotonic() + 120
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


@pytest.mark.nightly
def test_ctrl_c_leaves_a_readable_run(tmp_path):
    out = tmp_path / "run"
    process = started("train", "--epochs", "100000", "--out", out)
    wait_for(out / "metrics.jsonl", process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "interrupted after update" in stdout
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert summary["exact_vectors"] == summary["total_vectors"] == 522
    assert f"the same command with --resume resumes the run in {out}" in stdout


@pytest.mark.nightly
def test_a_run_whose_reader_is_gone_ends_in_order_and_keeps_its_files(tmp_path):
    out = tmp_path / "run"
    process = started("train", "--epochs", "100000", "--out", out)
    assert process.stdout.readline().startswith("epoch   1 ")
    process.stdout.close()  # as `| head -1`
    assert process.wait(timeout=120) == cli.BROKEN_PIPE
    with process.stderr:
        assert process.stderr.read() == ""
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert len((out / "metrics.jsonl").read_text().splitlines()) == summary["epochs"]


def test_ctrl_c_outside_training_exits_with_130_and_a_sentence(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "prepare", interrupted)
    assert cli.main(["data", "prepare", "mnist"]) == cli.INTERRUPTED
    assert capsys.readouterr().err == "laperm: interrupted\n"


@pytest.mark.nightly
def test_names_that_rich_takes_for_markup_are_printed_as_they_are(tmp_path, capsys):
    out = tmp_path / "a[/b] [lr=0.1] :smile:"
    assert cli.main([*QUICK, "--out", str(out)]) == 0
    assert f"results in {out}\n" in capsys.readouterr().out


def test_paths_that_cannot_be_used_get_a_sentence_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "file").touch()
    file, missing, below = (str(tmp_path / name) for name in ("file", "missing", "file/below"))
    for line in (
        ["train", "--out", file],
        ["train", "--out", below],
        ["train", "--dataset", "mnist", "--data-dir", file],
        ["train", "--start", missing],
        ["evaluate", "--keras-weights", str(tmp_path), "--model", "f1", "--dataset", "digits"],
        ["evaluate", "--keras-weights", missing, "--model", "f1", "--dataset", "digits"],
        ["experiment", "run", "dense", "--scale", "smoke", "--out", file],
        ["experiment", "run", "dense", "--scale", "smoke", "--out", below],
        ["experiment", "report", "--results", missing],
        ["experiment", "report", "--results", file],
        ["experiment", "report", "--out", below],
        ["bench", "--models", "f1", "--largest", "0", "--out", file],
        ["bench", "--models", "f1", "--largest", "0", "--out", below],
        ["data", "prepare", "mnist", "--data-dir", file],
        *([command, path] for command in ("profile", "decompose", "trace", "sample") for path in (file, missing)),
        ["pack", missing, str(tmp_path / "net.laperm")],
        ["pack", file, str(tmp_path / "net.laperm")],
        ["pack", missing, below],
        ["unpack", missing, str(tmp_path / "out")],
        ["unpack", file, str(tmp_path / "out")],
        ["unpack", str(tmp_path), str(tmp_path / "out")],
    ):
        assert cli.main(line) == cli.BAD_INPUT, line
        (error,) = capsys.readouterr().err.splitlines()
        assert error.startswith("laperm: ")


@pytest.mark.nightly
def test_resuming_a_finished_run_says_so_and_exits_with_0(tmp_path, capsys):
    command = [*QUICK, "--out", str(tmp_path / "r"), "--resume"]
    assert cli.main(command) == 0
    first = capsys.readouterr().out.splitlines()
    assert cli.main(command) == 0
    second = capsys.readouterr().out.splitlines()
    assert second[0] == f"nothing to do: the run in {tmp_path / 'r'} has ended"
    assert second[1:] == first[-4:]
