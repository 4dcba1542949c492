"""Ctrl-C and SIGTERM as a flag that a loop can look at."""

import contextlib
import signal
import threading
from collections.abc import Callable, Generator
from typing import Any


@contextlib.contextmanager
def heard_interrupt() -> Generator[Callable[[], bool]]:
    """Notes the first Ctrl-C or SIGTERM within the block; the second one has its usual effect.

    An exception in the middle of a dispatch would lose the state, whose old arrays have been donated.

    Yields:
      A function that tells whether there was a signal; always false outside the main thread, which alone gets signals.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(*_: Any) -> None:
        noted.set()
        restore()

    for number in previous:
        signal.signal(number, note)
    try:
        yield noted.is_set
    finally:
        restore()
