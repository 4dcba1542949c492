"""Timing of several functions, in turns."""

import time
from collections.abc import Callable
from typing import Any

import jax

PATIENCE = 10.0  # seconds


def in_turns(functions: dict[str, Callable[[int], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each function's calls, made in turns after a first one that is not counted.

    A function that has taken ``PATIENCE`` seconds is not called again; each is timed once at least.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            if sum(seconds[name]) > PATIENCE:
                continue
            started = time.perf_counter()
            jax.block_until_ready(function(turn))
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds
