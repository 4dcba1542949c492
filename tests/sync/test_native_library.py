"""Building and loading the native library: whatever goes wrong, there is a reason, and JAX works."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from laperm_jax.sync import native
from laperm_jax.sync.native import _build, _load

needs_library = pytest.mark.skipif(native.status() is not None, reason=f"native kernel: {native.status()}")


class TestLoad:
    """Each way in which a library cannot be used: there is a reason, and JAX works."""

    @pytest.fixture
    def folder(self, tmp_path):
        yield tmp_path
        assert jnp.sort(jnp.array([2.0, 1.0])).tolist() == [1.0, 2.0]

    def install(self, folder, content):
        (folder / _build.LIBRARY).write_bytes(content)
        (folder / _build.RECORD).write_text(json.dumps({"sha256": hashlib.sha256(content).hexdigest()}))

    def compile(self, folder, source):
        command = [*_build._compiler(), "-x", "c++", "-shared", "-fPIC", "-", "-o", str(folder / "made.so")]
        subprocess.run(command, input=source, text=True, check=True, capture_output=True)
        self.install(folder, (folder / "made.so").read_bytes())

    def test_missing(self, folder):
        assert _load._load(folder).startswith("not built")

    def test_reason_of_the_build(self, folder):
        (folder / _build.RECORD).write_text(json.dumps({"error": "no C++ compiler"}))
        assert _load._load(folder) == "no C++ compiler"

    @pytest.mark.parametrize("record", [None, "", "[]", '{"sha256": 1}'])
    def test_damaged_record(self, folder, record):
        (folder / _build.LIBRARY).write_bytes(b"anything")
        if record is not None:
            (folder / _build.RECORD).write_text(record)
        assert "is damaged" in _load._load(folder)

    def test_cut_off(self, folder):
        self.install(folder, b"\x7fELF" + bytes(4000))
        content = (folder / _build.LIBRARY).read_bytes()
        (folder / _build.LIBRARY).write_bytes(content[:100])
        assert "is damaged" in _load._load(folder)

    @pytest.mark.parametrize("content", [b"", b"no library", b"\x7fELF" + bytes(4000)])
    def test_no_library(self, folder, content):
        self.install(folder, content)
        assert _build.LIBRARY in _load._load(folder)

    def test_unreadable(self, folder, monkeypatch):
        self.install(folder, b"anything")

        def refuse(_):
            raise PermissionError("permission denied")

        monkeypatch.setattr(Path, "read_bytes", refuse)
        assert _load._load(folder) == "permission denied"

    @needs_library
    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("", "laperm_ffi_version"),
            ('extern "C" int laperm_ffi_version() { return 99; }', "built for XLA FFI 0.99"),
            ('extern "C" int laperm_ffi_version() { return 1000; }', "built for XLA FFI 1.0"),
            (
                'extern "C" { int laperm_ffi_version() { return 3; } void* laperm_place(void*) { return 0; } }',
                "laperm_sort",
            ),
        ],
        ids=["another library", "newer", "another major version", "half a library"],
    )
    def test_other_library(self, folder, source, reason):
        self.compile(folder, source)
        assert reason in _load._load(folder)

    @needs_library
    def test_refused_by_xla(self, folder):
        """In a process of its own, before JAX has a backend: a target that is refused then takes it down."""
        names = "".join(f"void* laperm_{name}(void*) {{ return 0; }}" for name in ("place", "sort"))
        self.compile(folder, f'extern "C" {{ int laperm_ffi_version() {{ return 3; }} {names} }}')
        program = f"""
from pathlib import Path
from laperm_jax.sync.native import _load
print(_load._load(Path({str(folder)!r})))
import jax.numpy as jnp
print(jnp.sort(jnp.array([2.0, 1.0])))
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert "incompatible with the framework's API version" in done.stdout
        assert done.stdout.endswith("[1. 2.]\n")

    def test_turned_off(self, monkeypatch):
        monkeypatch.setenv("LAPERM_NATIVE", "0")
        assert native.status() == "turned off by LAPERM_NATIVE"


class TestBuild:
    """Where nothing can be compiled, the record says why."""

    @pytest.mark.parametrize("compiler", ["", "/nowhere/c++", "false", "true", "'unbalanced"])
    def test_without_a_compiler(self, tmp_path, monkeypatch, compiler):
        monkeypatch.setenv("CXX", compiler)
        monkeypatch.setattr(_build.shutil, "which", lambda _: None)
        error = _build.build(tmp_path)
        assert json.loads((tmp_path / _build.RECORD).read_text())["error"] == error
        assert _load._load(tmp_path) == error
        assert [path.name for path in tmp_path.iterdir()] == [_build.RECORD]

    def test_replaces_a_library_that_cannot_be_compiled_again(self, tmp_path, monkeypatch):
        (tmp_path / _build.LIBRARY).write_bytes(b"old")
        monkeypatch.setenv("CXX", "false")
        assert _build.build(tmp_path) == "false failed with exit code 1: no message"
        assert not (tmp_path / _build.LIBRARY).exists()

    def test_folder_that_cannot_be_written(self, tmp_path):
        assert _build.build(tmp_path / "missing" / "folder")

    @needs_library
    @pytest.mark.nightly
    def test_compiles_with_warnings_as_errors(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CXXFLAGS", "-Wall -Wextra -Wpedantic -Werror")
        assert _build.build(tmp_path) is None


@needs_library
@pytest.mark.nightly
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_native_under_a_sanitizer(tmp_path, sanitizer):
    program = tmp_path / "stress"
    source = Path(__file__).with_name("native_stress.cc")
    flags = ["-std=c++17", "-O1", "-g", "-pthread", *_build._FAST_SELECTION, f"-fsanitize={sanitizer}"]
    small = "-DLAPERM_SCRATCH_BYTES=1048576"  # so that long vectors take several windows
    command = [*_build._compiler(), *flags, "-fno-sanitize-recover=all", small, "-I", str(_build.SOURCES / "src")]
    subprocess.run([*command, str(source), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=1800, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "all right\n", "")
