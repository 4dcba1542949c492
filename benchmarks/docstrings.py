"""For `make docs`: what griffe makes of docstrings, links for Sphinx's roles and code for examples."""

import re
from pathlib import Path
from typing import Any

from griffe import Extension, Object

API = Path(__file__).parents[1] / "docs" / "api.md"
ON_PAGE = {name.rpartition(".")[2]: name for name in re.findall(r"^::: (\S+)", API.read_text(), re.MULTILINE)}


class Docstrings(Extension):
    """A role becomes a link if its name is on the API page, and code if not; examples get the title griffe knows."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrites the docstring of ``obj``, before it is parsed."""
        del kwargs
        if obj.docstring:
            text = re.sub(r":[a-z]+:`([^`]+)`", _link, obj.docstring.value)
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", text, flags=re.MULTILINE)


def _link(role: re.Match[str]) -> str:
    short = role[1].rpartition(".")[2]
    return f"[`{short}`][{ON_PAGE[short]}]" if short in ON_PAGE else f"`{role[1]}`"
