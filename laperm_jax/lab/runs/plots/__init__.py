"""Pictures of runs and measurements, drawn with matplotlib to files."""

from laperm_jax.lab.runs.plots.curves import curves
from laperm_jax.lab.runs.plots.latency import latency
from laperm_jax.lab.runs.plots.profiles import profiles
from laperm_jax.lab.runs.plots.style import FREE, INITIAL, PICTURES, RECONNECTED, check_picture, short_name, tidy

__all__ = [
    "FREE",
    "INITIAL",
    "PICTURES",
    "RECONNECTED",
    "check_picture",
    "curves",
    "latency",
    "profiles",
    "short_name",
    "tidy",
]
