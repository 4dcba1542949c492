"""What `import laperm_jax` brings along, what it offers, and how it is released."""

import email
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import laperm_jax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

VERSIONS = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
CORE = """
import importlib.util, jax, jax.numpy as jnp, optax
from laperm_jax import laperm
assert not any(map(importlib.util.find_spec, ("flax", "orbax", "rich", "matplotlib")))
init = {"kernel": jax.random.normal(jax.random.key(0), (64, 3))}
tx = laperm(optax.adam(0.1), sync_period=2)
params, opt_state = init, tx.init(init)
for step in range(3):
    updates, opt_state = tx.update(jax.tree.map(jnp.sin, params), opt_state, params)
    params = optax.apply_updates(params, updates)
exact = tx.reconnected_params(opt_state, params)["kernel"]
assert (jnp.sort(exact, 0) == jnp.sort(init["kernel"], 0)).all() and (exact != init["kernel"]).any()
"""
# What each extra is for, in the order they are installed in: the core alone first.
USES = {
    "": ["python", "-c", CORE],
    "docs": ["zensical", "build", "--clean", "--strict"],
    "lab": ["laperm", "train", "--epochs", "1", "--out", "run"],
    "dev": ["python", "-m", "pytest", "-q", "tests/test_schedules.py"],
}
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


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def python(version):
    """The interpreter of a version on this machine that can make environments, or None."""
    installed = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    for path in filter(None, [shutil.which(f"python{version}"), *map(str, installed)]):
        code = f"import ensurepip, sys, venv; sys.exit('{version}' != '%d.%d' % sys.version_info[:2])"
        if subprocess.run([path, "-c", code], capture_output=True, check=False).returncode == 0:
            return path
    return None


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Folder of an sdist, of a wheel built from it, and of the sdist unpacked."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", str(ROOT), "--outdir", str(folder))
    with tarfile.open(next(folder.glob("*.tar.gz"))) as sdist:
        sdist.extractall(folder, filter="data")
    return folder


@pytest.mark.nightly
def test_sdist_holds_what_is_committed(dist):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    committed = set(run("git", "ls-files", cwd=ROOT).splitlines())
    (unpacked,) = (path for path in dist.iterdir() if path.is_dir())
    packed = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert packed - committed == {"PKG-INFO"}
    assert {name.partition("/")[0] for name in committed - packed} <= {".ci", ".github"}


@pytest.mark.nightly
def test_wheel_holds_the_package_alone(dist):
    (wheel,) = dist.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "laperm_jax").rglob("*.py")}
    assert sources | {"laperm_jax/py.typed", "laperm_jax/lab/experiments/report.html"} <= names
    assert {name.partition("/")[0] for name in names} == {"laperm_jax", f"laperm_jax-{PROJECT['version']}.dist-info"}
    has_kernel = "laperm_jax/sync/native/liblaperm.so" in names
    assert has_kernel == (not wheel.name.endswith("py3-none-any.whl"))  # one wheel a platform, for every Python
    assert "-py3-none-" in wheel.name


@pytest.mark.nightly
def test_description_on_the_index_has_absolute_links(dist):
    (wheel,) = dist.glob("*.whl")
    metadata = zipfile.ZipFile(wheel).read(f"laperm_jax-{PROJECT['version']}.dist-info/METADATA").decode()
    description = email.message_from_string(metadata).get_payload()
    links = re.findall(r"\]\(([^)]+)\)", description)
    assert len(links) > 10
    assert all(link.startswith("https://") for link in links)
    prefix = f"{PROJECT['urls']['Repository']}/(?:blob|raw)/main/"
    inside = [path for link in links for path in re.findall(rf"^{prefix}([^#]+)", link)]
    assert len(inside) > 5
    assert all((ROOT / path).exists() for path in inside)


@pytest.mark.nightly
@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_core_and_every_extra_in_a_fresh_environment(version, dist, tmp_path):
    candidates = VERSIONS[:1] if version == VERSIONS[0] else VERSIONS[:0:-1]  # the newest that is here
    interpreter = next(filter(None, map(python, candidates)), None)
    if interpreter is None:
        pytest.skip(f"no Python of {candidates} with venv on this machine")
    assert {"", *PROJECT["optional-dependencies"]} == USES.keys()
    (wheel,) = dist.glob("*.whl")
    (unpacked,) = (path for path in dist.iterdir() if path.is_dir())
    environment = tmp_path / "environment"
    try:
        run(interpreter, "-m", "venv", str(environment))
        for extra, use in USES.items():
            requirement = f"{wheel}[{extra}]" if extra else str(wheel)
            run(str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile", requirement)
            folder = tmp_path if extra in ("", "lab") else unpacked
            run(str(environment / "bin" / use[0]), *use[1:], cwd=folder)
    finally:
        shutil.rmtree(environment, ignore_errors=True)  # over a gigabyte
