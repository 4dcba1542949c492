"""What `import laperm_jax` brings along, and what it offers."""

import importlib.metadata
import subprocess
import sys

import laperm_jax

PUBLIC = {
    *("laperm", "LaPerm", "LaPermState", "sort_vectors", "reconnect", "matrix_fan_in", "all_fan_in", "flax_fan_in"),
    *("equinox_fan_in", "nnx_fan_in", "tabulate"),
    *("path_fan_in", "norm_reset", "every", "at_steps", "growing", "shrinking", "with_learning_rate", "initializers"),
}


def test_public_names():
    rooms = {"analysis", "codec", "lab", "rules", "sync"}  # attributes once another test has imported them
    assert {name for name in dir(laperm_jax) if not name.startswith("_")} - rooms == PUBLIC
    assert all(getattr(laperm_jax, name).__doc__ for name in PUBLIC)


def test_version():
    assert laperm_jax.__version__ == importlib.metadata.version("laperm-jax")


def test_the_core_imports_jax_and_optax_and_nothing_else_of_the_extras():
    heavy = [
        "flax",
        "tensorflow_datasets",
        "orbax",
        "matplotlib",
        "rich",
        "tyro",
        "sklearn",
        "safetensors",
        "tensorboardX",
    ]
    code = f"import sys; from laperm_jax import {', '.join(PUBLIC)}; print([x for x in {heavy} if x in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_names_are_imported_when_they_are_used():
    code = "import sys, laperm_jax; assert 'jax' not in sys.modules; laperm_jax.laperm; assert 'jax' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not hasattr(laperm_jax, "no_such_name")


def test_without_the_extra_the_command_says_what_to_install():
    code = "import sys; sys.modules['tyro'] = None; import laperm_jax.lab.cli.app"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "the command `laperm` needs tyro: install laperm-jax[lab]\n"
