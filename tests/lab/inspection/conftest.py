"""Runs that the tests of this folder look at."""

import pytest

from laperm_jax.lab.config import with_settings
from laperm_jax.lab.runs.run import train
from tests.runs import MLP


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Runs by LaPerm and by Adam alone: name to folder and summary."""
    folder = tmp_path_factory.mktemp("runs")
    configs = {"laperm": MLP, "adam": with_settings(MLP, sync_period=None)}
    return {name: (folder / name, train(config, folder / name)) for name, config in configs.items()}


@pytest.fixture
def refuse(capsys):
    """A function that runs a command line, which is to be refused, and returns the one line that is printed."""
    from laperm_jax.lab.cli import app

    def run(*arguments):
        assert app.main(list(map(str, arguments))) == app.BAD_INPUT
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run
