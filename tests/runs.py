"""Runs of `laperm train` that several tests stop, damage and compare."""

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from laperm_jax.lab.config import make_config
from laperm_jax.lab.training.loop import Loop

MLP = make_config(widths=(16,), epochs=3, sync_period=10, learning_rate=2e-2)  # 19 updates an epoch
CHANGING = {"train_seconds", "compile_seconds", "examples_per_second", "date"}


def files(path: Path) -> tuple[Any, ...]:
    """What a run leaves behind, without times."""
    without = lambda record: {name: value for name, value in record.items() if name not in CHANGING}
    metrics = [without(json.loads(line)) for line in (path / "metrics.jsonl").read_text().splitlines()]
    weights = {name: array.tobytes() for name, array in load_file(path / "weights.safetensors").items()}
    return without(json.loads((path / "summary.json").read_text())), metrics, weights


def bits_lost(path: Path, expected: Path) -> int:
    """Number of bits in which the final weights of two runs differ."""
    ours, theirs = (
        np.concatenate([array.ravel().view(np.uint8) for _, array in sorted(load_file(run).items())])
        for run in (path / "weights.safetensors", expected / "weights.safetensors")
    )
    return int(np.bitwise_count(ours ^ theirs).sum())


@contextlib.contextmanager
def stopped_after(step: int, number: int = signal.SIGTERM) -> Iterator[None]:
    """Makes a signal come during the given update of whatever is trained in the block."""
    run_piece = Loop._run_piece

    def signalled(loop: Loop, order: Any, start: int, end: int) -> np.ndarray:
        if loop.step < step <= loop.step + end - start:
            signal.raise_signal(number)
            end = start + step - loop.step
        return run_piece(loop, order, start, end)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_run_piece", signalled)
        yield
