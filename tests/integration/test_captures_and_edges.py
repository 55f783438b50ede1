"""Stream captures that begin while an edge of a window lasts: no capture is spoilt, however long the edge.

The stand-ins answer as an H200 does (csrc/testing/FORMAT.md): any call of the range profiler invalidates the captures
that are under way on its context.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from counted_runs import is_honest
from cuda_standins import BF16, Standins
from injection_runs import python, run, windows

SCRIPT: dict[str, Any] = {
    "kernels": {"gemm": {BF16: 2**31 + 1, "duration_us": 400}, "slow": {BF16: 2**20, "duration_us": 100_000}},
    "trace": "cupti",
}
# A capture that is held until the edge under way at its beginning would be over, and what its end answers.
CAPTURE = """
    def capture(held_s):
        stream, graph = ctypes.c_void_p(), ctypes.c_void_p()
        ok(cu.cuStreamCreate(ctypes.byref(stream), 1))
        ok(cu.cuStreamBeginCapture_v2(stream, 2))  # relaxed: none of this program's own calls breaks it
        time.sleep(held_s)
        return cu.cuStreamEndCapture(stream, ctypes.byref(graph))
    def begin_edge():  # it ends the pass, too
        edge = threading.Thread(target=library().ftprof_inject_cut, args=(60000,))
        edge.start()
        time.sleep(0.2)
        return edge
    init()
    context = retain(0)
    await_windows()
"""


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Iterator[Standins]:
    standins = Standins(folder, tmp_path)
    yield standins
    assert standins.violations() == []


def test_a_capture_waits_for_a_range_whose_end_waits_for_a_deep_queue(standins: Standins) -> None:
    """The range's end is one call, which lasts as long as the queue: longer than an edge is waited for."""
    deep = python(
        CAPTURE
        + """
    for _ in range(2):
        launch("slow", 40)
        edge = begin_edge()
        print(capture(2.5))
        edge.join()
    work(0.2)
    """
    )
    counted = run(standins, SCRIPT, deep, FTPROF_SLOT_US="10000000,10000000")
    assert (counted.out, counted.err, counted.code) == ("0\n0\n", "", 0)
    assert windows(counted)
    assert is_honest(counted.record, counted.truth())


def test_an_edge_that_lasts_too_long_is_held_up_by_a_capture(standins: Standins) -> None:
    """No call that could spoil it is under way, so it begins; what is left of the edge waits for its end."""
    slow = python(
        CAPTURE
        + """
    time.sleep(1)  # the first edge to another group begins in this time: it reads, and opens the next window
    print(capture(5))
    work_until(lambda roles: sum(roles.values()) > 3)
    """
    )
    # An edge reads what was counted with calls of the host API, which spoil nothing.
    script = {**SCRIPT, "delays": [{"call": "cuptiProfilerHostEvaluateToGpuValues", "nth": 1, "us": 6_000_000}]}
    counted = run(standins, script, slow, FTPROF_SLOT_US="2000,2000", FTPROF_CUDA_CORE="0", FTPROF_COUNTERS_SEED="5")
    assert (counted.out, counted.err, counted.code) == ("0\n", "", 0)
    assert is_honest(counted.record, counted.truth())


def test_a_capture_whose_stream_is_destroyed_is_over(standins: Standins) -> None:
    """Nobody can end it any more: windows do not wait for that."""
    destroys = python("""
        init(), retain(0)
        stream = ctypes.c_void_p()
        ok(cu.cuStreamCreate(ctypes.byref(stream), 1))
        await_windows()
        ok(cu.cuStreamBeginCapture_v2(stream, 2))
        print(library().ftprof_inject_capturing())
        ok(cu.cuStreamDestroy_v2(stream))
        print(library().ftprof_inject_capturing())
        work(0.2)
        print(library().ftprof_inject_cut(60000 if library().ftprof_inject_capturing() == 0 else 0))
    """)
    counted = run(standins, SCRIPT, destroys, FTPROF_CUDA_CORE="0")
    assert (counted.out, counted.err, counted.code) == ("1\n0\n1\n", "", 0)
    assert counted.record["complete"], counted.reasons
    assert is_honest(counted.record, counted.truth())


def test_a_capture_that_nobody_ends_is_named(standins: Standins) -> None:
    captures = python("""
        init(), retain(0)
        stream = ctypes.c_void_p()
        ok(cu.cuStreamCreate(ctypes.byref(stream), 1))
        await_windows()
        ok(cu.cuStreamBeginCapture_v2(stream, 2))
    """)
    counted = run(standins, SCRIPT, captures)
    assert (counted.err, counted.code) == ("", 0)
    assert "a stream capture that has not ended kept the last window from being closed" in counted.reasons
    assert is_honest(counted.record, counted.truth())


def test_a_capture_that_ends_while_we_begin_to_listen_is_over(standins: Standins) -> None:
    """Its beginning was heard, or not, when the callbacks were asked for one after the other."""
    short = python(
        CAPTURE.replace("await_windows()", "")
        + """
    work_until(lambda roles: sum(roles.values()) > 3, lambda: (capture(0), work(0.01)))
    """
    )
    script = {**SCRIPT, "delays": [{"call": "cuptiEnableCallback", "us": 50_000}]}
    counted = run(standins, script, short, FTPROF_CUDA_CORE="0")
    assert (counted.err, counted.code) == ("", 0)
    assert len(windows(counted)) > 3
    assert counted.record["complete"], counted.reasons
