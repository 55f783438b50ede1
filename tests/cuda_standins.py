"""The stand-in CUDA driver and CUPTI of csrc/testing: builds them, scripts them, and reads what they executed.

They say nothing about hardware. What a script may hold stands in csrc/testing/FORMAT.md.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, clean_environment

BUILT = os.environ.get("FTPROF_STANDINS")  # a folder that holds them already, such as one with sanitizers
CMAKE = shutil.which("cmake") or shutil.which("cmake", path=str(Path(sys.executable).parent))
BF16 = "sm__ops_path_tensor_src_bf16_dst_fp32"
FP16 = "sm__ops_path_tensor_op_hgmma_src_fp16"
TF32 = "sm__ops_path_tensor_src_tf32_dst_fp32"
FFMA = "smsp__sass_thread_inst_executed_op_ffma_pred_on"
CYCLES = "sm__cycles_active"

_RECORD = struct.Struct("<IIQQQQQ")
_WORK, _CREATED, _ENDED, _LOST, _PROCESS_ENDED, _GRAPH_WORK = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Work:
    """Launches of one kernel, one after the other."""

    kernel: str
    start_ns: int
    duration_ns: int
    count: int
    of_graph: bool = False

    def counted(self, costs: Mapping[str, int]) -> dict[str, int]:
        """Of what a launch costs, what CUPTI's counters see by default: it patches no kernel of a graph (H200)."""
        return {metric: n for metric, n in costs.items() if not (self.of_graph and metric.startswith("smsp__sass_"))}


@dataclass
class ContextTruth:
    """One life of a context: what was put on it, and when it ended."""

    device: int
    primary: bool
    begin_ns: int
    end_ns: int | None = None
    works: list[Work] = field(default_factory=list)


@dataclass
class ProcessTruth:
    """What one process put on its GPUs."""

    pid: int
    costs: list[dict[str, dict[str, int]]]  # by device and kernel: the counts of one launch
    contexts: dict[int, ContextTruth] = field(default_factory=dict)

    def executed(self, until_ns: int | None = None, context: int | None = None) -> Counter[str]:
        """The exact counts by metric up to a moment (ns since the epoch).

        Without one: all that was executed before the context or its process ended. Where a signal or ``_exit`` ended
        the process, nobody wrote down when: give the moment, or everything that was launched counts as executed.
        """
        total: Counter[str] = Counter()
        for number, life in self.contexts.items():
            if context not in (None, number):
                continue
            ends = [end for end in (until_ns, life.end_ns) if end is not None]
            for work in life.works:
                total.update(_executed(work, self.costs[life.device][work.kernel], min(ends, default=None)))
        return total


def _executed(work: Work, costs: Mapping[str, int], until_ns: int | None) -> dict[str, int]:
    if until_ns is None:
        return {metric: count * work.count for metric, count in costs.items()}
    if until_ns < work.start_ns:
        return {}
    passed = until_ns - work.start_ns
    whole = min(passed // work.duration_ns, work.count) if work.duration_ns else work.count
    part = passed - whole * work.duration_ns if whole < work.count else 0
    # The same whole numbers as the stand-in's counters give.
    return {m: count * whole + (count * part // work.duration_ns if part else 0) for m, count in costs.items()}


@dataclass(frozen=True)
class Answer:
    """What a command of the client printed."""

    code: int
    result: str


class Standins:
    """The folder that holds the libraries and the two programs, and one test's folder for scripts and truths."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.folder = folder
        self.work = work
        self.script: dict[str, Any] = {}

    def environment(self, script: Mapping[str, Any], **changes: str) -> dict[str, str]:
        """For a process that is to find the stand-ins instead of a driver; its script keeps the truth."""
        truth = self.work / "truth"
        truth.mkdir(exist_ok=True)
        self.script = {"truth_dir": str(truth), **script}
        path = self.work / "script.json"
        path.write_text(json.dumps(self.script))
        # CUDA_HOME: so that the injection library finds the stand-in CUPTI before one that is installed here.
        found = {"LD_LIBRARY_PATH": str(self.folder), "CUDA_HOME": str(self.folder)}
        return clean_environment(FTPROF_STANDIN_SCRIPT=str(path), **{**found, **changes})

    def client(self, script: Mapping[str, Any], *commands: str, **changes: str) -> list[Answer]:
        """Run the client's commands, one process; each command's answer in turn."""
        done = subprocess.run(
            [str(self.folder / "standin_client"), *commands],
            env=self.environment(script, **changes), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answers = []
        for line in done.stdout.splitlines():
            code, _, result = line.rpartition(": ")[2].partition(" ")
            answers.append(Answer(int(code), result) if not line.startswith("  ") else Answer(0, line.strip()))
        return answers

    def program(self, script: Mapping[str, Any], *options: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run the test program."""
        return subprocess.run(
            [str(self.folder / "standin_program"), *options],
            env=self.environment(script, **changes), capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def truths(self) -> list[ProcessTruth]:
        """What each process of this test put on its GPUs, in the order of their numbers."""
        paths = sorted((self.work / "truth").glob("truth-*.ledger"), key=lambda path: int(path.name.split("-")[1]))
        return [read_truth(path, self.script) for path in paths]

    def violations(self) -> list[str]:
        """The rules that were broken, by all processes of this test."""
        return [line["violation"] for line in self._lines("violations")]

    def trace(self) -> list[dict[str, Any]]:
        """The calls and readings that the script asked to trace, a process after the other."""
        return list(self._lines("trace"))

    def _lines(self, kind: str) -> Iterator[dict[str, Any]]:
        for path in sorted((self.work / "truth").glob(f"{kind}-*.jsonl")):
            yield from map(json.loads, path.read_text().splitlines())


def costs(script: Mapping[str, Any]) -> list[dict[str, dict[str, int]]]:
    """By device and kernel: what one launch counts."""
    devices = script.get("devices", 1)
    devices = [{}] * devices if isinstance(devices, int) else devices
    tables = []
    for device in devices:
        table = {}
        for name, kernel in sorted(script.get("kernels", {}).items()):
            metrics = kernel.keys() - {"duration_us", "cycles"}
            counts = {metric.removesuffix("_realtime"): int(kernel[metric]) for metric in metrics}
            rate = device.get("multiprocessors", 132) * device.get("clock_khz", 1980000)
            counts.setdefault(CYCLES, kernel.get("cycles", rate * _duration_ns(kernel) // 1_000_000))
            table[name] = counts
        tables.append(table)
    return tables


def _duration_ns(kernel: Mapping[str, Any]) -> int:
    return int(kernel.get("duration_us", 0) * 1000)


def read_truth(path: Path, script: Mapping[str, Any]) -> ProcessTruth:
    """One process's ledger; it may still be growing."""
    truth = ProcessTruth(int(path.name.split("-")[1]), costs(script))
    kernels = sorted(script.get("kernels", {}))
    lost: dict[int, int] = {}
    ended_ns = None
    with path.open("rb") as file:
        while (line := file.read(_RECORD.size)) and len(line) == _RECORD.size:
            kind, device, context, kernel, start_ns, duration_ns, count = _RECORD.unpack(line)
            if kind == 0:
                break
            if kind in (_WORK, _GRAPH_WORK):
                work = Work(kernels[kernel], start_ns, duration_ns, count, of_graph=kind == _GRAPH_WORK)
                truth.contexts[context].works.append(work)
            elif kind == _CREATED:
                truth.contexts[context] = ContextTruth(device, count == 1, start_ns)
            elif kind == _ENDED:
                truth.contexts[context].end_ns = start_ns
            elif kind == _LOST:
                lost[device] = start_ns
            elif kind == _PROCESS_ENDED:
                ended_ns = start_ns
    for life in truth.contexts.values():
        ends = [end for end in (life.end_ns, lost.get(life.device), ended_ns) if end is not None]
        life.end_ns = min(ends, default=None)
    return truth


def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stand-ins: the one that FTPROF_STANDINS names, or built once for all of pytest's workers."""
    if BUILT:
        return Path(BUILT)
    if CMAKE is None:
        pytest.skip("no CMake for the stand-in CUDA libraries")
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (root / "standins.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = root / "standins" / "standins"
        if not (folder / "complete").exists():
            _build(root / "standins")
            (folder / "complete").touch()
    return folder


def _build(folder: Path) -> None:
    options = ["-DFTPROF_PYTHON=OFF", "-DFTPROF_INJECT=OFF", "-DFTPROF_STANDINS=ON", "-DCMAKE_BUILD_TYPE=Debug"]
    options.append(f"-DFTPROF_HEADER_ROOTS={sysconfig.get_path('purelib')}")
    configured = subprocess.run(
        [str(CMAKE), "-S", str(REPOSITORY), "-B", str(folder), *options], capture_output=True, text=True, timeout=300
    )
    if "No CUPTI and CUDA headers found" in configured.stderr:
        pytest.skip("no CUPTI and CUDA headers for the stand-in CUDA libraries")
    assert configured.returncode == 0, configured.stderr
    command = [str(CMAKE), "--build", str(folder), "--parallel", "2", "--target", "standins"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
