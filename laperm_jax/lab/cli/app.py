"""The command ``laperm``: parses a command line, runs the command, and turns what goes wrong into a sentence."""

import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Union

try:
    import rich  # noqa: F401
    import tyro
except ModuleNotFoundError as error:
    raise SystemExit(f"the command `laperm` needs {error.name}: install laperm-jax[lab]") from None

from laperm_jax.lab.cli import BAD_INPUT, BROKEN_PIPE, CANNOT_WRITE, INTERRUPTED
from laperm_jax.lab.cli.commands import COMMANDS, train
from laperm_jax.lab.cli.output import Output, discard_stdout
from laperm_jax.lab.cli.suggestions import suggestions
from laperm_jax.lab.config import ConfigError, OutputError

_DESCRIPTION = (
    "Train neural networks by reordering their random initial weights. `laperm COMMAND --help` describes a command, "
    "`laperm --version` prints the version, and `laperm --tyro-print-completion bash` (or zsh, tcsh) a file for the "
    "shell to complete commands and options with."
)


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      args: command line without the program's name; ``sys.argv`` if None.

    Returns:
      The exit code: 0, or one of those in :mod:`laperm_jax.lab.cli`.

    Raises:
      SystemExit: with 2 for a command line that cannot be parsed, and with 0 after ``--help``.
    """
    args = sys.argv[1:] if args is None else list(args)
    console, errors = Output(), Output(stderr=True)
    try:
        return _run(args, console)
    except ConfigError as error:
        errors.print(f"laperm: {error}", soft_wrap=True)
        return BAD_INPUT
    except OutputError as error:
        errors.print(f"laperm: {error}", soft_wrap=True)
        return CANNOT_WRITE
    except BrokenPipeError:
        discard_stdout()
        return BROKEN_PIPE
    except OSError as error:  # a file that is not there, or not to be read or written, where no command says more
        if error.filename is None:
            raise
        errors.print(f"laperm: {error.filename}: {error.strerror}", soft_wrap=True)
        return BAD_INPUT
    except KeyboardInterrupt:
        errors.print("laperm: interrupted")
        return INTERRUPTED


def parse(args: Sequence[str]) -> Any:
    """Parses a command line; options given override a preset, and the defaults of a task.

    Returns:
      The options: an instance of one of the dataclasses in :data:`laperm_jax.lab.cli.commands.COMMANDS`.

    Raises:
      SystemExit: with 2 for unknown options and values of the wrong type, with 0 after ``--help``.
      ConfigError: for a preset the model does not have.
    """
    flat = (tyro.conf.OmitArgPrefixes,)
    try:
        command = tyro.cli(_commands(args), args=list(args), prog="laperm", description=_DESCRIPTION, config=flat)
    except SystemExit as exit_:
        if exit_.code:
            for suggestion in suggestions(args, {name: command.options for name, command in COMMANDS.items()}):
                Output(stderr=True).print(f"laperm: {suggestion}", soft_wrap=True)
        elif args and args[0] in COMMANDS and (examples := COMMANDS[args[0]].examples):
            Output().print("\n".join(["examples:", *(f"  {example}" for example in examples)]), soft_wrap=True)
        raise
    return train.with_defaults(command, args[1:]) if isinstance(command, train.Train) else command


def _commands(args: Sequence[str]) -> Any:
    """The commands as a type for tyro; in a list of all of them, each is described by one line."""
    of_one = bool(args) and args[0] in COMMANDS
    summary = lambda options: None if of_one else (options.__doc__ or "").partition("\n")[0]
    subcommands = [
        Annotated[command.options, tyro.conf.subcommand(name, description=summary(command.options))]
        for name, command in COMMANDS.items()
    ]
    return Union[tuple(subcommands)]  # noqa: UP007  # pyrefly: ignore  # made of values


def _run(args: Sequence[str], console: Output) -> int:
    if args and args[0] == "--version":
        console.print(f"laperm {importlib.metadata.version('laperm-jax')}")
        return 0
    options = parse(args)
    run = next(command.run for command in COMMANDS.values() if isinstance(options, command.options))
    _quiet_orbax()
    return run(options, console)


def _quiet_orbax() -> None:
    """What Orbax says at length, a command says in a sentence."""
    import absl.logging

    absl.logging.set_verbosity(absl.logging.FATAL)


if __name__ == "__main__":
    sys.exit(main())
