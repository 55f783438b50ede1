"""Facts about the machine, with nothing but the standard library: what is here, what is missing, who may count."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

CAP_SYS_ADMIN, CAP_PERFMON = 21, 38  # linux/capability.h
PARAMETERS = Path("/proc/driver/nvidia/params")
NEEDED = ("torch", "pybind11", "setuptools", "pip", "click", "pynvml", "pytest")
USEFUL = ("cupy", "triton", "transformers", "numpy")
SETUPTOOLS = 77  # the first that knows the licence as pyproject.toml gives it
_DISTRIBUTIONS = {"pynvml": "nvidia-ml-py", "cupy": "cupy-cuda13x"}


def facts() -> dict[str, Any]:
    """What this machine is, each part ``None`` where it cannot be read."""
    return {
        "kernel": platform.release(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "python_path": sys.executable,
        "uid": os.getuid(),
        "nvidia_smi": said(["nvidia-smi"]),
        "gpus": gpus(),
        "driver": _driver(),
        "admin_only": admin_only(),
        "cap_eff": _status("CapEff"),
        "counters_allowed": may_count(),
        "nvcc": _last_line(said(["nvcc", "--version"])),
        "ncu": _last_line(said(["ncu", "--version"])),
        "compiler": _first_line(said(["c++", "--version"])),
        "cmake": _first_line(said(["cmake", "--version"])),
        "packages": {name: version_of(name) for name in (*NEEDED, *USEFUL, "nvidia-cuda-cupti", "nvidia-cuda-runtime")},
        "injection": os.environ.get("CUDA_INJECTION64_PATH"),
        "profilers": _running(("nv-hostengine", "dcgm-exporter", "nvidia-cuda-mps", "nsys", "ncu")),
    }


def missing() -> list[str]:
    """What the build and the checks need and is not here, each as a sentence."""
    lacks = [f"the Python package {name}" for name in NEEDED if importlib.util.find_spec(name) is None]
    lacks += [f"the program {name}" for name in ("cmake",) if find_program(name) is None]
    if shutil.which("c++") is None and shutil.which("g++") is None:
        lacks.append("a C++ compiler")
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        lacks.append(f"Python.h of this Python ({sysconfig.get_paths()['include']})")
    version = version_of("setuptools")
    if version and int(version.partition(".")[0]) < SETUPTOOLS:
        lacks.append(f"setuptools {SETUPTOOLS} or newer (here is {version})")
    return lacks


def may_count() -> bool | None:
    """Whether this process may read counters: the driver lets everybody, or it has CAP_SYS_ADMIN.

    ``None``: unknown, as with CAP_PERFMON, which drivers from R565 on take instead.
    """
    capabilities = _status("CapEff")
    held = None if capabilities is None else int(capabilities, 16)
    capable = None if held is None else bool(held >> CAP_SYS_ADMIN & 1) or (None if held >> CAP_PERFMON & 1 else False)
    if capable or admin_only() is False:
        return True
    return False if capable is False and admin_only() else None


def admin_only() -> bool | None:
    """The driver's RmProfilingAdminOnly."""
    try:
        for line in PARAMETERS.read_text().splitlines():
            if line.startswith("RmProfilingAdminOnly:"):
                return line.partition(":")[2].strip() not in ("0", "N")
    except OSError:
        pass
    return None


def find_program(name: str) -> str | None:
    """On PATH, or beside this Python."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def version_of(name: str) -> str | None:
    """Of an installed Python package."""
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(name, name))
    except importlib.metadata.PackageNotFoundError:
        return None


def said(command: list[str], timeout_s: float = 20) -> str | None:
    """What a command says, or ``None`` where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout or done.stderr).strip() or None


def gpus() -> list[str]:
    """A line for each that nvidia-smi names."""
    query = "--query-gpu=name,uuid,driver_version,memory.total,clocks.max.sm,persistence_mode,mig.mode.current"
    answer = said(["nvidia-smi", query, "--format=csv,noheader"])
    return answer.splitlines() if answer else []


def uuids() -> list[str]:
    """Of each GPU, as CUDA_VISIBLE_DEVICES takes them."""
    answer = said(["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"])
    return answer.split() if answer else []


def _driver() -> str | None:
    answer = said(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    return answer.splitlines()[0] if answer else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _status(name: str) -> str | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return None


def _running(names: tuple[str, ...]) -> list[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            name = path.read_text().strip()
        except OSError:
            continue
        if name.startswith(names):
            found.add(name)
    return sorted(found)


def _first_line(text: str | None) -> str | None:
    return text.splitlines()[0] if text else None


def _last_line(text: str | None) -> str | None:
    return text.splitlines()[-1] if text else None
