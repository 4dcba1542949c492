"""What `make readme` makes of other texts: the command line page of tyro's help, the notebook of the quick start."""

import argparse
import json
import re
import warnings
from collections.abc import Iterator

import tyro

from laperm_jax.lab.cli.commands import COMMANDS, Command

REPOSITORY = "https://github.com/laperm-jax/laperm_jax"
INSTALL = f"%pip install --quiet flax git+{REPOSITORY}"


def notebook(page: str) -> str:
    """A page as a Jupyter notebook: a cell for each Python block, one for the text before it, and one that installs."""
    page = page.replace(f"{badge()}\n\n", "").replace("Every block runs as it stands.", "Run the cells in order.")
    page = re.sub(r"\]\(([a-z_]+\.md)", rf"]({REPOSITORY}/blob/main/docs/\1", page)
    first, *others = re.split(r"^```python\n(.*?)^```\n", page, flags=re.DOTALL | re.MULTILINE)
    title, _, text = first.partition("\n## ")
    cells = [("markdown", title), ("code", INSTALL), ("markdown", f"## {text}")]
    cells += zip(("code", "markdown") * (len(others) // 2), others, strict=True)
    return json.dumps(
        {
            "cells": [_cell(number, *cell) for number, cell in enumerate(cells) if cell[1].strip()],
            "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        },
        indent=1,
    )


def badge() -> str:
    """The link of the quick start that opens its notebook."""
    colab = "https://colab.research.google.com"
    notebook = f"{colab}/github/{REPOSITORY.partition('.com/')[2]}/blob/main/examples/quickstart.ipynb"
    return f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({notebook})"


def _cell(number: int, kind: str, text: str) -> dict[str, object]:
    outputs = {"execution_count": None, "outputs": []} if kind == "code" else {}
    source = text.strip("\n").splitlines(keepends=True)
    return {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source} | outputs


def command_line() -> str:
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
