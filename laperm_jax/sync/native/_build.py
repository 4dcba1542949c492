"""Compiles the native kernel. Standard library only: the build hook runs this file where JAX is not installed.

In a checkout, ``python laperm_jax/sync/native/_build.py`` compiles it.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent
LIBRARY = "liblaperm.so"
RECORD = "build.json"  # beside the library: its digest, or why there is none

# A comparison followed by a selection is one instruction if no operand is NaN or -0, which sorting networks rely on.
_FAST_SELECTION = ["-ffinite-math-only", "-fno-signed-zeros"]
_FLAGS = ["-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden", *_FAST_SELECTION]
_TIMEOUT = 600  # seconds


def build(folder: Path = SOURCES) -> str | None:
    """Compiles the library into ``folder``, beside a record of what was done; never raises.

    Returns:
      Why there is no library, or None if there is one.
    """
    record: dict[str, str] = {}
    try:
        (folder / LIBRARY).unlink(missing_ok=True)
        record["compiler"] = shlex.join(_compiler())
        record["sha256"] = _compile(folder / LIBRARY)
    except Exception as error:  # whatever it is, an installation without the library works
        record["error"] = str(error) or type(error).__name__
    with contextlib.suppress(OSError):
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return record.get("error")


def _compiler() -> list[str]:
    """The command of ``CXX``, or the first compiler on the path."""
    if sys.platform == "win32":
        raise RuntimeError("no native kernel on Windows")
    if named := os.environ.get("CXX", "").strip():
        return shlex.split(named)
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    raise RuntimeError("no C++ compiler found when laperm_jax was installed (CXX, c++, g++, clang++)")


def _compile(library: Path) -> str:
    """Compiles and loads the library; returns its SHA-256."""
    flags = [*_FLAGS, *shlex.split(os.environ.get("CXXFLAGS", "")), "-isystem", str(SOURCES / "third_party")]
    with tempfile.TemporaryDirectory(dir=library.parent) as temporary:
        compiled = Path(temporary) / LIBRARY
        command = [*_compiler(), *flags, str(SOURCES / "src" / "ffi.cc"), "-o", str(compiled)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False)
        if done.returncode or not compiled.is_file():
            lines = done.stderr.strip().splitlines()
            first = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
            raise RuntimeError(f"{command[0]} failed with exit code {done.returncode}: {first}")
        ctypes.CDLL(str(compiled)).laperm_ffi_version()  # raises OSError where it is for another machine
        compiled.replace(library)
    return hashlib.sha256(library.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(build())
