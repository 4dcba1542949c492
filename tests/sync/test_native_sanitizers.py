"""The native kernel under the sanitizers of the compiler, in a program of its own."""

import subprocess
from pathlib import Path

import pytest

from laperm_jax.sync import native
from laperm_jax.sync.native import _build

needs_library = pytest.mark.skipif(native.status() is not None, reason=f"native kernel: {native.status()}")


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
