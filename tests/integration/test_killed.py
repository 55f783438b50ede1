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
from typing import Any

import pytest
from conftest import FTPROF, clean_environment, ftprof

from ftprof.measure.unhooked import NEVER_LOADED

ONE = 2 * 64**3
# Each step's line is on stdout before the next begins, so the output says how much was done at the least.
PROGRAM = """
import sys, time, torch
children, steps = map(int, sys.argv[1:])
processes = []
if children:
    import subprocess
    processes = [subprocess.Popen([sys.executable, __file__, "0", sys.argv[2]]) for _ in range(children)]
a = torch.ones(64, 64)
for i in range(steps):
    a @ a
    time.sleep(0.001)
for process in processes: process.wait()
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


class Training:
    """A wrapped training with two more processes, each of so many steps."""

    def __init__(self, folder: Path, steps: int) -> None:
        script = folder / "program.py"
        script.write_text(PROGRAM)
        self.folder, self.record = folder / "run", folder / "record.json"
        self.merged = folder / "merged.json"
        command = ["wrap", "-q", "-o", str(self.record), "--run-dir", str(self.folder), "--"]
        command += [sys.executable, str(script), "2", str(steps)]
        self.process = subprocess.Popen([FTPROF, *command], env=clean_environment(), cwd=folder)
        self.seen: set[int] = set()

    def processes(self) -> list[int]:
        """ftprof's own, the command's, and those of its children."""
        found = [self.process.pid, *all_descendants(self.process.pid)]
        self.seen |= set(found)
        return found

    def journals_of(self, pid: int) -> list[Path]:
        return list(self.folder.glob(f"*-{pid}-*.journal"))

    def kill_all(self) -> None:
        self.processes()
        for pid in self.seen:
            kill(pid)
        self.process.wait()

    def merge(self) -> dict[str, Any]:
        done = ftprof("merge", str(self.folder), "-o", str(self.merged))
        assert done.returncode == 0, done.stderr
        content: dict[str, Any] = json.loads(self.merged.read_text())
        return content


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_any_process_killed_at_any_moment_and_soon_all(tmp_path: Path, seed: int) -> None:
    """The training, one of its children, or ftprof itself; half a second later the rest."""
    chance = random.Random(seed)
    training = Training(tmp_path, 100_000)
    try:
        time.sleep(chance.uniform(0.0, 2.0) if seed % 2 else chance.uniform(3.0, 6.0))
        kill(chance.choice(training.processes()))
        time.sleep(0.5)
    finally:
        training.kill_all()
    if not list(training.folder.glob("*.journal")):
        return  # killed before anything began
    content = training.merge()
    assert content["complete"] is False
    assert content["high"] is None
    assert int(content["low"]) == closed_windows(training.folder)
    assert {verdict["verdict"] for verdict in content["verdicts"]} == {"undetermined"}
    assert ftprof("check", str(training.merged)).returncode == 5


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "seed"), [(0, 0), (1, 1), (2, 2), (2, 3), (3, 4), (3, 5)])
def test_one_process_killed_while_the_others_go_on(tmp_path: Path, victim: int, seed: int) -> None:
    """0 is ftprof, 1 the training, 2 and 3 its children. What the others do until their end is in the record."""
    chance = random.Random(seed)
    training = Training(tmp_path, 4_000)
    try:
        while len(training.processes()) < 4:
            time.sleep(0.05)
        pid = training.processes()[victim]
        while seed % 2 and victim > 0 and not training.journals_of(pid):
            time.sleep(0.05)  # an odd seed's victim has begun; an even one's may be importing torch
        time.sleep(chance.uniform(0.0, 3.0))
        began = training.journals_of(pid)
        kill(pid)
        code = training.process.wait(timeout=120)
        others = training.seen - {pid}
        for _ in range(1200):
            if not any(Path(f"/proc/{other}").exists() for other in others):
                break
            time.sleep(0.1)
    finally:
        training.kill_all()
    content = training.merge()
    assert int(content["low"]) == closed_windows(training.folder)
    ended = {process["pid"]: process["end"] for process in content["processes"]}
    assert pid not in ended or ended[pid] is None
    # A child that was killed before it had torch has done nothing, and nothing of the run is missing. One that was
    # seen in the midst of the import, which is long on a busy machine, is named: from outside it may have done more.
    in_import = any(f": process {pid} " in reason and NEVER_LOADED in reason for reason in content["reasons"])
    is_missing = victim < 2 or bool(began) or in_import
    assert (content["complete"], content["high"] is None) == (not is_missing, is_missing)
    if victim > 0:
        own = json.loads(training.record.read_text())
        assert (own["complete"], own["reasons"]) == (content["complete"], content["reasons"]) or victim == 1
        assert code == (137 if victim == 1 else 0)
        assert [ended.get(other) for other in others - {training.process.pid}].count("exit") >= (2 if victim > 1 else 0)


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
