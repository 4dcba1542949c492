"""What is released: sdist and wheel are whole, and install into fresh environments on the oldest and newest Python."""

import email
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

pytestmark = pytest.mark.nightly  # seconds to build, minutes to install

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
# What each extra is for, in the order they are installed in: the core alone first. {sdist} is the unpacked sdist.
USES = {
    "": ["python", "-c", CORE],
    "docs": ["zensical", "build", "--clean", "--strict"],
    "lab": ["laperm", "train", "--epochs", "1", "--out", "run"],
    "dev": ["python", "-m", "pytest", "-q", "tests/test_schedules.py"],
}


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


def test_sdist_holds_what_is_committed(dist):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    committed = set(run("git", "ls-files", cwd=ROOT).splitlines())
    (unpacked,) = (path for path in dist.iterdir() if path.is_dir())
    packed = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert packed - committed == {"PKG-INFO"}
    assert {name.partition("/")[0] for name in committed - packed} <= {".ci", ".github"}


def test_wheel_holds_the_package_alone(dist):
    (wheel,) = dist.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "laperm_jax").rglob("*.py")}
    assert sources | {"laperm_jax/py.typed", "laperm_jax/lab/experiments/report.html"} <= names
    assert {name.partition("/")[0] for name in names} == {"laperm_jax", f"laperm_jax-{PROJECT['version']}.dist-info"}
    has_kernel = "laperm_jax/sync/native/liblaperm.so" in names
    assert has_kernel == (not wheel.name.endswith("py3-none-any.whl"))  # one wheel a platform, for every Python
    assert "-py3-none-" in wheel.name


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
