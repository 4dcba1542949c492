"""`--start` is part of what a run is."""

import json

import pytest

from laperm_jax.lab.config import ConfigError, with_settings
from laperm_jax.lab.runs import run_folder
from laperm_jax.lab.runs.run import train
from tests.runs import MLP, files, stopped_after

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """Two finished runs with different weights."""
    folder = tmp_path_factory.mktemp("starts")
    for seed in (0, 1):
        train(with_settings(MLP, epochs=1, seed=seed), folder / str(seed))
    return [folder / str(seed) for seed in (0, 1)]


@pytest.fixture
def stopped(starts, tmp_path):
    """A run that began with the first of them, and was stopped."""
    with stopped_after(25):
        train(with_settings(MLP, start=starts[0]), tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.nightly
def test_resume_with_another_start_or_none_is_refused(stopped, starts):
    before = (stopped / "metrics.jsonl").read_bytes()
    for start in (starts[1], None):
        with pytest.raises(ConfigError, match=r"holds a run of other settings \(start\); give it the same"):
            train(with_settings(MLP, start=start), stopped, resume=True)
    assert (stopped / "metrics.jsonl").read_bytes() == before


@pytest.mark.nightly
def test_resume_with_a_start_where_there_was_none_is_refused(starts, tmp_path):
    with stopped_after(25):
        train(MLP, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"holds a run of other settings \(start\)"):
        train(with_settings(MLP, start=starts[0]), tmp_path / "run", resume=True)


@pytest.mark.nightly
def test_resume_with_the_same_start_elsewhere_gives_the_same_bits(stopped, starts, tmp_path):
    train(with_settings(MLP, start=starts[0]), tmp_path / "whole")
    starts[0].rename(tmp_path / "moved")
    (tmp_path / "run").rename(tmp_path / "moved_too")
    train(with_settings(MLP, start=tmp_path / "moved"), tmp_path / "moved_too", resume=True)
    assert files(tmp_path / "moved_too") == files(tmp_path / "whole")
    (tmp_path / "moved").rename(starts[0])


@pytest.mark.nightly
def test_config_json_holds_a_fingerprint_and_no_path(stopped, starts):
    content = json.loads((stopped / "config.json").read_text())
    assert str(starts[0]) not in json.dumps(content)
    assert run_folder.began_with_start(stopped)
    assert not run_folder.began_with_start(starts[0])
    assert run_folder.read_config(stopped).model.start is None
