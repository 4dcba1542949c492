"""Fixtures that several test modules of the lab share: compiled programs, and runs."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from laperm_jax.lab.cli import app
from laperm_jax.lab.config import with_settings
from laperm_jax.lab.runs.run import train
from tests.lab.training.helpers import CONV, small
from tests.runs import MLP


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Compiles a program that many runs of a module share once, those in other processes included."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs")),
        "jax_persistent_cache_min_compile_time_secs": 0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        compilation_cache.reset_cache()
        yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def mlp():
    return small()


@pytest.fixture(scope="session")
def conv():
    return small(CONV)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Runs by LaPerm and by Adam alone: name to folder and summary."""
    folder = tmp_path_factory.mktemp("runs")
    configs = {"laperm": MLP, "adam": with_settings(MLP, sync_period=None)}
    return {name: (folder / name, train(config, folder / name)) for name, config in configs.items()}


@pytest.fixture
def refuse(capsys):
    """A function that runs a command line, which is to be refused, and returns the one line that is printed."""

    def run(*arguments):
        assert app.main(list(map(str, arguments))) == app.BAD_INPUT
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run
