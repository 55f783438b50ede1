"""The system's clock is set while a run goes on: no length, order or total of the record hangs on it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from counted_runs import is_honest
from cuda_standins import BF16, Standins
from injection_runs import BASE_ONLY, python, run, windows

from ftprof.measure.analytic import hook

SCRIPT: dict[str, Any] = {**BASE_ONLY, "kernels": {"gemm": {BF16: 2**31 + 1, "duration_us": 400}}}
COMPILER = shutil.which("cc") or shutil.which("gcc")
# In every process of the run from the moment on at which the file is there.
SET_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec* now) {
  static int (*real)(clockid_t, struct timespec*);
  if (!real) real = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  const int result = real(id, now);
  const char* file = getenv("CLOCK_IS_SET");
  const int error = errno;
  if (id == CLOCK_REALTIME && file && access(file, F_OK) == 0) now->tv_sec += atoi(getenv("CLOCK_STEP_S"));
  errno = error;
  return result;
}
"""
PROGRAM = """
    import pathlib
    init(), retain(0)
    await_windows()
    launch("gemm", 2000)
    work_until(lambda roles: roles["base"] > 5)
    pathlib.Path(os.environ["CLOCK_IS_SET"]).touch()
    launch("gemm", 2000)
    work_until(lambda roles: roles["base"] > 30)
    synchronize()
"""


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Iterator[Standins]:
    standins = Standins(folder, tmp_path)
    yield standins
    assert standins.violations() == []


@pytest.mark.parametrize("step_s", [60, -60, -1])
def test_a_step_of_the_system_s_clock_changes_nothing(standins: Standins, tmp_path: Path, step_s: int) -> None:
    if COMPILER is None:
        pytest.skip("no C compiler")
    (tmp_path / "clock.c").write_text(SET_CLOCK)
    library = tmp_path / "clock.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", str(tmp_path / "clock.c"), "-o", str(library)], check=True)
    step = {"CLOCK_IS_SET": str(tmp_path / "clock-is-set"), "CLOCK_STEP_S": str(step_s)}
    counted = run(standins, SCRIPT, python(PROGRAM), LD_PRELOAD=str(library), FTPROF_CUDA_CORE="0", **step)
    assert (counted.code, counted.err) == (0, "")
    assert counted.record["complete"], counted.reasons
    assert is_honest(counted.record, counted.truth())
    assert abs(int(counted.record["flops"]) - counted.truth()) < counted.truth() // 5
    closed = windows(counted)
    assert all(0 <= window.end_us - window.begin_us < 20_000_000 for window in closed)
    assert all(one.end_us <= later.begin_us for one, later in pairwise(closed))
    ends = [line["time_us"] for line in counted.lines if line["kind"] in ("header", "end")]
    assert ends[0] <= closed[0].end_us <= closed[-1].end_us <= ends[1] < ends[0] + 50_000_000


@pytest.mark.parametrize("this_machine", [True, False])
def test_all_processes_of_a_run_go_by_the_first_one_s_clock(standins: Standins, this_machine: bool) -> None:
    """And one that a launcher has started on another machine, with the same environment, by its own."""
    name, value = next(iter(hook.clock_for_others().items()))
    machine, _, zero_us = value.rpartition(" ")
    told = f"{machine if this_machine else machine[1:]} {int(zero_us) + 1_000_000_000}"
    counted = run(standins, SCRIPT, python("init(), retain(0), work(0.3)"), **{name: told})
    assert counted.record["complete"], counted.reasons
    moments = [path.stat().st_mtime for path in counted.folder.glob("*.journal")]
    firsts = [json.loads(path.read_bytes().split(b"\n")[0])["time_us"] for path in counted.folder.glob("*.journal")]
    assert len(firsts) == 2  # the run's own journal, by Python, and the counters'
    later_s = [first / 1e6 - moment for first, moment in zip(firsts, moments, strict=True)]
    assert all(abs(later - (1000 if this_machine else 0)) < 100 for later in later_s)
