"""The text of docs/command_line.md, from tyro's help of every command; `make readme` writes it."""

import argparse
import re
import warnings
from collections.abc import Iterator

import tyro

from laperm_jax.lab.cli.commands import COMMANDS, Command


def page() -> str:
    """A section for each command: what it does, how it is called, and its options by group."""
    return "\n\n".join("\n\n".join(_section(name, command)) for name, command in COMMANDS.items())


def _section(name: str, command: Command) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tyro has no other way to its groups and options
        parser = tyro.extras.get_parser(command.options, config=(tyro.conf.OmitArgPrefixes,))
    positional = " ".join(str(action.metavar) for action in parser._actions if not action.option_strings)
    yield f"## laperm {name}"
    yield _markdown(parser.description or "")
    yield f"```text\n{f'laperm {name} {positional}'.strip()} [OPTIONS]\n```"
    if command.examples:
        yield "\n".join(["```sh", *command.examples, "```"])
    for group in parser._action_groups:
        options = [_option(action) for action in group._group_actions if action.dest != "help"]
        if options:
            yield f"*{(group.title or '').capitalize()}.* {_markdown(group.description or '')}".strip()
            yield "\n".join(options)


def _option(action: argparse.Action) -> str:
    names = [f"{name} {action.metavar or ''}".strip() for name in action.option_strings] or [str(action.metavar)]
    help_ = " ".join((action.help or "").split()).replace("(default: )", "(default: none)")
    return f"- `{'`, `'.join(names)}`: {_markdown(help_)}"


def _markdown(text: str) -> str:
    """Sets options as code, and keeps stars from being emphasis."""
    as_written = {"`": r"\g<0>", "-": r"`\g<0>`", "*": r"\\*"}
    return re.sub(r"`[^`]*`|--[a-z][a-z0-9-]*|\*", lambda found: found.expand(as_written[found[0][0]]), text)
