"""The files of a run's folder: their names, reading them, and whether a run may be written there.

Imports neither Flax nor Orbax, so that tools that only read results start quickly.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laperm_jax.lab.config import ConfigError, TrainConfig, from_settings, settings
from laperm_jax.lab.config.checks import check_fields
from laperm_jax.lab.runs import weights
from laperm_jax.lab.runs.lock import LOCK
from laperm_jax.lab.runs.weights import Weights

CONFIG, METRICS, SUMMARY, WEIGHTS = "config.json", "metrics.jsonl", "summary.json", weights.FILE
CURVES, PROFILES, EVENTS, CHECKPOINTS = "curves.png", "profiles.png", "events", "checkpoints"

Summary = dict[str, Any]  # content of summary.json
Record = Mapping[str, Any]  # a line of the metrics
Facts = Mapping[str, Any]  # content of config.json

_START = "start_sha256"


def facts_of(config: TrainConfig, start: Weights | None = None) -> Facts:
    """Everything that decides the result of a run, as ``config.json`` holds it.

    No path is among it, so that folders can be moved: ``--start`` is known by the fingerprint of its weights.

    Args:
      config: settings, resolved.
      start: the weights of ``config.model.start``.

    Returns:
      Settings by name, as JSON has them.
    """
    facts = json.loads(json.dumps({name: value for name, value in settings(config).items() if name != "start"}))
    return facts if start is None else facts | {_START: weights.fingerprint(start)}


def differences(stored: Facts, facts: Facts) -> list[str]:
    """Names of the settings in which two runs differ; a setting newer than the stored run had its default."""
    stored = {**facts_of(TrainConfig()), **stored}
    names = [name for name in stored.keys() | facts.keys() if stored.get(name) != facts.get(name)]
    order = [*settings(TrainConfig()), _START]
    return [name.removesuffix("_sha256") for name in sorted(names, key=lambda name: (name not in order, name))]


def check_folder(path: Path, facts: Facts, resume: bool = False) -> None:
    """Checks that a run can be written to a folder.

    Args:
      path: the folder.
      facts: the run.
      resume: whether the folder may hold this run already.

    Raises:
      ConfigError: if there is a file of that name, or the folder holds anything else.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {path} is a file; name a folder")
    if not path.is_dir() or {file.name for file in path.iterdir()} <= {_temporary(path / CONFIG).name, LOCK}:
        return
    if not (path / CONFIG).exists():
        raise ConfigError(f"--out {path} already holds other files; name a new folder")
    if not resume:
        raise ConfigError(f"--out {path} already holds a run; name a new folder, or resume it with --resume")
    if names := differences(_read_json(path / CONFIG), facts):
        raise ConfigError(
            f"{path} holds a run of other settings ({', '.join(names)}); give it the same, or name a new folder"
        )


def read_config(path: Path) -> TrainConfig:
    """Reads the settings of the run in a folder; ``start`` is not among them.

    Raises:
      ConfigError: if there is no run in it, or its settings cannot be read.
    """
    if not (path / CONFIG).is_file():
        raise ConfigError(f"{path} holds no run: name a folder that `laperm train --out` has written")
    try:
        config = from_settings(_read_json(path / CONFIG))
        check_fields(config)
        return config
    except ConfigError as error:
        raise ConfigError(f"{path / CONFIG} is not what a run writes ({error})") from error


def began_with_start(path: Path) -> bool:
    """Whether the run in a folder began with the order of another run (``--start``)."""
    old = any(name.endswith("_start") for name in read_summary(path) or {})  # config.json did not say so at first
    return old or _START in _read_json(path / CONFIG)


def read_weights(path: Path) -> Weights:
    """Reads the final weights of the run in a folder.

    Raises:
      ConfigError: if the run has not ended, or its file cannot be read.
    """
    if not (path / WEIGHTS).is_file():
        raise ConfigError(f"{path} holds no {WEIGHTS}: the run has not ended; resume it with --resume")
    return weights.load(path / WEIGHTS)


def read_start(path: Path) -> Weights:
    """Reads the weights that ``--start`` names.

    Raises:
      ConfigError: if there are none, or their file cannot be read.
    """
    if not (path / WEIGHTS).is_file():
        raise ConfigError(f"--start {path} holds no {WEIGHTS}: name the folder of a run that is finished")
    return weights.load(path / WEIGHTS)


def read_summary(path: Path) -> Summary | None:
    """Reads the summary of the run in a folder; None if it has not ended (it is neither finished nor diverged)."""
    if not (path / SUMMARY).exists():
        return None
    summary = _read_json(path / SUMMARY)
    return None if summary.get("status") == "interrupted" else summary


def write(path: Path, content: bytes) -> None:
    """Writes a file: all of it or nothing, whenever the process is killed."""
    _temporary(path).write_bytes(content)
    _temporary(path).replace(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file as :func:`write` does."""
    write(path, (json.dumps(content, indent=2) + "\n").encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        problem = str(error).partition("\n")[0][:200]
        raise ConfigError(f"{path} cannot be read: {problem}; remove its folder to begin again") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not what a run writes; remove its folder to begin again")
    return content


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".tmp")
