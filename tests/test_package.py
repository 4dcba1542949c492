"""What `import laperm_jax` brings along, what it offers, and how it is released."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import laperm_jax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

PUBLIC = {
    *("laperm", "LaPerm", "LaPermState", "sort_vectors", "reconnect", "matrix_fan_in", "all_fan_in", "flax_fan_in"),
    *("equinox_fan_in", "nnx_fan_in", "tabulate"),
    *("path_fan_in", "norm_reset", "every", "at_steps", "growing", "shrinking", "with_learning_rate", "initializers"),
}


def test_public_names():
    rooms = {"analysis", "codec", "lab", "rules", "sync"}  # attributes once another test has imported them
    assert {name for name in dir(laperm_jax) if not name.startswith("_")} - rooms == PUBLIC
    assert all(getattr(laperm_jax, name).__doc__ for name in PUBLIC)


def test_version():
    assert laperm_jax.__version__ == importlib.metadata.version("laperm-jax") == PROJECT["version"]
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_core_imports_jax_and_optax_and_nothing_else_of_the_extras():
    heavy = [
        "flax",
        "tensorflow_datasets",
        "orbax",
        "matplotlib",
        "rich",
        "tyro",
        "sklearn",
        "safetensors",
        "tensorboardX",
    ]
    code = f"import sys; from laperm_jax import {', '.join(PUBLIC)}; print([x for x in {heavy} if x in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_names_are_imported_when_they_are_used():
    code = "import sys, laperm_jax; assert 'jax' not in sys.modules; laperm_jax.laperm; assert 'jax' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not hasattr(laperm_jax, "no_such_name")


def test_without_the_extra_the_command_says_what_to_install():
    code = "import sys; sys.modules['tyro'] = None; import laperm_jax.lab.cli.app"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "the command `laperm` needs tyro: install laperm-jax[lab]\n"


def workflow(name):
    yaml = pytest.importorskip("yaml")
    path = ROOT / ".github" / "workflows" / name
    if not path.exists():
        pytest.skip("an sdist has no workflows")
    return yaml.safe_load(path.read_text())


def test_ci_runs_make_test_on_every_python_of_the_classifiers():
    job = workflow("ci.yml")["jobs"]["test"]
    matrix = job["strategy"]["matrix"]
    assert {f"Programming Language :: Python :: {version}" for version in matrix["python"]} == {
        classifier for classifier in PROJECT["classifiers"] if re.search(r"3\.\d+$", classifier)
    }
    assert job["steps"][-1]["run"].startswith("make test ")


def test_a_release_needs_checks_and_tests_and_a_token_of_its_own():
    jobs = workflow("release.yml")["jobs"]
    assert [jobs[name]["needs"] for name in ("sdist", "wheels", "test", "publish")] == [
        *("check", "check", ["sdist", "wheels"], "test")
    ]
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["publish"]
    assert jobs["publish"]["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert jobs["test"]["strategy"]["matrix"]["os"] == jobs["wheels"]["strategy"]["matrix"]["os"]


@pytest.mark.parametrize(
    ("tag", "repository", "error"),
    [
        (f"v{PROJECT['version']}", None, ""),
        ("v0.0.9", None, "the tag is v0.0.9, the version"),
        (PROJECT["version"], None, "the tag is"),
        (f"v{PROJECT['version']}", "someone/else", "someone/else, pyproject.toml says"),
    ],
)
def test_a_release_is_refused_where_tag_or_repository_differ(tag, repository, error):
    (script,) = (step["run"] for step in workflow("release.yml")["jobs"]["check"]["steps"] if "run" in step)
    server, _, home = PROJECT["urls"]["Repository"].partition(".com/")
    github = {"GITHUB_REF_NAME": tag, "GITHUB_SERVER_URL": f"{server}.com", "GITHUB_REPOSITORY": repository or home}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=os.environ | github, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == bool(error)
    assert error in done.stderr


def test_the_address_of_the_repository_is_the_same_everywhere():
    for name in ("README.md", "docs/install.md", "pyproject.toml", "CITATION.cff"):
        found = re.findall(r"https://github\.com/[\w.-]+/laperm[\w-]*", (ROOT / name).read_text())
        assert set(found) == {PROJECT["urls"]["Repository"]}, name
