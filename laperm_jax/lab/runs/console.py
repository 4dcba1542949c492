"""Terminal output of a run: a progress bar, a line for each epoch, and warnings."""

import contextlib
from collections.abc import Callable, Generator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from laperm_jax.lab.data.tasks import Task
from laperm_jax.lab.training.state import SyncRecord

ProgressFn = Callable[[int, int], None]  # updates made, updates in the run

_EVERY = 5  # epochs, where lines are kept
_FROZEN = 0.9  # share of weights that cannot move
_SMALL_GAIN = 0.1  # below it the networks of results/ are seven points or more behind (docs/few_levels.md)
_LARGE_GAP = 0.05  # between the scores of free and reconnected weights: an accuracy, or nats


def say(console: Console, text: str) -> None:
    """Prints a line as it is: text in brackets is no markup, and long lines are not cut."""
    console.print(text, markup=False, soft_wrap=True)


@contextlib.contextmanager
def progress_bar(console: Console) -> Generator[ProgressFn]:
    """Shows a progress bar within the block, on a terminal."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task("compiling", total=None)
        yield lambda step, total: progress.update(bar, completed=step, total=total, description="training")


def is_shown(console: Console, epoch: int, is_last: bool) -> bool:
    """Whether an epoch is printed: each on a terminal; the first, every fifth and the last in a pipe or a file."""
    return console.is_terminal or epoch == 1 or epoch % _EVERY == 0 or is_last


def epoch_line(task: Task, epoch: int, loss: float, scores: Mapping[str, float]) -> str:
    """The line that is printed after an epoch."""
    reconnected, free = map(task.format_score, scores.values())
    return f"epoch {epoch:3}  loss {loss:.4f}  validation {reconnected:>7} reconnected {free:>7} free"


def frozen_warning(metrics: SyncRecord, sizes: Mapping[str, int]) -> str | None:
    """A warning if most weights cannot move from one sync to the next.

    Args:
      metrics: what the first sync of the run does. Later the learning rate may be zero, and no weight has to move.
      sizes: path of each parameter to its number of weights.
    """
    weights = {path: sizes[path] for path in metrics}
    stuck = sum(metrics[path]["stuck"] * size for path, size in weights.items()) / sum(weights.values())
    if stuck <= _FROZEN:
        return None
    return (
        f"{stuck:.1%} of the weights cannot reach a neighbouring value from one sync to the next, and stay where they "
        "are; give a longer --sync-period or a larger --learning-rate"
    )


def gain_warning(gain: float) -> str | None:
    """A warning if the initial kernels are so small that reordering them cannot give outputs of the needed size.

    Args:
      gain: of :func:`laperm_jax.lab.training.diagnostics.initial_gain`.
    """
    if gain >= _SMALL_GAIN:
        return None
    return (
        f"initial kernels shrink signals to {gain:.1g} of what He's initialization keeps, and reordering cannot scale "
        "them; use --init he_uniform or larger values, and with --keep also --keep-rescale"
    )


def gap_warning(task: Task, scores: Mapping[str, float]) -> str | None:
    """A warning if reconnected weights score much worse than the inner optimiser's weights between syncs."""
    reconnected, free = scores.values()
    if abs(free - reconnected) <= _LARGE_GAP or not task.is_better(free, reconnected):
        return None
    gap = task.format_score(abs(free - reconnected))
    return (
        f"reconnected weights score {gap} worse than free ones; a shorter --sync-period, or a learning rate that "
        "decays to zero, brings them together"
    )


def chance_warning(task: Task, scores: Mapping[str, float]) -> str | None:
    """A warning if the network scores no better than a constant answer."""
    reconnected, _ = scores.values()
    if not task.at_chance(reconnected):
        return None
    return (
        f"a validation {task.score} of {task.format_score(reconnected)} is no better than chance; try another "
        "--learning-rate, --sync-period or --init, or more --epochs"
    )
