"""What becomes of windows that cannot be read: gaps with their reasons, and how soon it is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from counted_runs import CountedRun, is_honest
from cuda_standins import BF16, Standins
from injection_runs import BASE_ONLY, program, python, run, windows

SCRIPT: dict[str, Any] = {**BASE_ONLY, "kernels": {"gemm": {BF16: 2**31 + 1, "duration_us": 400}}, "trace": "cupti"}
TOO_LARGE = "is no exact count: 9007199254740992"


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Iterator[Standins]:
    standins = Standins(folder, tmp_path)
    yield standins
    assert standins.violations() == []


def gaps(counted: CountedRun) -> list[dict[str, Any]]:
    return [line for line in counted.lines if line["kind"] == "gap"]


def test_a_range_that_counted_too_much_is_a_gap_and_the_others_of_its_pass_are_none(standins: Standins) -> None:
    """A queue deep enough makes a range so long that its count is no exact double any more."""
    large = {"call": "cuptiProfilerHostEvaluateToGpuValues", "nth": 3, "set": {"value": 2**53}}
    works = python("""
        init(), retain(0)
        work_until(lambda roles: roles["base"] > 20)
    """)
    counted = run(standins, {**SCRIPT, "results": [large]}, works, FTPROF_CUDA_CORE="0")
    assert (counted.code, counted.err) == (0, "")
    lost = [gap for gap in gaps(counted) if TOO_LARGE in gap["reason"]]
    assert len(lost) == 1
    assert TOO_LARGE in counted.reasons
    places = [(window.begin_us, window.end_us) for window in windows(counted)]
    assert lost[0]["begin_us"] in {end for _, end in places}, "the window before it was counted"
    assert lost[0]["end_us"] in {begin for begin, _ in places}, "and the one after it, in the same pass"
    assert is_honest(counted.record, counted.truth())


def test_what_fails_at_the_end_of_every_range_is_tried_ever_more_rarely(standins: Standins) -> None:
    fails = {"call": "cuptiRangeProfilerPopRange", "every": True, "code": 999}
    works = program(standins, "--kernels", "gemm:1000", "--seconds", "6")
    counted = run(standins, {**SCRIPT, "failures": [fails]}, works, FTPROF_SLOT_US="10000,100000")
    assert (counted.code, counted.err) == (0, "")
    assert windows(counted) == []
    assert is_honest(counted.record, counted.truth())
    pops = sorted(line["end_ns"] for line in standins.trace() if line.get("call") == "cuptiRangeProfilerPopRange")
    # 10 ms at first, and twice as long after each failure, up to 800 ms: not a hundred times a second.
    assert 3 < len(pops) < 30
    pauses = [later - earlier for earlier, later in pairwise(pops)]
    assert max(pauses[-3:]) > 700_000_000


def test_whoever_waits_for_a_cut_finds_the_gap_of_a_window_that_failed(standins: Standins) -> None:
    fails = {"call": "cuptiRangeProfilerPopRange", "nth": 2, "code": 999}
    cut = python("""
        def journal():
            return open(glob.glob(os.environ["FTPROF_RUN_DIR"] + "/*-counters.journal")[0]).read()
        init(), retain(0)
        for _ in range(2):
            await_windows()
            launch("gemm", 10)
            assert library().ftprof_inject_cut(60000) == 1
            lines = [json.loads(line) for line in journal().splitlines()]
            print([line["kind"] for line in lines if line["kind"] in ("counts", "gap")])
    """)
    # Its range's end has failed: so will the session's, which is ended before the window counts as closed.
    slow = {"call": "cuptiRangeProfilerDisable", "us": 500_000}
    script = {**SCRIPT, "failures": [fails], "delays": [slow]}
    counted = run(standins, script, cut, FTPROF_SLOT_US="10000000,10000000", FTPROF_CUDA_CORE="0")
    assert (counted.code, counted.err) == (0, "")
    assert counted.out == "['counts']\n['counts', 'gap']\n"


def test_a_moment_in_which_nobody_could_look_is_lost_time(standins: Standins) -> None:
    """A context may have come and gone in it. It is bounded by the device's peak like any other gap."""
    blind = {"call": "cuDevicePrimaryCtxGetState", "threads": "others", "after_us": 100_000, "times": 5, "code": 999}
    works = python("""
        init()
        time.sleep(1)
        retain(0)
        work_until(lambda roles: roles["base"] > 0)
    """)
    counted = run(standins, {**SCRIPT, "failures": [blind]}, works)
    assert (counted.code, counted.err) == (0, "")
    assert "cuDevicePrimaryCtxGetState" in counted.reasons
    lost = [gap for gap in gaps(counted) if gap["call"] == "cuDevicePrimaryCtxGetState"]
    assert max(gap["end_us"] - gap["begin_us"] for gap in lost) > 10_000
    assert is_honest(counted.record, counted.truth())
