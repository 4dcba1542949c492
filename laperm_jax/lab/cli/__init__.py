"""The command ``laperm``."""

import sys
from collections.abc import Sequence


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
        return 130
