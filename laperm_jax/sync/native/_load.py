"""Loads the native library when it is first needed; every failure leaves JAX as it was and gives a reason."""

import ctypes
import functools
import hashlib
import json
import os
import re
import threading
from pathlib import Path

import jax

from laperm_jax.sync.native._build import LIBRARY, RECORD, SOURCES

DTYPES = ("float16", "bfloat16", "float32", "float64")

_TARGETS = ("laperm_place", "laperm_sort")
_OFF = ("0", "false", "off", "no")
_lock = threading.Lock()


def status() -> str | None:
    """Why the native kernel is not used on CPUs, or None if it is.

    The environment variable ``LAPERM_NATIVE=0`` turns it off. It is read whenever a function is traced.

    Returns:
      The reason, or None.

    Example:
      >>> from laperm_jax.sync import native
      >>> reason = native.status()
      >>> reason is None or isinstance(reason, str)
      True
    """
    if os.environ.get("LAPERM_NATIVE", "1").strip().lower() in _OFF:
        return "turned off by LAPERM_NATIVE"
    with _lock:
        return _load(SOURCES)


@functools.cache
def _load(folder: Path) -> str | None:
    """Loads and registers the library of a folder; returns why that was not possible."""
    try:
        library = _open(folder)
        handlers = {name: jax.ffi.pycapsule(getattr(library, name)) for name in _TARGETS}
        jax.devices("cpu")  # a target that is refused while the backend starts would take the backend down
        for name, handler in handlers.items():
            jax.ffi.register_ffi_target(name, handler, platform="cpu")
    except Exception as error:  # whatever it is, the other implementations remain
        return str(error) or type(error).__name__
    return None


def _open(folder: Path) -> ctypes.CDLL:
    path, record = folder / LIBRARY, _read_record(folder)
    if not path.is_file():
        raise RuntimeError(record.get("error", "not built: laperm_jax runs from a folder where it was not installed"))
    if hashlib.sha256(path.read_bytes()).hexdigest() != record.get("sha256"):
        raise RuntimeError(f"{path} is damaged: its digest is not the one in {RECORD}; install laperm_jax again")
    library = ctypes.CDLL(str(path))
    built_for, offered = divmod(library.laperm_ffi_version(), 1000), _ffi_version()
    if offered and (built_for[0] != offered[0] or built_for[1] > offered[1]):
        versions = (".".join(map(str, version)) for version in (built_for, offered))
        raise RuntimeError("built for XLA FFI {}, jaxlib offers {}; install laperm_jax again".format(*versions))
    return library


def _read_record(folder: Path) -> dict[str, str]:
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _ffi_version() -> tuple[int, int] | None:
    """The version of the FFI in jaxlib, from its headers; None where it has none."""
    try:
        header = (Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h").read_text()
    except (OSError, RuntimeError):
        return None
    found = [re.search(rf"#define XLA_FFI_API_{part} (\d+)", header) for part in ("MAJOR", "MINOR")]
    return tuple(int(match[1]) for match in found if match) if all(found) else None  # type: ignore[return-value]
