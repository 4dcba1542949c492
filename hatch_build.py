"""Build hook: compiles the native CPU kernel where there is a C++ compiler.

Where there is none, or it fails, the package is pure Python, and `laperm doctor` says why.
"""

import importlib.util
import shutil
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = "laperm_jax/sync/native"


class NativeBuildHook(BuildHookInterface):
    """Adds the library to a wheel, which is then one for this platform and any Python."""

    _folder: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles the library: in this folder for an editable installation, for a wheel in a temporary one."""
        if self.target_name != "wheel":
            return
        path = Path(self.root) / NATIVE / "_build.py"
        spec = importlib.util.spec_from_file_location("laperm_native_build", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if version == "editable":  # Python finds the package in this folder
            module.build()
            return
        self._folder = Path(tempfile.mkdtemp())
        error = module.build(self._folder)
        build_data["force_include"] |= {str(file): f"{NATIVE}/{file.name}" for file in self._folder.iterdir()}
        if error is None:
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data.update(pure_python=False, tag=f"py3-none-{platform}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes the temporary folder."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
