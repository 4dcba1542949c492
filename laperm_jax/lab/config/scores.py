"""Scores of runs: a larger accuracy is better, and a smaller loss."""

from collections.abc import Mapping
from typing import Any, Literal

from laperm_jax.lab.config.names import TaskName

Score = Literal["accuracy", "loss"]

SCORES: dict[TaskName, Score] = {"classification": "accuracy", "language": "loss", "regression": "loss"}


def selection_score(scores: Mapping[str, Any]) -> float:
    """The validation score of a line of metrics or of a summary, with its sign such that more is better."""
    return float(scores["val_accuracy"]) if "val_accuracy" in scores else -float(scores["val_loss"])


def format_score(name: Score, score: float) -> str:
    """Formats a score: an accuracy in percent, a loss with four digits.

    Example:
      >>> from laperm_jax.lab.config.scores import format_score
      >>> format_score("accuracy", 0.98), format_score("loss", 1.61), format_score("loss", 6.04e-05)
      ('98.00%', '1.610', '6.040e-05')
    """
    return f"{score:.2%}" if name == "accuracy" else f"{score:#.4g}"
