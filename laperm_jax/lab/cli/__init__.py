"""The command ``laperm``, and its exit codes; docs/command_line.md lists them for users."""

import sys
from collections.abc import Sequence

DIVERGED = 1  # a loss or a weight is not finite any more
BAD_INPUT = 2  # as argparse and tyro exit
CANNOT_WRITE = 74  # EX_IOERR of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command: :func:`laperm_jax.lab.cli.app.main`, from whose import on Ctrl-C ends it in a sentence.

    Args:
      args: command line without the program's name; ``sys.argv`` if None.
    """
    try:
        from laperm_jax.lab.cli import app

        return app.main(args)
    except KeyboardInterrupt:
        print("laperm: interrupted", file=sys.stderr)
        return INTERRUPTED
