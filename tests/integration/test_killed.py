"""SIGKILL at any moment: every closed window is in the record, which says that it is incomplete."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import FTPROF, clean_environment, ftprof

ONE = 2 * 64**3
# Each step's line is on stdout before the next begins, so the output says how much was done at the least.
PROGRAM = """
import sys, time, torch
children = int(sys.argv[1])
if children:
    import subprocess
    processes = [subprocess.Popen([sys.executable, __file__, "0"]) for _ in range(children)]
a = torch.ones(64, 64)
for i in range(100_000):
    a @ a
    time.sleep(0.001)
"""


def all_descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in (task / "children").read_text().split():
            found += [int(child), *all_descendants(int(child))]
    return found


def closed_windows(folder: Path) -> int:
    """The operations in whole window lines, counted without ftprof."""
    total = 0
    for path in folder.glob("*.journal"):
        for line in path.read_bytes().split(b"\n")[:-1]:
            total += sum(int(row["flops"]) for row in json.loads(line).get("counts", []))
    return total


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_any_process_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    """The training, one of its children, or ftprof itself."""
    chance = random.Random(seed)
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    folder, record = tmp_path / "run", tmp_path / "record.json"
    command = ["wrap", "-q", "-o", str(record), "--run-dir", str(folder), "--", sys.executable, str(script), "2"]
    process = subprocess.Popen([FTPROF, *command], env=clean_environment(), cwd=tmp_path)
    descendants: list[int] = []
    try:
        time.sleep(chance.uniform(0.0, 2.0) if seed % 2 else chance.uniform(3.0, 6.0))
        descendants = all_descendants(process.pid)
        victims = [process.pid, *descendants]
        kill(chance.choice(victims))
        time.sleep(0.5)
    finally:
        for pid in [process.pid, *descendants]:
            kill(pid)
        process.wait()
    if not list(folder.glob("*.journal")):
        return  # killed before anything began
    merged = tmp_path / "merged.json"
    done = ftprof("merge", str(folder), "-o", str(merged))
    assert done.returncode == 0, done.stderr
    content = json.loads(merged.read_text())
    assert content["complete"] is False
    assert content["high"] is None
    assert int(content["low"]) == closed_windows(folder)
    assert {verdict["verdict"] for verdict in content["verdicts"]} == {"undetermined"}
    assert ftprof("check", str(merged)).returncode == 5


def test_a_killed_training_has_a_record_that_says_so(tmp_path: Path) -> None:
    """wrap itself writes the record where only the training was killed, and returns 137."""
    script = tmp_path / "program.py"
    script.write_text(
        "import torch, time, os, signal\na = torch.ones(64, 64)\na @ a\ntime.sleep(1.1)\na @ a\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    record = tmp_path / "record.json"
    done = ftprof("wrap", "-o", str(record), "--", sys.executable, str(script))
    assert done.returncode == 137
    content = json.loads(record.read_text())
    assert (content["complete"], content["high"], content["low"]) == (False, None, str(2 * ONE))
    assert "incomplete" in done.stderr
    assert "was killed" in done.stderr
    assert (tmp_path / "record.run").exists(), "an incomplete run's journals are kept"
    assert int(content["low"]) == closed_windows(tmp_path / "record.run")
