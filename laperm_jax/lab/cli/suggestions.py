"""Suggestions for a mistyped command, option or value."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tyro.conf import Positional

_CLOSE = 0.65  # as difflib measures it: two letters in the wrong order, of three


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The end of a sentence, with the known word that is nearest; empty if none is near.

    Example:
      >>> from laperm_jax.lab.cli.suggestions import did_you_mean
      >>> did_you_mean("mnits", ["digits", "mnist", "cifar10"]), did_you_mean("x", ["digits"])
      ('; did you mean mnist?', '')
    """
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=_CLOSE)
    return f"; did you mean {near[0]}?" if near else ""


def suggestions(args: Sequence[str], commands: Mapping[str, type]) -> Iterator[str]:
    """What is wrong with a command line that was refused, where a word of it is near one that is known.

    Args:
      args: the command line.
      commands: name of each command to the dataclass of its options.

    Yields:
      Sentences.
    """
    if not args or args[0].startswith("-"):
        return
    if args[0] not in commands:
        if meant := did_you_mean(args[0], list(commands)):
            yield f"there is no command {args[0]}{meant}"
        return
    types_ = dict(_options(commands[args[0]]))
    options = [name for name in types_ if name.startswith("--")]
    positionals = [choices for name, choices in types_.items() if not name.startswith("--")]
    choices: tuple[str, ...] = ()
    for position, word in enumerate(args[1:]):
        name, _, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if name:
            name = name.replace("_", "-")
            choices = types_.get(name, ())
            if name not in options and (meant := did_you_mean(name, options)):
                yield f"there is no option {name}{meant}"
        allowed = choices or (positionals[position] if position < len(positionals) else ())
        if value and allowed and value not in allowed and (meant := did_you_mean(value, allowed)):
            yield f"{value} is not among {', '.join(allowed)}{meant}"


def _options(command: type) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of the options and positional arguments of a dataclass, each with the names to choose from."""
    hints = typing.get_type_hints(command, include_extras=True)
    for field in dataclasses.fields(command):
        type_, is_positional = hints[field.name], False
        while typing.get_origin(type_) is typing.Annotated:
            type_, *metadata = typing.get_args(type_)
            is_positional |= Positional in metadata
        name = field.name.replace("_", "-")
        if dataclasses.is_dataclass(type_):
            yield from _options(typing.cast(type, type_))
        elif type_ is bool:
            yield from ((f"--{name}", ()), (f"--no-{name}", ()))
        else:
            yield (name if is_positional else f"--{name}"), tuple(_choices(type_))


def _choices(type_: Any) -> Iterator[str]:
    """The names that a type allows, as options, tuples of them, or None."""
    if typing.get_origin(type_) is Literal:
        yield from map(str, typing.get_args(type_))
    elif typing.get_origin(type_) in (tuple, types.UnionType, typing.Union, typing.Annotated):
        for argument in typing.get_args(type_):
            yield from _choices(argument)
