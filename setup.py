"""Builds the native parts with CMake. All metadata is in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

SOURCE = Path(__file__).resolve().parent


def _cmake() -> str:
    """The cmake of the PyPI package, which is not on PATH in a virtual environment not activated, or the system's."""
    beside_python = Path(sys.executable).with_name("cmake")
    found = shutil.which("cmake") or (str(beside_python) if beside_python.exists() else None)
    if found is None:
        raise SystemExit("ftprof needs CMake to build: pip install cmake")
    return found


MODULE = "ftprof._native"
INJECTION = "ftprof.libftprof_inject"  # no module: the CUDA driver loads it. Named so that editable installs copy it


class FreshBuild(build_py):
    """Copies the Python files into an empty folder: what an earlier build of this clone left is no part of this one."""

    def run(self) -> None:
        """Empty the folder, then copy."""
        left = Path(self.build_lib, "ftprof")
        if not self.editable_mode and left.is_dir():
            shutil.rmtree(left)
        super().run()


class CMakeBuild(build_ext):
    """Configures, builds and installs into the folder of the extension's package."""

    def get_ext_filename(self, fullname: str) -> str:
        """The injection library's name has no Python's version in it."""
        if fullname.endswith(INJECTION.rpartition(".")[2]):
            return fullname.replace(".", "/") + ".so"
        return str(super().get_ext_filename(fullname))

    def build_extension(self, ext: Extension) -> None:
        """Build everything that CMake installs; once."""
        import pybind11

        if ext.name != MODULE:
            return

        build = Path(self.build_temp).resolve()
        package = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        roots = ";".join(path for path in sys.path if Path(path, "nvidia").is_dir())
        configure = [
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DFTPROF_HEADER_ROOTS={roots}",
            f"-DCMAKE_BUILD_TYPE={'Debug' if self.debug else 'Release'}",
            *os.environ.get("CMAKE_ARGS", "").split(),
        ]
        cmake = _cmake()
        subprocess.run([cmake, "-S", str(SOURCE), "-B", str(build), *configure], check=True)
        subprocess.run([cmake, "--build", str(build), "--parallel", str(os.cpu_count() or 1)], check=True)
        install = ["--install", str(build), "--prefix", str(package), "--component", "ftprof"]
        subprocess.run([cmake, *install], check=True)


setup(
    ext_modules=[Extension(MODULE, sources=[]), Extension(INJECTION, sources=[])],
    cmdclass={"build_py": FreshBuild, "build_ext": CMakeBuild},
)
