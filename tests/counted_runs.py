"""``ftprof wrap`` around the stand-ins' test program: what came of it, and what was true."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import FTPROF
from cuda_standins import BF16, FFMA, ProcessTruth, Standins

WEIGHTS = {BF16: 1, FFMA: 2}  # operations for each count
# Nine tenths of the peak (sparse), and the GPU busy for all of a run: what is not in the interval is missed.
GEMM = {BF16: 960_000_000_000, "duration_us": 500}
SCRIPT: dict[str, Any] = {"devices": [{"uuid": "GPU-00000000-0000-0000-0000-000000000001"}], "kernels": {"gemm": GEMM}}
SHORT = ("--kernels", "gemm:600", "--seconds", "0.3", "--print")
# Windows so short that a run of 0.3 s has some tens of them.
FAST = {"FTPROF_SLOT_US": "5000,20000", "FTPROF_COUNTERS_SEED": "5", "FTPROF_CUDA_CORE": "1"}


@dataclass(frozen=True)
class CountedRun:
    """One ``ftprof wrap``, or a run without it (then there is no record)."""

    code: int
    out: str
    err: str
    path: Path
    folder: Path
    standins: Standins

    @property
    def record(self) -> dict[str, Any]:
        return dict(json.loads(self.path.read_text()))

    @property
    def reasons(self) -> str:
        return "\n".join(self.record["reasons"])

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Those of all counters journals."""
        paths = sorted(self.folder.glob("*-counters.journal"))
        return [json.loads(line) for path in paths for line in path.read_bytes().split(b"\n")[:-1]]

    def truth(self, until_ns: int | None = None) -> int:
        """The operations that its processes executed."""
        return sum(operations(process, until_ns) for process in self.standins.truths())


def operations(process: ProcessTruth, until_ns: int | None = None) -> int:
    executed = process.executed(until_ns)
    return sum(WEIGHTS[metric] * count for metric, count in executed.items() if metric in WEIGHTS)


def environment(standins: Standins, script: Mapping[str, Any], **changes: str) -> dict[str, str]:
    """That of a process which finds the stand-ins as its driver and its CUPTI."""
    return standins.environment(script, **{"CUDA_HOME": str(standins.folder), **FAST, **changes})


def bare(standins: Standins, script: Mapping[str, Any], *options: str, **changes: str) -> CountedRun:
    """The program alone."""
    command = [str(standins.folder / "standin_program"), *options]
    return _run(standins, command, environment(standins, script, **changes))


def wrapped(
    standins: Standins,
    script: Mapping[str, Any],
    *options: str,
    wrap: Sequence[str] = ("-q",),
    command: Sequence[str] = (),
    **changes: str,
) -> CountedRun:
    """``ftprof wrap`` of the program with these options, or of another command that calls it. Journals are kept."""
    program = [*command, str(standins.folder / "standin_program"), *options]
    full = [FTPROF, "wrap", *wrap, "-o", str(standins.work / "record.json"), "--force", "--keep-journals"]
    folder = standins.work / "record.run"
    return _run(standins, [*full, "--run-dir", str(folder), "--", *program], environment(standins, script, **changes))


def _run(standins: Standins, command: Sequence[str], env: Mapping[str, str]) -> CountedRun:
    done = subprocess.run(command, env=dict(env), cwd=standins.work, capture_output=True, text=True, timeout=120)
    return CountedRun(
        done.returncode, done.stdout, done.stderr, standins.work / "record.json", standins.work / "record.run", standins
    )


def is_honest(record: Mapping[str, Any], truth: int) -> bool:
    """Whether the truth lies in the record's interval."""
    return int(record["low"]) <= truth and (record["high"] is None or truth <= int(record["high"]))


def documented_codes(headers: Path) -> dict[str, tuple[int, ...]]:
    """By function: the codes that the comments of CUPTI's and the driver's headers say it returns, success left out."""
    cupti = "\n".join(path.read_text(errors="replace") for path in sorted(headers.glob("cupti*.h")))
    driver = (headers / "cuda.h").read_text(errors="replace")
    return {
        **_codes(cupti, r"CUptiResult\s+CUPTIAPI\s+(\w+)\s*\(", r"\\retval\s+(CUPTI_ERROR_\w+)", r"\\retval"),
        **_codes(driver, r"CUresult\s+CUDAAPI\s+(\w+)\s*\(", r"::(CUDA_ERROR_\w+)", r"\\return"),
    }


def _codes(text: str, function: str, code: str, begin: str) -> dict[str, tuple[int, ...]]:
    numbers = {name: int(number) for name, number in re.findall(r"(CU\w+_ERROR_\w+)\s*=\s*(\d+)", text)}
    found: dict[str, tuple[int, ...]] = {}
    for match in re.finditer(r"/\*\*((?:(?!\*/).)*)\*/\s*(?:__CUDA_DEPRECATED\s+)?" + function, text, re.DOTALL):
        comment, name = match[1], match[2]
        answers = re.search(begin + r"(?:(?!\\(?:note|sa)).)*", comment, re.DOTALL)
        names = re.findall(code, answers[0]) if answers else []
        found[name.removesuffix("_v2")] = tuple(sorted({numbers[n] for n in names if n in numbers}))
    return found


def descendants(pid: int) -> list[int]:
    """The living processes that this one has started, and those that they have."""
    found = []
    with contextlib.suppress(OSError):  # it has just ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found
