"""What a meter in trouble does to its program, and what it says of work that it did not see: on the stand-ins."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from counted_runs import is_honest
from cuda_standins import BF16, FFMA, Standins
from injection_runs import BASE_ONLY, python, run

from ftprof import _native

GEMM = {BF16: 2**31 + 1, "duration_us": 400}
SCRIPT: dict[str, Any] = {"kernels": {"gemm": GEMM}}
PYTHON = sys.executable


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Iterator[Standins]:
    standins = Standins(folder, tmp_path)
    yield standins
    assert standins.violations() == []


def with_ftprof(program: str) -> list[str]:
    """A program in Python that imports ftprof itself."""
    return ["env", f"PYTHONPATH={REPOSITORY / 'tests'}", PYTHON, "-c", program]


@pytest.mark.parametrize("bare", [True, False])
def test_a_daemon_thread_in_a_block_does_not_abort_the_program_at_its_end(standins: Standins, bare: bool) -> None:
    """CPython ends the thread where it comes back from a call without the lock, in the meter's own patience at exit."""
    program = """
import threading, time
from python_cuda import Gpu
import ftprof
inside = threading.Event()
def thread():
    gpu = Gpu()
    with ftprof.count():
        gpu.launch("long", 1)
        inside.set()
threading.Thread(target=thread, daemon=True).start()
inside.wait(30)
time.sleep(0.3)
print("main ends", flush=True)
"""
    script = {"kernels": {"long": {BF16: 10**12, "duration_us": 4_000_000}}}
    done = run(standins, script, with_ftprof(program), bare=bare, FTPROF_SLOT_US="10000,40000")
    assert (done.code, done.out, done.err) == (0, "main ends\n", "")


def test_while_counters_are_refused_no_block_waits_for_a_window(standins: Standins) -> None:
    program = """
import time
from python_cuda import Gpu
import ftprof
gpu = Gpu()
gpu.launch("gemm", 2); gpu.synchronize()
time.sleep(1.2)
began = time.monotonic()
for _ in range(4):
    with ftprof.count() as run:
        gpu.launch("gemm", 2); gpu.synchronize(); run.snapshot()
print(time.monotonic() - began)
"""
    refused = {"call": "cuptiRangeProfilerStart", "after_us": 900_000, "every": True, "code": 35}
    counted = run(standins, {**SCRIPT, "failures": [refused]}, with_ftprof(program), FTPROF_SLOT_US="50000,1000000")
    assert (counted.code, counted.err) == (0, "")
    assert float(counted.out) < 6, "two seconds for each edge would be sixteen and more"
    assert "cuptiRangeProfilerStart" in counted.reasons


HUNG_AT_THE_END = {
    "cuptiSubscribe": "init(); retain(); work(0.3)",
    "cuptiEnableCallback": "init(); retain(); work(0.3)",
    "cuDriverGetVersion": "init(); retain(); work(0.3)",
    "cuDeviceGetName": "init(); retain(0); work(0.6); b = retain(1); current(b); work(0.3)",
}


@pytest.mark.parametrize("call", HUNG_AT_THE_END)
def test_contexts_that_the_meter_had_not_come_to_are_named(standins: Standins, call: str) -> None:
    """It hangs in a call when the program ends, which does not wait for it."""
    hangs: dict[str, Any] = {"call": call, "nth": 1, "us": 5_000_000, "threads": "others"}
    devices = [{"chip": "BASE", "uuid": f"GPU-00000000-0000-0000-0000-00000000000{number}"} for number in (1, 2)]
    if call == "cuDeviceGetName":
        hangs["device"] = 1
    counted = run(
        standins, {**SCRIPT, **BASE_ONLY, "devices": devices, "delays": [hangs]}, python(HUNG_AT_THE_END[call])
    )
    assert (counted.code, counted.err) == (0, "")
    assert "before ftprof had looked at all of its GPUs for the last time" in counted.reasons
    assert not counted.record["complete"]
    assert counted.record["high"] is None
    assert is_honest(counted.record, counted.truth())


DESTROYED = {
    "reset": ("init(); retain(); work(0.7); ok(cu.cuDevicePrimaryCtxReset_v2(0)); "
              "ok(cu.cuDevicePrimaryCtxRelease_v2(0)); time.sleep(3)", ()),
    "destroyed": ("init(); c = create(0); current(c); work(0.7); ok(cu.cuCtxDestroy_v2(c)); time.sleep(3)",
                  ("--subscribe",)),
}  # fmt: skip


@pytest.mark.parametrize("how", DESTROYED)
def test_a_context_that_is_gone_is_not_charged_with_the_rest_of_the_run(standins: Standins, how: str) -> None:
    program, options = DESTROYED[how]
    kernels = {"gemm": {BF16: 960_000_000_000, "duration_us": 500}}  # near the GPU's peak
    devices = [{"chip": "BASE"}]
    counted = run(standins, {**BASE_ONLY, "devices": devices, "kernels": kernels}, python(program), *options)
    assert (counted.code, counted.err) == (0, "")
    assert is_honest(counted.record, counted.truth())
    assert int(counted.record["high"]) < 3 * counted.truth(), "at its peak until the program ended: four times"
    assert "context-end" in {line["kind"] for line in counted.lines}


def test_a_patched_window_that_fails_has_ended_before_a_capture_begins(standins: Standins) -> None:
    """Else the capture records patched kernels: the stand-ins say so."""
    chip = {
        "groups": [[BF16]], "anywhere": ["sm__cycles_active"], "patched": ["smsp__sass_thread_inst_executed", FFMA],
        "two_passes": ["smsp__thread_inst_executed"],
    }  # fmt: skip
    kernels = {"gemm": {**GEMM, FFMA: 10, "smsp__sass_thread_inst_executed": 99}}
    slot_us, roles, seed, first = 200_000, ["base", "cuda-core"], 1, 100
    while first > 4:
        seed += 1
        first = next(n for n, slot in enumerate(slots(roles, seed, slot_us)) if roles[slot[1]] == "cuda-core")
    fails = {"call": "cuptiRangeProfilerPopRange", "nth": first + 1, "code": 999}
    program = f"""
        announce(); init(); retain(); await_windows()
        began = time.monotonic()
        stream, graph = ctypes.c_void_p(), ctypes.c_void_p()
        ok(cu.cuStreamCreate(ctypes.byref(stream), 1))
        while time.monotonic() < began + {(first + 2) * slot_us / 1e6}:
            work(0.03)
            library().ftprof_inject_capture_begins()
            ok(cu.cuStreamBeginCapture_v2(stream, 2)); time.sleep(0.01)
            ok(cu.cuStreamEndCapture(stream, ctypes.byref(graph)))
            library().ftprof_inject_capture_ends()
    """
    counted = run(
        standins, {"devices": [{"chip": "X"}], "chips": {"X": chip}, "kernels": kernels, "failures": [fails]},
        python(program), FTPROF_SLOT_US=f"{slot_us},{slot_us}", FTPROF_COUNTERS_SEED=str(seed),
    )  # fmt: skip
    assert (counted.code, counted.err) == (0, "")
    assert "cuptiRangeProfilerPopRange" in counted.reasons


def slots(roles: list[str], seed: int, slot_us: int) -> list[tuple[int, int, int]]:
    """The first ones of a meter's schedule."""
    settings = _native.ScheduleSettings()
    settings.first_slot_us = settings.longest_slot_us = slot_us
    settings.change_share, settings.cuda_core_windows = 0, 1
    return _native.Schedule(roles, settings, seed).take(1000)
