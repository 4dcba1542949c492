"""Training curves of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from laperm_jax.lab.runs.plots.style import CHOSEN, FREE, INITIAL, RECONNECTED, tidy

Records = Sequence[Mapping[str, Any]]

_MAX_TICKS = 100  # more syncs than these would be one bar
_LEAST_SPAN = 0.05  # of an axis of accuracies: a difference of 0.1 points is to look small


def curves(path: Path, records: Records, title: str, best_epoch: int = 0, sync_period: int | None = None) -> None:
    """Draws a run against epochs: training loss, validation scores, and what the first sync of each epoch did.

    Shares of weights and distances, which have different units, have panels of their own; lines are means over the
    layers, bands their range.

    Args:
      path: PNG to write.
      records: as in ``metrics.jsonl``, one an epoch.
      title: above the picture.
      best_epoch: the epoch that was chosen; 0 if none.
      sync_period: updates between syncs, to mark these; None if there are none or the period changes.
    """
    synced = [record for record in records if record["first_sync"]]
    rows = 2 if synced else 1
    figure = Figure(figsize=(10, 3.2 * rows + 0.4), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(rows, 2, squeeze=False)
    updates = records[-1]["step"]
    syncs = range(sync_period, updates + 1, sync_period) if sync_period else []
    steps_per_epoch = records[0]["step"] / records[0]["epoch"]
    _loss(panels[0, 0], records, [step / steps_per_epoch for step in syncs])
    _scores(panels[0, 1], records, best_epoch)
    if synced:
        _shares(panels[1, 0], synced)
        _distances(panels[1, 1], synced)
    for panel in panels.flat:
        tidy(panel)
        panel.set_xlabel("epoch")
        panel.set_xlim(0, records[-1]["epoch"] + 0.5)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=120)


def _loss(panel: Panel, records: Records, syncs: Sequence[float]) -> None:
    panel.plot(_column(records, "epoch"), _column(records, "train_loss"), color="black", marker=".")
    panel.set(ylabel="training loss", ylim=(0, None))
    if 0 < len(syncs) <= _MAX_TICKS:
        panel.vlines(syncs, 0.97, 1, transform=panel.get_xaxis_transform(), color=RECONNECTED, linewidth=0.8)
    if syncs:
        marked = ", marked above" if len(syncs) <= _MAX_TICKS else ""
        panel.set_title(f"{len(syncs):,} sync{'s' * (len(syncs) > 1)}{marked}", fontsize="small", color=RECONNECTED)


def _scores(panel: Panel, records: Records, best_epoch: int) -> None:
    score = "accuracy" if "val_accuracy" in records[0] else "loss"
    for name, label, color in ((f"val_{score}_free", "free", FREE), (f"val_{score}", "reconnected", RECONNECTED)):
        panel.plot(_column(records, "epoch"), _column(records, name), color=color, marker=".", label=label)
    panel.set_ylabel(f"validation {score}")
    if score == "accuracy":
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        low, high = panel.get_ylim()
        panel.set_ylim(min(low, high - _LEAST_SPAN), min(high, 1.005))
    for record in records:
        if record["epoch"] == best_epoch:
            value = record[f"val_{score}"]
            shown = f"{value:.2%}" if score == "accuracy" else f"{value:#.4g}"
            panel.plot(best_epoch, value, "o", color=CHOSEN, markersize=9, fillstyle="none", markeredgewidth=2)
            panel.axvline(best_epoch, color=CHOSEN, linestyle=":", label=f"chosen: epoch {best_epoch}, {shown}")
    panel.legend()


def _shares(panel: Panel, synced: Records) -> None:
    for name, label, color in (("moved", "moved", RECONNECTED), ("stuck", "stuck: could not move", FREE)):
        _band(panel, synced, name, label, color)
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.set(ylabel="weights, first sync of the epoch", ylim=(-0.05, 1.05))  # a line at zero is seen
    panel.legend()


def _distances(panel: Panel, synced: Records) -> None:
    _band(panel, synced, "free_distance", "free to reconnected weights", INITIAL)
    panel.set(ylabel="distance, first sync of the epoch", ylim=(0, None))
    panel.legend()


def _band(panel: Panel, synced: Records, name: str, label: str, color: str) -> None:
    epochs = _column(synced, "epoch")
    layers = np.array([[of_layer[name] for of_layer in record["first_sync"].values()] for record in synced])
    panel.plot(epochs, layers.mean(axis=1), color=color, marker=".", label=label)
    panel.fill_between(epochs, layers.min(axis=1), layers.max(axis=1), color=color, alpha=0.2, linewidth=0)


def _column(records: Records, name: str) -> list[Any]:
    return [record[name] for record in records]
