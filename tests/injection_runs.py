"""Programs on the stand-ins with the injection library in them, and each of its windows beside the truth."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conftest import FTPROF
from counted_runs import CountedRun, environment
from cuda_standins import BF16, CYCLES, ContextTruth, Standins

# Fast windows: a run of a second has some tens of them.
SLOTS = {"FTPROF_SLOT_US": "10000,40000", "FTPROF_CUDA_CORE": "1"}
# A chip whose every metric is in the base group: nothing is extrapolated over rotation.
BASE_ONLY: dict[str, Any] = {
    "devices": [{"chip": "BASE"}],
    "chips": {
        "BASE": {
            "groups": [[BF16]],
            "anywhere": [CYCLES],
            "two_passes": ["smsp__sass_thread_inst_executed", "smsp__thread_inst_executed"],
        }
    },
}
# Isolated: a package that a test runner loads into it (coverage) would bring the CUPTI of its own environment along.
PYTHON = (sys.executable, "-I", "-S", "-c")
# For programs in Python: the driver's calls that they need.
PRELUDE = """
import collections, ctypes, glob, json, os, signal, sys, threading, time
cu = ctypes.CDLL("libcuda.so.1")
def ok(code):
    assert code == 0, code
def init():
    ok(cu.cuInit(0))
def current(context):
    ok(cu.cuCtxSetCurrent(context))
    return context
def retain(device=0):
    context = ctypes.c_void_p()
    ok(cu.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    return current(context)
def create(device=0):
    context = ctypes.c_void_p()
    ok(cu.cuCtxCreate_v2(ctypes.byref(context), 0, device))
    return context
def launch(kernel, times=1):
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    ok(cu.cuModuleLoadData(ctypes.byref(module), b"the script's"))
    ok(cu.cuModuleGetFunction(ctypes.byref(function), module, kernel.encode()))
    for _ in range(times):
        ok(cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, None, None))
def synchronize():
    ok(cu.cuCtxSynchronize())
def work(seconds, kernel="gemm"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        launch(kernel, 4)
        synchronize()
def roles():
    # How many windows of each role this run's journals have by now.
    found = collections.Counter()
    for path in glob.glob(os.environ["FTPROF_RUN_DIR"] + "/*-counters.journal"):
        groups = {}
        for line in map(json.loads, open(path).read().split("\\n")[:-1]):
            if line["kind"] == "context":
                groups[line["context"]] = [group["role"] for group in line["groups"]]
            elif line["kind"] == "counts":
                found[groups[line["context"]][line["group"]]] += 1
            for row in line.get("strata", ()):
                for group in row["groups"]:
                    found[groups[row["context"]][group["group"]]] += group["windows"]
    return found
def work_until(counted, meanwhile=lambda: work(0.05)):
    # On a busy machine windows take longer: it is their number that counts. Bare, there is none to wait for.
    end = time.monotonic() + 60
    while "FTPROF_RUN_DIR" in os.environ and not counted(roles()) and time.monotonic() < end:
        meanwhile()
def library():
    return ctypes.CDLL(os.environ["CUDA_INJECTION64_PATH"], mode=os.RTLD_NOLOAD | os.RTLD_NOW)
def await_windows():
    assert library().ftprof_inject_await_windows(60000) == 1
def announce():  # as the hook does in a process with torch, before the driver loads the library
    ctypes.CDLL(os.environ["CUDA_INJECTION64_PATH"]).ftprof_inject_captures_are_announced()
def our_threads():
    tasks = [f"/proc/self/task/{task}/" for task in os.listdir("/proc/self/task")]
    return [task for task in tasks if open(task + "comm").read().startswith("ftprof-")]
"""


def python(program: str) -> list[str]:
    """The command that runs a program, behind functions for the driver."""
    return [*PYTHON, PRELUDE + textwrap.dedent(program)]


def program(standins: Standins, *options: str) -> list[str]:
    """The command that runs the stand-ins' test program."""
    return [str(standins.folder / "standin_program"), *options]


def run(
    standins: Standins,
    script: Mapping[str, Any],
    command: Sequence[str],
    *wrap: str,
    bare: bool = False,
    **changes: str,
) -> CountedRun:
    """A command through ``ftprof wrap`` with these options, or ``bare``. It keeps its journals."""
    path, folder = standins.work / "record.json", standins.work / "record.run"
    full = [FTPROF, "wrap", "-q", "-o", str(path), "--force", "--keep-journals", "--run-dir", str(folder), *wrap, "--"]
    env = environment(standins, script, **{**SLOTS, **changes})
    shutil.rmtree(folder, ignore_errors=True)
    done = subprocess.run(
        [*([] if bare else full), *command], env=env, cwd=standins.work, capture_output=True, text=True, timeout=120
    )
    return CountedRun(done.returncode, done.stdout, done.stderr, path, folder, standins)


@dataclass(frozen=True)
class Window:
    """A closed window of a journal: its group's metrics (names without rollup) with their counts."""

    process: int
    context: int
    device: int
    role: str
    begin_us: int
    end_us: int
    counts: dict[str, int]


def windows(counted: CountedRun) -> list[Window]:
    """Those of all journals, in the order of their beginnings."""
    found: list[Window] = []
    process, contexts = 0, {}
    for line in counted.lines:
        if line["kind"] == "header":
            process, contexts = line["pid"], {}
        elif line["kind"] == "context":
            contexts[line["context"]] = line
        elif line["kind"] == "counts":
            found.append(_window(process, contexts[line["context"]], line))
    return sorted(found, key=lambda window: window.begin_us)


def _window(process: int, context: Mapping[str, Any], line: Mapping[str, Any]) -> Window:
    group = context["groups"][line["group"]]
    names = [metric["name"].removesuffix(".sum") for metric in group["metrics"]]
    device = int(context["device"]["device"].removeprefix("cuda:"))
    counts = dict(zip(names, map(int, line["counts"]), strict=True))
    return Window(process, line["context"], device, group["role"], line["begin_us"], line["end_us"], counts)


class Curve:
    """What one context has executed by any moment, in the counters' own whole numbers."""

    def __init__(self, life: ContextTruth, costs: Mapping[str, Mapping[str, int]]) -> None:
        self._works = sorted(life.works, key=lambda work: work.start_ns)
        self._starts = [work.start_ns for work in self._works]
        self._costs = costs
        self._before: list[Counter[str]] = [Counter()]
        for work in self._works:
            total = Counter(self._before[-1])
            total.update({metric: count * work.count for metric, count in work.counted(costs[work.kernel]).items()})
            self._before.append(total)

    def at(self, moment_ns: int) -> Counter[str]:
        index = bisect_right(self._starts, moment_ns) - 1
        if index < 0:
            return Counter()
        work, total = self._works[index], Counter(self._before[index])
        passed = moment_ns - work.start_ns
        whole = min(passed // work.duration_ns, work.count)
        part = passed - whole * work.duration_ns if whole < work.count else 0
        for metric, count in work.counted(self._costs[work.kernel]).items():
            total[metric] += count * whole + count * part // work.duration_ns
        return total


def readings(counted: CountedRun) -> Iterator[tuple[int, int, int, int, int]]:
    """The moments at which the counters were read: process, context, device, push and pop (ns). Needs a trace."""
    for path in sorted((counted.standins.work / "truth").glob("trace-*.jsonl")):
        pushed: dict[int, int] = {}
        for line in map(json.loads, path.read_text().splitlines()):
            if line.get("range") == "push":
                pushed[line["tid"]] = line["at_ns"]
            elif line.get("range") == "pop" and line["tid"] in pushed:
                process = int(path.stem.split("-")[1])
                yield process, line["context"], line["device"], pushed.pop(line["tid"]), line["at_ns"]


def beside_truth(counted: CountedRun) -> list[tuple[Window, dict[str, int]]]:
    """Each window with what was executed between its two readings."""
    curves = {
        (truth.pid, number): Curve(life, truth.costs[life.device])
        for truth in counted.standins.truths()
        for number, life in truth.contexts.items()
    }
    moments = list(readings(counted))
    pairs = []
    for window in windows(counted):
        mine = [m for m in moments if (m[0], m[2]) == (window.process, window.device)]
        # Several contexts of a device are counted at the same time, but do not begin and end together.
        near = sorted(mine, key=lambda m: _distance_ns(window, m))
        truths = [_between(curves[m[0], m[1]], m[3], m[4], window) for m in near[:_CANDIDATES]]
        pairs.append((window, window.counts if window.counts in truths else truths[0]))
    return pairs


# A busy machine may leave the meter waiting for tens of milliseconds between a reading and its clock, so that the
# nearest reading is the next one's, or another context's of the same device. No two readings give the same numbers, but
# for zeros: a wrong count equals none of them.
_CANDIDATES = 16


def _distance_ns(window: Window, reading: tuple[int, int, int, int, int]) -> int:
    return abs(reading[3] - window.begin_us * 1000) + abs(reading[4] - window.end_us * 1000)


def _between(curve: Curve, push_ns: int, pop_ns: int, window: Window) -> dict[str, int]:
    grown = curve.at(pop_ns)
    grown.subtract(curve.at(push_ns))
    return {metric: grown[metric] for metric in window.counts}
