"""Where measurements are written, with all that is needed to judge them."""

import json
from pathlib import Path
from typing import Any

from laperm_jax.lab.runs.summary import environment

FOLDER = Path(__file__).parent / "results"


def write(name: str, command: str, measured: dict[str, Any]) -> Path:
    """Writes ``results/DEVICE/name.json``: the command, date, device and versions, and what was measured."""
    context = environment()
    path = _path(name, context)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"command": command, **context, **measured}, indent=2) + "\n")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}", flush=True)
    return path


def read(name: str) -> dict[str, Any]:
    """What :func:`write` wrote on this device with these versions; empty where there is none."""
    context = environment()
    path = _path(name, context)
    found = json.loads(path.read_text()) if path.exists() else {}
    return found if found.get("versions") == context["versions"] else {}


def _path(name: str, context: dict[str, Any]) -> Path:
    return FOLDER / context["device"].replace(", ", "-").replace(" ", "-").lower() / f"{name}.json"
