"""Builds the stand-in for libnvidia-ml.so.1 and writes its script. What it answers says nothing about hardware."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, clean_environment

from ftprof.record.device_window import DeviceWindow

SOURCE = REPOSITORY / "csrc" / "testing" / "nvml_standin.c"
SAMPLER = REPOSITORY / "tests" / "sample_devices.py"
SLEEP = [sys.executable, "-c", "import time; time.sleep(1.2)"]
H200 = {
    "name": "NVIDIA H200",
    "uuid": "GPU-0",
    "capability": "9.0",
    "cores": "16896",
    "minor": "0",
    "max_sm_mhz": "1980",
    "sm_mhz": "1755",
    "virtualization": "0",
    "gpm": "1",
    "mig": "0",
}
DRIVER = {"driver": "580.95.05", "cuda": "13000", "confidential": "0"}


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the stand-in library."""
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in of NVML")
    library = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-Wl,-soname,{library.name}"]
    subprocess.run([compiler, *flags, str(SOURCE), "-o", str(library)], check=True)
    return library.parent


class Standin:
    """A scripted NVML for the processes that get ``environment``."""

    def __init__(self, library: Path, script: Path) -> None:
        self._library = library
        self.script = script
        self.lines: dict[str, str] = dict(DRIVER)

    def gpu(self, index: int = 0, **changes: str | None) -> Standin:
        """Add an H200, or one that differs in ``changes``; ``None`` leaves a line out. ``__`` stands for a dot."""
        gpu = {**H200, "uuid": f"GPU-{index}", "minor": str(index)}
        gpu |= {name.replace("__", "."): value for name, value in changes.items() if value is not None}
        for name in (name for name, value in changes.items() if value is None):
            gpu.pop(name, None)
        self.lines |= {f"gpu{index}.{name}": value for name, value in gpu.items()}
        return self

    def set(self, **lines: str) -> Standin:
        """Set lines that belong to no GPU; ``__`` stands for a dot."""
        self.lines |= {name.replace("__", "."): value for name, value in lines.items()}
        return self

    def environment(self, **changes: str) -> dict[str, str]:
        """The environment of a process that finds this NVML, and nothing else of NVIDIA's."""
        beside = self.script.with_suffix(".new")
        beside.write_text("".join(f"{name}={value}\n" for name, value in self.lines.items()))
        beside.replace(self.script)
        path = os.pathsep.join(filter(None, (str(self._library), os.environ.get("LD_LIBRARY_PATH"))))
        return clean_environment(LD_LIBRARY_PATH=path, FTPROF_NVML_SCRIPT=str(self.script), **changes)

    def beside(self, driver: Path) -> dict[str, str]:
        """What makes a process find this NVML beside the stand-in of a driver in that folder."""
        found = self.environment()
        folders = os.pathsep.join((str(driver), str(self._library)))
        return {"LD_LIBRARY_PATH": folders, "FTPROF_NVML_SCRIPT": found["FTPROF_NVML_SCRIPT"]}


@pytest.fixture
def standin(nvml_library: Path, tmp_path: Path) -> Standin:
    """A driver without GPUs."""
    return Standin(nvml_library, tmp_path / "nvml.script")


def sample(environment: dict[str, str], **settings: Any) -> dict[str, Any]:
    """Run a command with the GPUs sampled; the answer of sample_devices.py, and its windows as objects."""
    arguments = json.dumps({"command": SLEEP, "seconds": 0.2, **settings})
    done = subprocess.run(
        [sys.executable, str(SAMPLER), arguments], capture_output=True, text=True, timeout=60, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["exit_code"] == 0
    return {**answer, "windows": [DeviceWindow.from_json(line) for line in answer["lines"]]}
