"""The documentation runs: Python blocks, commands, examples, and the table of results."""

import importlib
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from laperm_jax.lab.cli import app as cli
from laperm_jax.lab.config import TrainConfig, settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
EXAMPLES = sorted(set((ROOT / "examples").glob("*.py")) - {ROOT / "examples" / "multi_process.py"})
RECIPES = sorted((ROOT / "examples" / "recipes").glob("*.py"))


def blocks(page, language):
    if page.suffix == ".ipynb":
        cells = [cell for cell in json.loads(page.read_text())["cells"] if cell["cell_type"] == "code"]
        return ["".join(cell["source"]) for cell in cells if not cell["source"][0].startswith("%")]
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def nightly_but(paths, *names):
    return [pytest.param(path, marks=() if path.name in names else pytest.mark.nightly, id=path.name) for path in paths]


@pytest.mark.parametrize("page", nightly_but([*PAGES, NOTEBOOK], "README.md"))
def test_python_blocks_run_one_after_the_other(page, capsys):
    namespace = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), namespace)


def test_commands_can_be_parsed():
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("laperm ")]
    assert len(commands) > 5
    for line in commands:
        cli.parse(shlex.split(line, comments=True)[1:])


def test_every_make_target_of_the_readme_exists():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"^make ([a-z]+)|`make ([a-z]+)`", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {"demo", "test"} <= {block or inline for block, inline in named} <= set(targets)


@pytest.mark.nightly
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_reach_a_good_accuracy(path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    accuracies = re.findall(r"test accuracy (0\.\d+|1\.0+)", capsys.readouterr().out)
    assert accuracies
    assert all(float(accuracy) > 0.94 for accuracy in accuracies)


@pytest.mark.parametrize("path", nightly_but(RECIPES, "plain_optax.py"))
def test_recipes_run_and_are_short(path, capsys):
    runpy.run_path(str(path), run_name="__main__")  # each asserts what it promises
    assert "loss" in capsys.readouterr().out
    assert len(path.read_text().splitlines()) < 80


def test_every_example_is_on_the_page_of_recipes():
    page = (ROOT / "docs" / "recipes.md").read_text()
    assert all(str(path.relative_to(ROOT)) in page for path in [*EXAMPLES, *RECIPES])


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.fixture
def readme(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("readme")


def test_notebook_is_the_quick_start(readme):
    page = readme.QUICK_START.read_text()
    assert NOTEBOOK.read_text() == readme.made.notebook(page), "run `make readme`"
    assert readme.made.badge() in page
    assert "optax.apply_updates" in "".join(blocks(NOTEBOOK, "python"))


def test_pages_have_the_tables_of_the_committed_results(readme):
    pages = readme.pages()
    assert len(pages) == 11
    for page, text in pages.items():
        places = 2 if page.name == "few_levels.md" else 1
        assert text.count("<!-- end of results -->") == places, f"{page.name} has no place for its table"
        assert page.read_text() == text, "run `make readme`"
    assert "reproduced" in (ROOT / "README.md").read_text()
    assert "bits lost" in (ROOT / "docs" / "reliability.md").read_text()


def test_training_page_names_every_option_that_needs_a_word():
    text = (ROOT / "docs" / "training.md").read_text()
    explained = {"preset", "widths", "inner", "schedule", "decay_rate", "decay_epochs", "sync_period", "keep", "init"}
    explained |= {"reset_batchnorm", "reestimate_batchnorm", "validation_size"}
    assert explained <= set(settings(TrainConfig()))
    assert all(f"--{name.replace('_', '-')}" in text for name in explained | {"data_dir", "out"})
