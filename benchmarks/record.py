"""Where measurements are written, with all that is needed to judge them."""

import json
from pathlib import Path
from typing import Any

from laperm_jax.lab.runs.summary import environment

FOLDER = Path(__file__).parent / "results"


def write(name: str, command: str, measured: dict[str, Any]) -> Path:
    """Writes ``results/DEVICE/name.json``: the command, date, device and versions, and what was measured."""
    context = environment()
    path = FOLDER / context["device"].replace(", ", "-").replace(" ", "-").lower() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"command": command, **context, **measured}, indent=2) + "\n")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return path
