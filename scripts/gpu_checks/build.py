"""Builds and installs ftprof and the probe from what is installed here, with no network.

They go into a virtual environment of their own, which sees this Python's packages through a .pth file: an environment
made inside another one would see only the system's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gpu_checks import machine, place

_SOURCES = ("csrc", "ftprof", "setup.py", "pyproject.toml", "CMakeLists.txt", "MANIFEST.in", "README.md", "LICENSE")
_LEFT_OUT = (".so", ".pyc")
HEADERS = ("cupti.h", "nvperf_target.h", "cuda.h", "cuda_runtime_api.h", "crt/host_defines.h")
_TIMEOUT_S = 420


class BuildFailed(Exception):
    """Nothing can be checked; the text says why."""


class Build:
    """What was built in a work folder."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.python = work / "venv" / "bin" / "python"
        self.ftprof = work / "venv" / "bin" / "ftprof"
        self.probe = work / "probe"
        self._stamp = work / "built"

    def is_current(self) -> bool:
        """Whether it was built from these very sources, by this Python."""
        return self._stamp.exists() and self._stamp.read_text() == fingerprint()

    def make(self) -> None:
        """Build all of it. Raises :class:`BuildFailed`."""
        self._stamp.unlink(missing_ok=True)
        self._environment()
        source = self._source()
        headers = header_options(self.work)
        probe = self._start_probe(headers)
        try:
            install = ["-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
            install += ["--no-compile", "--ignore-installed", "--disable-pip-version-check", str(source)]
            run([str(self.python), *install], self.work / "install.log", {"CMAKE_ARGS": " ".join(headers)})
        finally:
            probe.wait(_TIMEOUT_S)
        if probe.returncode:
            raise BuildFailed(f"the probe: {_tail(self.work / 'probe.log')}")
        check = "import ftprof._native, sys; sys.path.insert(0, sys.argv[1]); import ftprof_probe"
        run([str(self.python), "-c", check, str(self.probe)], self.work / "import.log")
        if not self.ftprof.exists():
            raise BuildFailed(f"{self.ftprof} was not installed")
        self._stamp.write_text(fingerprint())

    def pack(self, file: Path) -> None:
        """All that another machine of the same kind needs, to be unpacked into its work folder."""
        with tarfile.open(file, "w:gz") as archive:
            for path in (self._stamp, self.work / "venv", *self.probe.glob("*.so")):
                archive.add(path, path.relative_to(self.work))

    def _environment(self) -> None:
        """A virtual environment with a .pth file that leads to this Python's packages."""
        folder = self.python.parent.parent
        shutil.rmtree(folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", "--without-pip", str(folder)], self.work / "venv.log")
        (packages,) = folder.glob("lib/python*/site-packages")
        lines = [f"import site; site.addsitedir({path!r})" for path in packages_here()]
        (packages / "gpu_check.pth").write_text("\n".join(lines) + "\n")

    def _source(self) -> Path:
        """A copy, so that the build leaves nothing in the checkout. Files keep their times: a second build is short."""
        folder = self.work / "source"
        for part in ("ftprof", "csrc"):
            shutil.rmtree(folder / part, ignore_errors=True)
        for path in source_files():
            target = folder / path.relative_to(place.REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        return folder

    def _start_probe(self, headers: Sequence[str]) -> subprocess.Popen[bytes]:
        cmake = machine.find_program("cmake") or "cmake"
        pybind11 = machine.said([str(self.python), "-m", "pybind11", "--cmakedir"]) or ""
        roots = ";".join(path for path in packages_here() if Path(path, "nvidia").is_dir())
        options = [f"-DPython_EXECUTABLE={self.python}", f"-Dpybind11_DIR={pybind11}"]
        options += [f"-DFTPROF_HEADER_ROOTS={roots}", *headers]
        jobs = str(max(1, (os.cpu_count() or 2) // 2))
        script = '"$0" -S "$1" -B "$2" "${@:4}" && "$0" --build "$2" --parallel "$3"'
        command = ["bash", "-c", script, cmake, str(place.HERE), str(self.probe), jobs, *options]
        with (self.work / "probe.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def source_files() -> Iterator[Path]:
    """What the build needs of the checkout."""
    for name in _SOURCES:
        path = place.REPOSITORY / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (f for f in found if f.is_file() and f.suffix not in _LEFT_OUT and "testing" not in f.parts)


def fingerprint() -> str:
    """Of all that the build depends on."""
    digest = hashlib.sha256(f"{sys.executable} {sys.version}".encode())
    for path in (*source_files(), place.HERE / "probe.cpp", place.HERE / "CMakeLists.txt"):
        digest.update(str(path.relative_to(place.REPOSITORY)).encode() + path.read_bytes())
    return digest.hexdigest()


def packages_here() -> list[str]:
    """The folders of packages that this Python sees."""
    paths = sysconfig.get_paths()
    found = [paths["purelib"], paths["platlib"], *site.getsitepackages(), *(p for p in sys.path if "-packages" in p)]
    return [path for path in dict.fromkeys(found) if Path(path).is_dir()]


def header_options(work: Path) -> list[str]:
    """CMake's options to find the headers; where they lie in several places, a folder with links to all of them."""
    places = header_folders()
    whole = next((folder for folder in places if all((folder / name).exists() for name in HEADERS)), None)
    if whole is not None:
        return [] if whole.parent.name == "cu13" else [f"-DFTPROF_TOOLKITS={whole.parent}"]
    merged = work / "headers" / "include"
    shutil.rmtree(merged, ignore_errors=True)
    lacking = []
    for name in HEADERS:
        holder = next((folder for folder in places if (folder / name).exists()), None)
        if holder is None:
            lacking.append(name)
        else:
            _link(holder, merged)
    if lacking:
        raise BuildFailed(f"no header {', '.join(lacking)} under {', '.join(map(str, places)) or 'any folder'}")
    return [f"-DFTPROF_TOOLKITS={merged.parent}"]


def header_folders() -> list[Path]:
    """Folders that may hold headers of CUPTI and CUDA: NVIDIA's wheels, then toolkits."""
    inside: tuple[str, ...] = ("nvidia/cu13/include", "nvidia/cuda_cupti/include", "nvidia/cuda_runtime/include")
    inside += ("nvidia/cuda_nvcc/include", "nvidia/cuda_crt/include")
    found = [Path(root, part) for root in packages_here() for part in inside]
    nvcc = shutil.which("nvcc")
    toolkits = [os.environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")]
    toolkits += ["/usr/local/cuda", str(Path(nvcc).resolve().parent.parent) if nvcc else ""]
    toolkits += sorted(map(str, Path("/usr/local").glob("cuda-13*")))
    for toolkit in dict.fromkeys(filter(None, toolkits)):
        below = ("include", "extras/CUPTI/include", "targets/x86_64-linux/include", "targets/sbsa-linux/include")
        found += [Path(toolkit, part) for part in below]
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()]


def _link(holder: Path, merged: Path) -> None:
    """Links to all that a folder holds; what is there already stays."""
    merged.mkdir(parents=True, exist_ok=True)
    for entry in holder.iterdir():
        target = merged / entry.name
        if not target.exists():
            target.symlink_to(entry.resolve())


def run(command: Sequence[str], log: Path, changes: Mapping[str, str] | None = None) -> None:
    """A step of the build. Raises :class:`BuildFailed` with the end of what it said."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CUDA_INJECTION64_PATH")}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    with log.open("wb") as out:
        try:
            done = subprocess.run(
                command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S,
                env={**kept, **(changes or {})}, cwd=log.parent,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise BuildFailed(f"{' '.join(command[:4])}... took more than {_TIMEOUT_S} s") from error
    if done.returncode:
        raise BuildFailed(f"{' '.join(command[:4])}...: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2500:]
