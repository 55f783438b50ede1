#!/usr/bin/env python3
"""Measures what CUPTI's libraries and ftprof's planning take of a process's memory, with the real CUPTI and no GPU.

    python scripts/bench_memory.py                                  # prints a table
    python scripts/bench_memory.py -o docs/evidence/memory-cupti.json

Each step runs in a fresh process after the steps before it, five times; the figures are medians of what each adds to
the process's private memory (the kernel's smaps_rollup), with the least and the most. Once as the dynamic loader leaves
the libraries, once as ftprof loads them (csrc/cupti/zero_pages.h), one after the other in each round. What the driver
and a counting session take on a GPU is not in them.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

# What is done in a fresh process, in this order: each adds to its memory.
AS_IT_LOADS = ("libnvperf_host as it loads", "libnvperf_target as it loads", "libcupti beside them")
AS_FTPROF_LOADS = (
    "the three libraries as ftprof loads them",
    "plan of GH100",
    "three recorded images of GH100",
    "plan of GB202",
    "plan of GH100 again",
)
IN_ALL = "in a training process, in all"
PROBE = """
import base64, ctypes, json, re, sys, time, zlib
from pathlib import Path
from ftprof import _native
folder, way, images = Path(sys.argv[1]), sys.argv[2], sorted(Path(sys.argv[3]).glob("*.json"))
def private():
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"Private_\\w+:\\s+(\\d+) kB", text))
def unpacked(packed):
    return zlib.decompress(base64.b64decode(packed["zlib_base64"]))
def decode():
    for image in recorded:
        counts = _native.evaluate(image["chip"], image["metrics"], unpacked(image["image"]), image["image"]["sha256"],
                                  unpacked(image["availability"]))
        assert [str(count) for count in counts] == [str(value) for value in image["values"]]
recorded = [json.loads(image.read_text()) for image in images]
for image in recorded: unpacked(image["image"])  # so that what zlib keeps is not taken for CUPTI's
first, before, added = private(), private(), []
def step(act):
    global before
    act()
    now = private()
    added.append(now - before)
    before = now
def load():
    _native.load_cupti([(str(folder), "measured")])
began = time.perf_counter()
if way == "as it loads":
    step(lambda: ctypes.CDLL(str(folder / "libnvperf_host.so")))
    step(lambda: ctypes.CDLL(str(folder / "libnvperf_target.so")))
step(load)
took = time.perf_counter() - began
if way != "as it loads":
    step(lambda: _native.plan("GH100"))
    step(decode)
    in_all = private() - first
    step(lambda: _native.plan("GB202"))
    step(lambda: _native.plan("GH100"))
    added.append(in_all)
print(json.dumps([added, took]))
"""
IMAGES = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "counter_data"


def cupti_folder() -> tuple[Path, str]:
    """Where the CUPTI that ftprof finds here lies, and its version."""
    from ftprof import _native
    from ftprof.measure.cupti_search import search_roots

    found = _native.load_cupti(search_roots())
    return Path(found.path).parent, found.version


def spread(values: list[float]) -> dict[str, float]:
    """Their median, with the least and the most."""
    return {
        "median": round(statistics.median(values), 1),
        "min": round(min(values), 1),
        "max": round(max(values), 1),
        "rounds": len(values),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    folder, version = cupti_folder()
    figures: dict[str, dict[str, float]] = {}
    rounds: dict[str, list[tuple[list[int], float]]] = {"as it loads": [], "as ftprof loads": []}
    for _ in range(arguments.rounds):
        for way, taken in rounds.items():
            command = [sys.executable, "-c", PROBE, str(folder), way, str(IMAGES)]
            # Not in this folder, whose ftprof is the source: what is installed is measured.
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/")
            taken.append(json.loads(done.stdout))
    for (way, taken), steps in zip(rounds.items(), (AS_IT_LOADS, (*AS_FTPROF_LOADS, IN_ALL)), strict=True):
        for step, added in zip(steps, zip(*(added for added, _ in taken), strict=True), strict=True):
            figures[f"{step}, MiB"] = spread([kib / 1024 for kib in added])
        figures[f"loading, {way}, ms"] = spread([1000 * took for _, took in taken])
    cpuinfo = Path("/proc/cpuinfo").read_text()
    conditions = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cupti": version,
        "processor": (re.findall(r"model name\s*: (.*)", cpuinfo) or [""])[0],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    print("| what it adds | median | least | most | rounds |\n|---|---|---|---|---|")
    for name, figure in figures.items():
        print(f"| {name} | {figure['median']} | {figure['min']} | {figure['max']} | {figure['rounds']} |")
    if arguments.output:
        arguments.output.write_text(json.dumps({"conditions": conditions, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
