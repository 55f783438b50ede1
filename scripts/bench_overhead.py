#!/usr/bin/env python3
"""Measures what ftprof costs on this machine: starting it, each operator, and the whole example.

    python scripts/bench_overhead.py                    # all of it, about 20 minutes on two cores
    python scripts/bench_overhead.py --only startup
    python scripts/bench_overhead.py --rounds 3 -o overhead.json

Commands are run in pairs, in turn (A B C A B C ...), so that a machine whose speed drifts slows all of them. The
figures are medians of the rounds' ratios or differences, with the least and the most. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE / "examples" / "finetune_lora.py"
REFERENCE = HERE.parent / "tests" / "integration" / "reference_count.py"
FTPROF = str(Path(sys.executable).with_name("ftprof"))
OPERATORS = """
import json, time, torch
a = torch.ones(4, 4); bias = torch.ones(4); calls = 20_000
def cost(run):
    for _ in range(1000): run()
    best = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(calls): run()
        best.append((time.perf_counter() - began) / calls * 1e6)
    return sorted(best)[2]
torch.set_num_threads(1)
print(json.dumps({"aten.mm": cost(lambda: torch.mm(a, a)), "aten.addmm": cost(lambda: torch.addmm(bias, a, a)),
                  "aten.sum (no formula)": cost(lambda: a.sum()), "aten.add (no formula)": cost(lambda: a + a),
                  "aten.mul by a number (no formula)": cost(lambda: a * 2.0)}))
"""


def seconds(command: Sequence[str]) -> float:
    """Wall-clock time of one command, whose exit code must be 0."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def rounds_of(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Each command once unmeasured, then all of them in turn, so often."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        seconds(command)
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(seconds(command))
    return times


def differences_ms(times: dict[str, list[float]], name: str, base: str) -> dict[str, float]:
    return spread([(a - b) * 1e3 for a, b in zip(times[name], times[base], strict=True)])


def ratios(times: dict[str, list[float]], name: str, base: str) -> dict[str, float]:
    return spread([a / b for a, b in zip(times[name], times[base], strict=True)])


def bench_startup(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """What starting costs, in milliseconds."""
    record = str(folder / "record.json")
    commands = {
        "true": ["true"],
        "wrap": [FTPROF, "wrap", "--force", "-o", record, "--", "true"],
        "python": [sys.executable, "-c", "pass"],
        "import": [sys.executable, "-c", "import ftprof"],
        "help": [FTPROF, "--help"],
        "check": [FTPROF, "check", "--flops", "1e20", "--base-model", "Llama-2-7B"],
    }
    times = rounds_of(commands, rounds * 4)
    return {
        "`ftprof wrap -- true` more than `true`, ms": differences_ms(times, "wrap", "true"),
        "`import ftprof`, whole process, ms": spread([s * 1e3 for s in times["import"]]),
        "`ftprof --help`, whole process, ms": spread([s * 1e3 for s in times["help"]]),
        "`ftprof check`, whole process, ms": spread([s * 1e3 for s in times["check"]]),
    }


def bench_operators(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """What the hook adds to one call of an operator, in microseconds."""
    program = folder / "operators.py"
    program.write_text(OPERATORS)
    bare = [sys.executable, str(program)]
    wrapped = [FTPROF, "wrap", "-q", "--force", "-o", str(folder / "record.json"), "--", *bare]
    added: dict[str, list[float]] = {}
    for _ in range(rounds):
        costs = [json.loads(subprocess.run(c, check=True, capture_output=True).stdout) for c in (bare, wrapped)]
        for name, cost in costs[1].items():
            added.setdefault(name, []).append(cost - costs[0][name])
    return {f"added to one call of {name}, us": spread(values) for name, values in added.items()}


def bench_example(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The example wrapped, and with FlopCounterMode put around it by hand, as ratios to the bare one."""
    record = str(folder / "record.json")
    commands = {
        "bare": [sys.executable, str(EXAMPLE)],
        "wrapped": [FTPROF, "wrap", "-q", "--force", "-o", record, "--", sys.executable, str(EXAMPLE)],
        "by hand": [sys.executable, str(REFERENCE)],
    }
    times = rounds_of(commands, rounds)
    return {
        "example, bare, s": spread(times["bare"]),
        "example, `ftprof wrap` / bare": ratios(times, "wrapped", "bare"),
        "example, FlopCounterMode by hand / bare": ratios(times, "by hand", "bare"),
    }


BENCHES = {"startup": bench_startup, "operators": bench_operators, "example": bench_example}


def conditions() -> dict[str, str]:
    import torch

    cpuinfo = Path("/proc/cpuinfo").read_text()
    cpu = next((line.partition(":")[2].strip() for line in cpuinfo.splitlines() if "model name" in line), "")
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": f"{cpu}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=BENCHES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, bench in BENCHES.items():
            if arguments.only in (None, name):
                figures |= bench(Path(folder), arguments.rounds)
    about = conditions()
    print(f"{about['processor']}; {about['system']}; Python {about['python']}; torch {about['torch']}; {about['date']}")
    print("| figure | median | least | most | rounds |\n|---|---|---|---|---|")
    for name, figure in figures.items():
        row = " | ".join(f"{figure[key]:.3g}" for key in ("median", "min", "max"))
        print(f"| {name} | {row} | {figure['rounds']:.0f} |")
    if arguments.output:
        arguments.output.write_text(json.dumps({"conditions": about, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
