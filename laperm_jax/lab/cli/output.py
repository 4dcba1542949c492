"""Console of the commands: literal text, tables that are never cut, closed pipes handled."""

import os
import signal
import sys
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from laperm_jax.lab.cli import BROKEN_PIPE

_INDENT = "  "


class Output(Console):
    """A console that prints text as it is: paths and names of layers may hold what Rich takes for markup.

    Where its reader is gone (``laperm train | head -1``) it is silent from then on, and the command ends: a training
    run in order, as after Ctrl-C, so that its folder can be resumed.

    Attributes:
      pipe_is_broken: whether the reader is gone.

    Args:
      **options: as of ``rich.console.Console``.
    """

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)
        self.soft_wrap = not self.is_terminal  # lines for a program are not folded
        self.pipe_is_broken = False

    def on_broken_pipe(self) -> None:
        """Called by Rich in place of a BrokenPipeError."""
        self.quiet = self.pipe_is_broken = True
        discard_stdout()
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler) and handler is not signal.default_int_handler:  # of a training run
            signal.raise_signal(signal.SIGINT)
        else:
            raise SystemExit(BROKEN_PIPE)

    def print_table(self, table: Table) -> None:
        """Prints a table on as many columns as it takes; where a terminal has fewer, as one block a row."""
        for column in table.columns:
            column.no_wrap, column.overflow = True, "ignore"
        wide = self.options.update(max_width=10_000)
        needed = Measurement.get(self, wide, table).maximum
        if needed > self.width and self.is_terminal:
            self._print_blocks(table)
            return
        width, self.width = self.width, max(needed, self.width)
        try:
            self.print(table, soft_wrap=False)
        finally:
            self.width = width

    def _print_blocks(self, table: Table) -> None:
        """The first column of each row, and below it the others with their titles."""
        if table.title:
            self.print(table.title)
        titles = [str(column.header) for column in table.columns]
        for cells in zip(*(column.cells for column in table.columns), strict=True):
            first, *others = (cell.plain if isinstance(cell, Text) else str(cell) for cell in cells)
            self.print(first, soft_wrap=True)
            pairs = [f"{title} {cell}" for title, cell in zip(titles[1:], others, strict=True) if cell]
            self.print(Text(_INDENT + ", ".join(pairs)), soft_wrap=False)
        if table.caption:
            self.print(table.caption)


def discard_stdout() -> None:
    """Sends what is still printed nowhere, so that Python does not complain at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
