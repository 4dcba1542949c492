"""``laperm doctor``."""

import dataclasses
import importlib.metadata
import platform
from collections.abc import Iterator
from typing import NamedTuple

from laperm_jax.lab.cli.options import DataDir
from laperm_jax.lab.cli.output import Output

_PACKAGES = ("jax", "jaxlib", "optax", "flax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")
_INSTALL = "pip install 'laperm-jax[lab]'"


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Print versions, devices, the native kernel and data folders, and how to get what is missing."""

    data_dir: DataDir = None


class Finding(NamedTuple):
    """One line: what was looked at, what was found, and the command that brings what is missing."""

    subject: str
    found: str
    remedy: str = ""


def run(command: Doctor, console: Output) -> int:
    """Prints all findings, and the remedies once more at the end."""
    findings = [*_versions(), *_devices(), _native_kernel(), *_datasets(command)]
    width = max(len(finding.subject) for finding in findings) + 2
    for finding in findings:
        console.print(f"{finding.subject:{width}}{finding.found}", soft_wrap=True)
    remedies = dict.fromkeys(finding.remedy for finding in findings if finding.remedy)
    console.print("\nnothing is missing" if not remedies else "\nto get what is missing:")
    for remedy in remedies:
        console.print(f"  {remedy}", soft_wrap=True)
    return 0


def _versions() -> Iterator[Finding]:
    yield Finding("laperm-jax", importlib.metadata.version("laperm-jax"))
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in _PACKAGES:
        try:
            yield Finding(package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(package, "not installed", _INSTALL)


def _devices() -> Iterator[Finding]:
    try:
        import jax

        devices = jax.devices()
    except Exception as error:  # a driver that does not fit, JAX_PLATFORMS that names none, and others
        yield Finding("devices", f"JAX finds none: {str(error).partition(chr(10))[0]}", "unset JAX_PLATFORMS")
        return
    kinds = [device.device_kind for device in devices]
    yield Finding("devices", ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)))


def _native_kernel() -> Finding:
    try:
        native = importlib.import_module("laperm_jax.sync.native")
    except ImportError:
        return Finding("native kernel", "not part of this version")
    reason = native.status()
    return Finding("native kernel", f"not used: {reason}" if reason else "used for syncs on the CPU")


def _datasets(command: Doctor) -> Iterator[Finding]:
    from laperm_jax.lab.config import ConfigError
    from laperm_jax.lab.data import datasets

    for name in datasets.PREPARED:
        try:
            folder, is_prepared = datasets.folder(name, command.data_dir)
        except ModuleNotFoundError as error:
            yield Finding(name, str(error), _INSTALL)
            continue
        except ConfigError as error:
            yield Finding(name, str(error), f"remove the folder of {name}, then laperm data prepare {name}")
            continue
        missing = "" if is_prepared else f"laperm data prepare {name}"
        yield Finding(name, f"{'prepared' if is_prepared else 'not prepared'} in {folder}", missing)
