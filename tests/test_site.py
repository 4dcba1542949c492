"""The site: every public name is on the API page, and every page, link and anchor is there once it is built."""

import ast
import html.parser
import importlib
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import textwrap
import types
import urllib.parse
from pathlib import Path

import pytest

import laperm_jax
from laperm_jax import analysis, codec, initializers, sync

ROOT = Path(__file__).parents[1]
API = (ROOT / "docs" / "api.md").read_text()


def exports():
    """Public names of the library, each once, to what they stand for."""
    found = {f"laperm_jax.{name}": getattr(laperm_jax, name) for name in laperm_jax._MODULES}
    for room in (analysis, codec, initializers, sync):
        for name, value in vars(room).items():
            is_public = not name.startswith("_") and not isinstance(value, types.ModuleType)
            if is_public and not any(value is other for other in found.values()):
                found[f"{room.__name__}.{name}"] = value
    return found


def test_every_export_is_on_the_api_page():
    named = set(re.findall(r"^::: (\S+)$", API, re.MULTILINE))
    assert len(exports()) > 40
    assert exports().keys() | {"laperm_jax.sync.native.status"} == named


def functions():
    return [name for name, value in exports().items() if callable(value) and not inspect.isclass(value)]


@pytest.mark.parametrize("name", functions())
def test_every_function_describes_arguments_and_result_and_has_an_example(name):
    text, parameters = inspect.getdoc(exports()[name]), inspect.signature(exports()[name]).parameters
    assert all(f"\n{section}:\n" in text for section in ("Args", "Returns", "Example"))
    assert all(re.search(rf"^  {parameter}: ", text, re.MULTILINE) for parameter in parameters)


class Page(html.parser.HTMLParser):
    """Anchors, links and the text of the article of a page."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.text, self._inside = set(), [], "", False
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[name] for name in ("id", "name") if attrs.get(name)}
        self.links += [attrs[name] for name in ("href", "src") if attrs.get(name)]
        self._inside |= tag == "article"

    def handle_endtag(self, tag):
        self._inside &= tag != "article"

    def handle_data(self, data):
        self.text += data if self._inside else ""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The files of the site, built offline and strictly, by their paths in it; the pages among them parsed."""
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("zensical is not installed: pip install .[docs]")
    root = tmp_path_factory.mktemp("project")
    for name in ("zensical.toml", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, root)
    for name, kept in (("docs", ("*",)), ("laperm_jax", ("*.py",)), ("benchmarks", ("docstrings.py",))):
        for source in (path for pattern in kept for path in (ROOT / name).rglob(pattern) if path.is_file()):
            target = root / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    built = subprocess.run(command, cwd=root, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert built.returncode == 0, built.stdout + built.stderr
    assert "Warning" not in built.stdout + built.stderr
    files = [path for path in (root / "site").rglob("*") if path.is_file() and path.name != "404.html"]
    return {path.relative_to(root / "site"): Page(path) if path.suffix == ".html" else None for path in files}


@pytest.mark.nightly
def test_the_built_api_page_has_every_export_rendered(site):
    page = site[Path("api/index.html")]
    assert exports().keys() <= page.anchors
    assert {"laperm_jax.LaPerm.reconnected_params", "laperm_jax.LaPerm.apply_gradients"} <= page.anchors
    assert all(word in page.text for word in ("Parameters:", "Returns:", "Raises:", "Examples:", "Source code in"))
    assert page.text.count("Examples:") >= len(functions())
    assert ">>> bool((trained" in page.text  # an example that was taken for plain text has no prompts


@pytest.mark.nightly
def test_every_internal_link_of_the_built_site_leads_somewhere(site):
    followed, broken = 0, []
    for path, page in of_pages(site):
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            name, anchor = map(urllib.parse.unquote, (parts.path, parts.fragment))
            target = Path(os.path.normpath(path.parent / name)) if name else path
            target = target if target.suffix else target / "index.html"
            followed += 1
            if target not in site or (anchor and anchor not in site[target].anchors):
                broken.append(f"{path}: {link}")
    assert followed > 500
    assert not broken


@pytest.mark.nightly
def test_every_page_is_built_and_none_is_empty(site):
    assert len(list(of_pages(site))) == len(list((ROOT / "docs").glob("*.md")))
    for path, page in of_pages(site):
        assert len(page.text.split()) > 60, path
        assert "8<--" not in page.text, path  # a snippet that was not inserted


def of_pages(site):
    return ((path, page) for path, page in site.items() if page)


def template(node, module):
    """The text of a message, with ``{}`` for what is filled in; follows names and functions of the module."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(value.value if isinstance(value, ast.Constant) else "{}" for value in values)
        case ast.Name(id=name):
            return getattr(module, name)
        case ast.Call(func=ast.Name(id=name)):
            function = ast.parse(textwrap.dedent(inspect.getsource(getattr(module, name))))
            return next(template(node.value, module) for node in ast.walk(function) if isinstance(node, ast.Return))
    raise AssertionError(ast.unparse(node))


def messages():
    """Every warning and error text of the core."""
    for path in sorted((ROOT / "laperm_jax").rglob("*.py")):
        room = path.relative_to(ROOT / "laperm_jax").parts[0]
        if room in ("__init__.py", "analysis", "codec", "lab") or "native" in path.parts:
            continue
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Raise(exc=ast.Call(args=[text, *_])):
                    yield template(text, module)
                case ast.Call(func=ast.Attribute(attr="warn"), args=[text, *_]):
                    yield template(text, module)


def test_every_text_of_the_core_is_a_heading_of_troubleshooting():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    headings = re.findall(r'^### "(.*)"$', page, re.MULTILINE)
    pieces = [[piece.strip() for piece in heading.split("...") if piece.strip()] for heading in headings]
    patterns = [re.compile(".*?".join(map(re.escape, of_heading))) for of_heading in pieces]
    texts = set(messages())
    assert len(texts) > 50
    assert not [text for text in texts if not any(pattern.search(text) for pattern in patterns)]
    sources = re.sub(r'"\s*f?"', "", "".join(path.read_text() for path in (ROOT / "laperm_jax").rglob("*.py")))
    unknown = [heading for heading, pattern in zip(headings, patterns, strict=True) if not pattern.search(sources)]
    assert not unknown, "headings that no message has"
