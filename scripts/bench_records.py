#!/usr/bin/env python3
"""Measures the commands that read records and journals: time of the whole process, and the memory of its largest one.

    python scripts/bench_records.py                       # some minutes, and 400 MB of disk
    python scripts/bench_records.py --only check
    python scripts/bench_records.py --base FOLDER         # another checkout too, in turn, for a pair of figures

The run directories are made by scripts/sample_runs.py. A day of 2,048 nodes is 16,384 journals of 40 lines each: a
header, a context with four groups of metrics, the roll-up of six strata (204 windows), 36 windows since, and the end.
With --whole-plan the contexts have the eleven groups of a GH100. A real process rolls up to 440 strata in a day, on one
line of half a megabyte: a journal of those is measured by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import sample_runs

Figures = dict[str, dict[str, float]]
BEFORE = "before: "
LIMITS = {  # what the medians may be at most; the script ends with 1 where one is more
    "`ftprof check RECORD`, whole process, ms": 200.0,
    "`ftprof report` of 100,000 windows, s": 3.0,
    "`ftprof report` of 100,000 windows, largest process, MiB": 200.0,
    "`ftprof report --format html` of 100,000 windows, s": 3.0,
    "`ftprof report --format html` of 100,000 windows, largest process, MiB": 200.0,
    "`ftprof merge` of 16,384 journals of 40 lines, s": 20.0,
}


def measure(command: Sequence[str], source: Path | None) -> tuple[float, float, float]:
    """Seconds by the clock and of processor time, and MiB of the largest process of the command."""
    environment = {**os.environ, **({"PYTHONPATH": str(source)} if source else {})}
    began = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-P", "-m", "ftprof", *command], environment,
                         file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])  # fmt: skip
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 3, 4, 5):
        sys.exit(f"ftprof {' '.join(command)} ended with {code}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


class Bench:
    """Runs commands in turn: of this version, and of another one where there is one."""

    def __init__(self, rounds: int, base: Path | None, folder: Path, whole_plan: bool) -> None:
        self.rounds = rounds
        self.versions: dict[str, Path | None] = {"": None, **({BEFORE: base} if base else {})}
        self.folder = folder
        self.plan = sample_runs.whole_plan() if whole_plan else sample_runs.small_plan()

    def of(self, name: str, command: Callable[[str], list[str]], unit: str = "s") -> Figures:
        """``command`` takes the version's own mark, for what it reads and writes."""
        found: dict[str, list[tuple[float, float, float]]] = {mark: [] for mark in self.versions}
        for _ in range(self.rounds * (4 if unit == "ms" else 1)):
            for mark, source in self.versions.items():
                found[mark].append(measure(command(mark), source))
        scale = 1e3 if unit == "ms" else 1.0
        figures: Figures = {}
        for mark, both in found.items():
            figures[f"{mark}{name}, {unit}"] = spread([clock * scale for clock, _, _ in both])
            figures[f"{mark}{name}, processor time, {unit}"] = spread([used * scale for _, used, _ in both])
            figures[f"{mark}{name}, largest process, MiB"] = spread([mib for _, _, mib in both])
        return figures

    def record(self, run: Path, mark: str) -> str:
        """Where the record of a run lies that this version made."""
        return str(self.folder / f"{run.name}{'-before' if mark else ''}.json")

    def merge(self, run: Path, mark: str) -> list[str]:
        """The arguments that make the record of a run."""
        return ["merge", str(run), "--force", "-o", self.record(run, mark)]


def bench_windows(bench: Bench) -> Figures:
    """A run with 100,000 windows that were not rolled up."""
    run = bench.folder / "windows"
    sample_runs.write_run(run, 25, 0, 4000, bench.plan)
    figures = bench.of("`ftprof merge` of 100,000 windows", lambda mark: bench.merge(run, mark))
    for options in ([], ["--format", "html"]):
        name = " ".join(["`ftprof report", *options]) + "` of 100,000 windows"
        figures |= bench.of(name, lambda mark, options=options: ["report", bench.record(run, mark), *options])
    return figures


def bench_check(bench: Bench) -> Figures:
    """A record of eight processes."""
    run = bench.folder / "small"
    sample_runs.write_run(run, 8, 6, 36, bench.plan)
    for mark, source in bench.versions.items():
        measure(bench.merge(run, mark), source)
    return bench.of("`ftprof check RECORD`, whole process", lambda mark: ["check", bench.record(run, mark)], "ms")


def bench_day(bench: Bench) -> Figures:
    """Sixteen thousand journals, and one that holds a whole day."""
    one = bench.folder / "one"
    sample_runs.write_run(one, 1, 440, 36, sample_runs.whole_plan())
    figures = bench.of("`ftprof merge` of one process's day, 440 strata", lambda mark: bench.merge(one, mark), "ms")
    run = bench.folder / "day"
    lines = sample_runs.write_run(run, 16_384, 6, 36, bench.plan)
    name = f"`ftprof merge` of 16,384 journals of {lines} lines"
    return figures | bench.of(name, lambda mark: bench.merge(run, mark))


BENCHES = {"check": bench_check, "windows": bench_windows, "day": bench_day}


def parted(figures: Figures) -> dict[str, Figures]:
    """Those of this version, and those of the other one where there is one."""
    own = {name: figure for name, figure in figures.items() if not name.startswith(BEFORE)}
    before = {name.removeprefix(BEFORE): figure for name, figure in figures.items() if name.startswith(BEFORE)}
    return {"figures": own, **({"before": before} if before else {})}


def conditions() -> dict[str, str]:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    cpu = next((line.partition(":")[2].strip() for line in cpuinfo.splitlines() if "model name" in line), "")
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": f"{cpu}, {len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f} before the first command",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=BENCHES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--base", type=Path, help="a checkout of another version")
    parser.add_argument("--whole-plan", action="store_true", help="all groups of a GH100, not four")
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    about = conditions()
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.rounds, arguments.base, Path(folder), arguments.whole_plan)
        for name, measured in BENCHES.items():
            if arguments.only in (None, name):
                figures |= measured(bench)
    print(f"{about['processor']}; {about['system']}; Python {about['python']}; load {about['load']}; {about['date']}")
    print("| figure | median | least | most | rounds | at most |\n|---|---|---|---|---|---|")
    for name, figure in figures.items():
        row = " | ".join(f"{figure[key]:.3g}" for key in ("median", "min", "max"))
        print(f"| {name} | {row} | {figure['rounds']:.0f} | {LIMITS.get(name, '')} |")
    if arguments.output:
        arguments.output.write_text(json.dumps({"conditions": about, **parted(figures)}, indent=1) + "\n")
    over = [name for name, most in LIMITS.items() if name in figures and figures[name]["median"] > most]
    if over:
        sys.exit(f"more than it may be: {'; '.join(over)}")


if __name__ == "__main__":
    main()
