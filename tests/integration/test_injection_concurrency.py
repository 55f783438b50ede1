"""The injection library in many processes, threads and contexts at once, and contexts that it cannot see."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import FTPROF
from counted_runs import CountedRun, is_honest
from cuda_standins import BF16, Standins
from injection_runs import beside_truth, program, python, run, windows
from nvml_standin import Standin as Nvml
from nvml_standin import nvml_library, standin

__all__ = ["nvml_library", "standin"]  # fixtures

UUIDS = [f"GPU-0000000{number}-0000-0000-0000-000000000000" for number in range(2)]
SCRIPT: dict[str, Any] = {
    "devices": [{"uuid": uuid} for uuid in UUIDS],
    "kernels": {"gemm": {BF16: 2**31 + 1, "duration_us": 100}},
    "trace": "cupti",
}
# 80 % of the time of each device in each process.
LAUNCHES = ("--threads", "4", "--devices", "0,1", "--kernels", "gemm:8000", "--seconds", "2", "--rounds", "200")


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Iterator[Standins]:
    standins = Standins(folder, tmp_path)
    yield standins
    assert standins.violations() == []


def counted_contexts(counted: CountedRun) -> set[tuple[int, int]]:
    return {(window.process, window.context) for window in windows(counted)}


def is_exact(counted: CountedRun) -> bool:
    assert (counted.code, counted.err) == (0, "")
    pairs = beside_truth(counted)
    assert [window.counts for window, _ in pairs] == [truth for _, truth in pairs]
    return is_honest(counted.record, counted.truth())


def lacks_no_more_than_graphs(counted: CountedRun) -> bool:
    """Their CUDA-core operations: patched code does not count those."""
    record = counted.record
    assert len(record["reasons"]) <= 1
    assert all("CUPTI patches no kernel of a CUDA graph" in reason for reason in record["reasons"])
    return bool(record["complete"]) == (record["reasons"] == [])


@pytest.mark.parametrize("launch", ["--graphs", "--capture"])
def test_eight_processes_with_four_threads_and_graphs_on_two_devices(standins: Standins, launch: str) -> None:
    began = time.monotonic()
    counted = run(
        standins, SCRIPT, program(standins, "--processes", "8", *LAUNCHES, launch, "--print"),
        FTPROF_SLOT_US="20000,100000",
    )  # fmt: skip
    assert time.monotonic() - began < 60  # nobody waits for ever
    assert counted.out.count("gemm 8000\n") == 32
    assert counted.out.count("process ended with 0\n") == 8
    assert len(counted_contexts(counted)) == 16
    assert is_exact(counted)
    record, truth = counted.record, counted.truth()
    assert truth == 32 * 8000 * (2**31 + 1)
    assert abs(int(record["flops"]) - truth) < truth // 3  # a busy machine makes few windows; the interval holds
    assert lacks_no_more_than_graphs(counted)
    assert {row["uuid"] for row in record["estimates"]} == set(UUIDS)


def test_contexts_of_their_own_beside_primary_ones_are_said_to_be_unseen(standins: Standins) -> None:
    """Without --subscribe: all 16 primary contexts of eight processes, to the last window, and none of the other 8."""
    work = program(standins, "--processes", "8", *LAUNCHES, "--graphs", "--create-context")
    counted = run(standins, SCRIPT, work, FTPROF_SLOT_US="20000,100000")
    assert len(counted_contexts(counted)) == 16
    pairs = beside_truth(counted)
    assert [window.counts for window, _ in pairs] == [truth for _, truth in pairs]
    looked_for = [process["software"].get("contexts") for process in counted.record["processes"]]
    assert looked_for.count("primary") == 8
    assert "all" not in looked_for
    shown = subprocess.run([FTPROF, "report", str(counted.path)], capture_output=True, text=True, timeout=60)
    assert "contexts that a program makes itself are seen with --subscribe only" in " ".join(shown.stdout.split())


def test_every_context_of_eight_processes_is_counted_on_demand(standins: Standins) -> None:
    work = program(standins, "--processes", "8", *LAUNCHES, "--graphs", "--create-context")
    counted = run(standins, SCRIPT, work, "--subscribe", FTPROF_SLOT_US="20000,100000")
    lives = [life for truth in standins.truths() for life in truth.contexts.values()]
    assert sorted(life.primary for life in lives) == [False] * 8 + [True] * 16
    assert len(counted_contexts(counted)) == 24
    assert is_exact(counted)
    assert lacks_no_more_than_graphs(counted)


@pytest.mark.slow
def test_one_process_that_cannot_be_counted_stops_no_other(standins: Standins) -> None:
    """One of the eight is refused the counters, one is killed, one hangs at its end."""
    script = {
        **SCRIPT,
        "failures": [{"call": "cuptiRangeProfilerEnable", "every": True, "code": 35, "env": {"RANK": "1"}}],
        "delays": [{"call": "cuptiRangeProfilerDecodeData", "nth": 5, "us": 30_000_000, "env": {"RANK": "2"}}],
    }
    ranks = python("""
        import subprocess
        def start(rank):
            return subprocess.Popen(sys.argv[1:], env={**os.environ, "RANK": str(rank)}, stdout=subprocess.DEVNULL)
        processes = [start(rank) for rank in range(8)]
        time.sleep(1)
        processes[3].kill()
        print([process.wait() for process in processes])
    """)
    work = program(standins, "--threads", "2", "--devices", "0,1", "--kernels", "gemm:4000", "--seconds", "1.5")
    began = time.monotonic()
    counted = run(standins, script, [*ranks, *work])
    assert time.monotonic() - began < 15
    assert counted.out == "[0, 0, 0, -9, 0, 0, 0, 0]\n"
    assert is_exact(counted)
    assert len(counted_contexts(counted)) == 14  # of seven processes
    for what in ("35", "was killed", "before its last window could be closed"):
        assert what in counted.reasons
    assert {row["verdict"] for row in counted.record["verdicts"]} == {"below"}  # bounded by the peak


ONLY_ITS_OWN = """
    import pathlib
    init()
    create()
    with open(os.environ["PIDS"], "a") as file:
        print(os.getpid(), file=file)
    work(2.5)
    pathlib.Path(os.environ["PIDS"]).write_text("")
"""


def watched(nvml: Nvml, standins: Standins, pids: Path) -> dict[str, str]:
    """The environment in which NVML says what the file of process ids does, and the stand-ins are found."""
    nvml.gpu(0, uuid=UUIDS[0], processes_file=str(pids)).gpu(1, uuid=UUIDS[1])
    found = nvml.environment()
    folders = found["LD_LIBRARY_PATH"].split(os.pathsep)[0]
    return {
        "LD_LIBRARY_PATH": os.pathsep.join((str(standins.folder), folders)),
        "FTPROF_NVML_SCRIPT": found["FTPROF_NVML_SCRIPT"],
        "PIDS": str(pids),
    }


def test_a_context_that_nobody_sees_is_no_silent_below(standins: Standins, standin: Nvml, tmp_path: Path) -> None:
    """A process that has made a context itself, without --subscribe: only NVML knows of it."""
    pids = tmp_path / "pids"
    pids.touch()
    counted = run(standins, SCRIPT, python(ONLY_ITS_OWN), **watched(standin, standins, pids))
    assert (counted.code, counted.err) == (0, "")
    assert not counted.lines
    record = counted.record
    assert not record["complete"]
    assert "--subscribe" in counted.reasons
    assert is_honest(record, counted.truth())
    assert record["high"] is None
    assert {verdict["verdict"] for verdict in record["verdicts"]} == {"undetermined"}


def test_a_context_that_nobody_sees_beside_one_that_is_counted(
    standins: Standins, standin: Nvml, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    pids.touch()
    both = python(
        """
        import subprocess
        counted = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
        exec(PROGRAM)
        assert counted.wait() == 0
    """.replace("PROGRAM", repr("\n".join(line[4:] for line in ONLY_ITS_OWN.splitlines())))
    )
    work = program(standins, "--kernels", "gemm:10000", "--seconds", "2.5")
    counted = run(standins, SCRIPT, [*both, *work], **watched(standin, standins, pids))
    assert (counted.code, counted.err) == (0, "")
    record = counted.record
    assert len(counted_contexts(counted)) == 1
    assert not record["complete"]
    assert "--subscribe" in counted.reasons
    assert record["high"] is None or int(record["high"]) >= counted.truth()


def test_contexts_that_a_program_makes_are_counted_on_demand(standins: Standins) -> None:
    own = python("""
        init()
        first, second = create(0), create(1)
        work(0.5)
        current(first)
        work(0.5)
    """)
    counted = run(standins, SCRIPT, own, "--subscribe")
    # Either may be the first that is noticed.
    assert {(window.context, window.device) for window in windows(counted)} in ({(0, 0), (1, 1)}, {(0, 1), (1, 0)})
    assert is_exact(counted)
    assert counted.record["complete"], counted.reasons


def test_a_subscriber_that_is_taken_is_said(standins: Standins) -> None:
    """The program's own comes first here: its CUPTI is used, and its place left to it."""
    script = {**SCRIPT, "failures": [{"call": "cuptiSubscribe", "nth": 1, "code": 39}]}
    work = program(standins, "--kernels", "gemm:4000", "--seconds", "0.5")
    counted = run(standins, script, work, "--subscribe")
    assert len(counted_contexts(counted)) == 1
    assert "contexts that are not a device's primary one were not seen" in counted.reasons
    assert "39" in counted.reasons
    assert counted.record["high"] is None
    assert is_exact(counted)
