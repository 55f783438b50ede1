#!/usr/bin/env python3
"""Measures what CUPTI's libraries and ftprof's planning take of a process's memory, with the real CUPTI and no GPU.

    python scripts/bench_memory.py                                  # prints a table
    python scripts/bench_memory.py -o docs/evidence/memory-cupti.json

Each step runs in a fresh process after the steps before it, five times; the figures are medians of what each adds to
the process's private memory (the kernel's smaps_rollup), with the least and the most. What the driver and a counting
session take on a GPU is not in them.
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

STEPS = ("libnvperf_host", "libnvperf_target", "libcupti", "plan of GH100", "plan of GB202", "plan of GH100 again")
PROBE = """
import ctypes, json, re, sys
from pathlib import Path
from ftprof import _native
folder = Path(sys.argv[1])
def private():
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"Private_\\w+:\\s+(\\d+) kB", text))
before, added = private(), []
def step(act):
    global before
    act()
    now = private()
    added.append(now - before)
    before = now
step(lambda: ctypes.CDLL(str(folder / "libnvperf_host.so")))
step(lambda: ctypes.CDLL(str(folder / "libnvperf_target.so")))
step(lambda: _native.load_cupti([(str(folder), "measured")]))
for chip in ("GH100", "GB202", "GH100"):
    step(lambda: _native.plan(chip))
print(json.dumps(added))
"""


def cupti_folder() -> tuple[Path, str]:
    """Where the CUPTI that ftprof finds here lies, and its version."""
    from ftprof import _native
    from ftprof.measure.cupti_search import search_roots

    found = _native.load_cupti(search_roots())
    return Path(found.path).parent, found.version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    folder, version = cupti_folder()
    command = [sys.executable, "-c", PROBE, str(folder)]
    rounds = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(arguments.rounds)
    ]
    figures = {}
    for step, added in zip(STEPS, zip(*rounds, strict=True), strict=True):
        mib = [kib / 1024 for kib in added]
        figures[f"{step}, MiB"] = {
            "median": round(statistics.median(mib), 1),
            "min": round(min(mib), 1),
            "max": round(max(mib), 1),
            "rounds": len(mib),
        }
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
