"""``ftprof.count()`` on the stand-in driver and CUPTI: what is counted, and that the program does not notice it."""

from __future__ import annotations

import importlib.resources
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import FTPROF, REPOSITORY
from counted_runs import is_honest
from cuda_standins import BF16, FFMA, FP16, Standins
from nvml_standin import Standin as Nvml
from nvml_standin import nvml_library, standin

from ftprof.record import schemas
from ftprof.record.explanation import explain

__all__ = ["nvml_library", "standin"]  # fixtures

FLOPS = 1_000_000
DEVICE = {"uuid": "GPU-00000000-0000-0000-0000-000000000001"}
KERNELS = {
    "gemm": {BF16: FLOPS, "duration_us": 200},
    "rare": {FP16: FLOPS, "duration_us": 200},
    "slow": {BF16: FLOPS, "duration_us": 200_000},
    "axpy": {FFMA: FLOPS, "duration_us": 200},
}
SCRIPT: dict[str, Any] = {"devices": [DEVICE], "kernels": KERNELS}
# One window of the base group outlasts the test: what lies in it is counted to the last operation.
SCHEMA = json.loads((importlib.resources.files(schemas) / "journal-1.json").read_text())
LONG = {"FTPROF_SLOT_US": "8000000,8000000", "FTPROF_COUNTERS_SEED": "1"}
# Some tens of windows in a fraction of a second.
SHORT = {"FTPROF_SLOT_US": "5000,20000", "FTPROF_COUNTERS_SEED": "1", "FTPROF_CUDA_CORE": "1"}
# Of Python's own: the tests' are errors, the program's are what a user would see.
PROLOGUE = """
import json, os, sys, threading, time
from python_cuda import Gpu, call
import ftprof

def told(run):
    return {"flops": run.flops, "low": run.interval.low, "high": run.interval.high, "method": run.method,
            "complete": run.complete, "reasons": run.reasons, "by_precision": run.by_precision}
"""


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Standins:
    return Standins(folder, tmp_path)


@dataclass(frozen=True)
class Done:
    """What came of a program."""

    code: int
    out: str
    err: str
    standins: Standins

    @property
    def told(self) -> Any:
        return json.loads(self.out.splitlines()[-1])

    def undisturbed(self) -> Done:
        """It ended well, said nothing that it would not say alone, and no rule of the libraries was broken."""
        assert (self.code, self.err) == (0, ""), self.out
        assert self.standins.violations() == []
        return self


def run(
    standins: Standins,
    program: str,
    script: Mapping[str, Any] = SCRIPT,
    wrap: bool = False,
    options: tuple[str, ...] = (),
    directory: Path | None = None,
    **changes: str,
) -> Done:
    path = standins.work / "program.py"
    path.write_text(PROLOGUE + textwrap.dedent(program))
    environment = standins.environment(script, PYTHONPATH=str(REPOSITORY / "tests"), **changes)
    command = [sys.executable, *options, str(path)]
    if wrap:
        kept = ("--keep-journals", "--run-dir", str(directory)) if directory else ()
        command = [FTPROF, "wrap", "-q", "--force", "-o", str(standins.work / "record.json"), *kept, "--", *command]
    done = subprocess.run(command, env=environment, cwd=standins.work, capture_output=True, text=True, timeout=120)
    return Done(done.returncode, done.stdout, done.stderr, standins)


wrapped_or_not = pytest.mark.parametrize("wrap", [False, True], ids=["alone", "inside wrap"])

BLOCK = """
    gpu = Gpu()
    gpu.launch("gemm", 100)
    with ftprof.count() as run:
        gpu.launch("gemm", 300)
    gpu.launch("gemm", 50)
    print(json.dumps(told(run)))
"""


def test_a_block_is_counted_to_the_last_operation(standins: Standins) -> None:
    told = run(standins, BLOCK, **LONG).undisturbed().told
    assert told["flops"] == told["low"] == 300 * FLOPS
    assert told["high"] >= told["flops"]
    assert told["by_precision"] == {"bf16": 300 * FLOPS}
    assert (told["method"], told["complete"], told["reasons"]) == ("counters", True, [])


def nvml_beside(standins: Standins, nvml: Nvml) -> dict[str, str]:
    """The environment in which both stand-ins are found: NVML has another GPU beside the one that is used."""
    return nvml.gpu(0, uuid=DEVICE["uuid"], watts="700").gpu(1, watts="300").beside(standins.folder)


@wrapped_or_not
def test_a_block_has_the_time_and_energy_of_the_gpu_that_it_used(standins: Standins, standin: Nvml, wrap: bool) -> None:
    program = """
        gpu = Gpu()
        time.sleep(0.5)
        with ftprof.count() as run:
            gpu.launch("gemm", 300)
            time.sleep(1)
        record = run.record
        (use,) = record.devices
        (check,) = record.cross_checks
        (info,) = record.runs
        told = {"use": use.to_json(), "check": check, "span": (info.began_us, info.ended_us), "flops": run.flops}
        print(json.dumps(told))
    """
    told = run(standins, program, wrap=wrap, **nvml_beside(standins, standin), **LONG).undisturbed().told
    use, check = told["use"], told["check"]
    assert use["uuid"] == check["device"]["uuid"] == DEVICE["uuid"]
    assert use["time_us"] == told["span"][1] - told["span"][0]
    seconds = use["time_us"] / 1e6
    assert 1 < seconds < 60
    assert 700 * seconds * 0.9 < int(use["energy_mj"]) / 1000 < 700 * (seconds + 1)
    assert (check["method"], check["low"]) == ("peak-bound", "0")
    assert int(check["high"]) > told["flops"]


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_without_nvml_a_block_has_no_energy_and_waits_for_none(standins: Standins, standin: Nvml, how: str) -> None:
    standin.set(**({"fail__nvmlInitWithFlags": "15"} if how == "fails" else {"delay_ms__nvmlInitWithFlags": "30000"}))
    program = """
        gpu = Gpu()
        began = time.monotonic()
        for _ in range(3):
            with ftprof.count() as run:
                gpu.launch("gemm", 300)
        print(json.dumps({**told(run), "devices": len(run.record.devices), "seconds": time.monotonic() - began}))
    """
    told = run(standins, program, **nvml_beside(standins, standin), **LONG).undisturbed().told
    assert (told["flops"], told["complete"], told["devices"]) == (300 * FLOPS, True, 0)
    assert told["seconds"] < 10  # two seconds once


def test_inside_wrap_no_second_session_counts(standins: Standins) -> None:
    done = run(standins, BLOCK, wrap=True, script={**SCRIPT, "trace": "cupti"}, **LONG).undisturbed()
    assert is_honest(done.told, 300 * FLOPS)
    assert done.told["complete"], done.told
    enabled = [line for line in standins.trace() if line.get("call") == "cuptiRangeProfilerEnable"]
    assert len(enabled) == 1
    record = json.loads((standins.work / "record.json").read_text())
    assert record["complete"], record["reasons"]
    assert is_honest(record, 450 * FLOPS)


@wrapped_or_not
def test_a_block_of_many_windows_holds_the_truth(standins: Standins, wrap: bool) -> None:
    program = """
        gpu = Gpu()
        gpu.launch("gemm", 500)
        with ftprof.count() as run:
            for _ in range(50):
                gpu.launch("gemm", 50)
                gpu.launch("rare", 10)
                gpu.synchronize()
                so_far = run.flops
        print(so_far)
        print(json.dumps(told(run)))
    """
    done = run(standins, program, wrap=wrap, **SHORT).undisturbed()
    assert is_honest(done.told, 3000 * FLOPS), done.told
    assert done.told["method"] == "sampled"
    assert done.told["complete"], done.told["reasons"]
    assert 0 < int(done.out.splitlines()[0]) <= done.told["high"]


def test_a_journal_that_is_rolled_up_inside_the_block(standins: Standins) -> None:
    program = """
        gpu = Gpu()
        for _ in range(20):
            gpu.launch("gemm", 50)
            gpu.synchronize()
        with ftprof.count() as run:
            for _ in range(100):
                gpu.launch("gemm", 50)
                gpu.synchronize()
        gpu.launch("gemm", 50)
        run.save("block.json")
        print(json.dumps(told(run)))
    """
    done = run(standins, program, wrap=True, **SHORT, FTPROF_ROLLUP_LINES="20").undisturbed()
    assert is_honest(done.told, 5000 * FLOPS), done.told
    assert 0 < done.told["flops"] < 7000 * FLOPS
    record = json.loads((standins.work / "block.json").read_text())
    assert "-counters.journal, up to " in record["processes"][0]["software"]["excerpt_of"]


def test_blocks_cut_slots_into_pieces_that_are_no_draws_of_their_own(standins: Standins) -> None:
    program = """
        gpu = Gpu()
        gpu.launch("gemm", 1)
        began = time.monotonic()
        for _ in range(30):
            with ftprof.count():
                gpu.launch("gemm", 40)
        print(json.dumps(time.monotonic() - began))
    """
    path = standins.work / "run"
    slots = {"FTPROF_SLOT_US": "300000,300000"}
    done = run(standins, program, wrap=True, directory=path, **slots).undisturbed()
    (journal,) = path.glob("*-counters.journal")
    lines = [json.loads(text) for text in journal.read_text().splitlines()]
    windows = [line for line in lines if line["kind"] == "counts"]
    continued = [line for line in windows if line.get("continued")]
    assert len(windows) > 50
    assert len(windows) - len(continued) <= done.told / 0.3 + 20, "and slots before and after the blocks"
    for line in lines:
        jsonschema.validate(line, SCHEMA)


@wrapped_or_not
def test_inner_blocks_are_part_of_the_outer_one(standins: Standins, wrap: bool) -> None:
    program = """
        gpu = Gpu()
        with ftprof.count() as outer:
            gpu.launch("gemm", 100)
            with ftprof.count() as first:
                gpu.launch("gemm", 200)
            gpu.launch("gemm", 100)
            with ftprof.count() as second:
                gpu.launch("gemm", 50)
        print(json.dumps([told(run) for run in (outer, first, second)]))
    """
    outer, first, second = run(standins, program, wrap=wrap, **LONG).undisturbed().told
    assert [is_honest(*pair) for pair in ((outer, 450 * FLOPS), (first, 200 * FLOPS), (second, 50 * FLOPS))]
    if not wrap:  # all of it was in windows; inner edges are extrapolated over
        assert (outer["low"], first["flops"], second["flops"]) == (450 * FLOPS, 200 * FLOPS, 50 * FLOPS)
        assert (first["method"], second["method"]) == ("counters", "counters")


@wrapped_or_not
def test_a_snapshot_holds_all_until_now_and_laps_add_up(standins: Standins, wrap: bool) -> None:
    program = """
        gpu = Gpu()
        with ftprof.count() as run:
            laps = []
            gpu.launch("gemm", 100)
            first = run.snapshot()
            laps.append(run.lap())
            gpu.launch("gemm", 200)
            second = run.snapshot()
            laps.append(run.lap())
            gpu.launch("gemm", 50)
        laps.append(run.lap())
        print(json.dumps([laps, *(told(part) for part in (first, second, run))]))
    """
    laps, first, second, whole = run(standins, program, wrap=wrap, **LONG).undisturbed().told
    for part, launches in ((first, 100), (second, 300), (whole, 350)):
        assert is_honest(part, launches * FLOPS), part
        assert part["complete"], part["reasons"]
        assert part["high"] is not None
    if not wrap:  # all of it was in windows; the cuts are extrapolated over
        assert [part["low"] for part in (first, second, whole)] == [100 * FLOPS, 300 * FLOPS, 350 * FLOPS]
        assert sum(laps) == whole["flops"]


@wrapped_or_not
def test_blocks_of_several_threads_overlap(standins: Standins, wrap: bool) -> None:
    program = """
        gpu = Gpu()
        steps = [threading.Event() for _ in range(3)]
        runs = {}

        def other():  # no context is current in this thread
            steps[0].wait()
            with ftprof.count() as runs["other"]:
                steps[1].set()
                steps[2].wait()

        thread = threading.Thread(target=other)
        thread.start()
        with ftprof.count() as runs["main"]:
            gpu.launch("gemm", 100)
            steps[0].set()
            steps[1].wait()
            gpu.launch("gemm", 200)
        gpu.launch("gemm", 400)
        steps[2].set()
        thread.join()
        print(json.dumps([told(runs[name]) for name in ("main", "other")]))
    """
    main, other = run(standins, program, wrap=wrap, **LONG).undisturbed().told
    assert is_honest(main, 300 * FLOPS), main
    assert is_honest(other, 600 * FLOPS), other
    if not wrap:  # all of it was in windows; an edge of the other thread's block is extrapolated over
        assert (main["low"], other["low"]) == (300 * FLOPS, 600 * FLOPS)


@wrapped_or_not
def test_every_gpu_in_use_is_counted(standins: Standins, wrap: bool) -> None:
    program = """
        gpus = [Gpu(1), Gpu(0)]
        with ftprof.count() as run:
            for gpu in gpus:
                gpu.use()
                gpu.launch("gemm", 150)
        run.save("two.json")
        print(json.dumps(told(run)))
    """
    two = {**SCRIPT, "devices": [DEVICE, {"uuid": "GPU-00000000-0000-0000-0000-000000000002"}]}
    done = run(standins, program, two, wrap=wrap, **LONG).undisturbed()
    assert is_honest(done.told, 300 * FLOPS)
    record = json.loads((standins.work / "two.json").read_text())
    assert {row["device"] for row in record["estimates"]} == {"cuda:0", "cuda:1"}
    if not wrap:
        assert done.told["flops"] == 300 * FLOPS


def test_a_gpu_that_is_first_used_inside_the_block_opens_the_interval(standins: Standins) -> None:
    program = """
        gpu = Gpu(0)
        with ftprof.count() as run:
            Gpu(1).launch("gemm", 10)
        print(json.dumps(told(run)))
    """
    two = {**SCRIPT, "devices": [DEVICE, {"uuid": "GPU-00000000-0000-0000-0000-000000000002"}]}
    told = run(standins, program, two, **LONG).undisturbed().told
    assert (told["high"], told["complete"]) == (None, False)
    assert "cuda:1: its CUDA context began inside the block" in told["reasons"][0]


@wrapped_or_not
def test_a_context_of_the_programs_own(standins: Standins, wrap: bool) -> None:
    program = """
        gpu = Gpu(primary=False)
        with ftprof.count() as run:
            gpu.launch("gemm", 100)
        print(json.dumps(told(run)))
    """
    if wrap:  # a primary one too, so that the library counts something
        program = program.replace("gpu = ", "first = Gpu(); gpu = ")
    told = run(standins, program, wrap=wrap, **LONG).undisturbed().told
    if wrap:
        assert told["high"] is None
        assert "wrap with --subscribe" in " ".join(told["reasons"])
    else:
        assert told["flops"] == 100 * FLOPS


def test_the_context_is_lost_in_the_block(standins: Standins) -> None:
    program = """
        gpu = Gpu()
        with ftprof.count() as run:
            gpu.launch("gemm", 100)
            gpu.synchronize()
            time.sleep(0.1)
            gpu.reset()
            time.sleep(0.3)
            gpu.again()
            gpu.launch("gemm", 100)
        print(json.dumps(told(run)))
    """
    done = run(standins, program, **SHORT)
    assert (done.code, done.err) == (0, "")
    assert not done.told["complete"]
    assert "began inside the block" in " ".join(done.told["reasons"])
    assert done.told["low"] <= 200 * FLOPS


REFUSED = {"call": "cuptiRangeProfilerStart", "nth": 1, "every": True, "code": 35}


@wrapped_or_not
def test_counters_that_are_refused_are_said_once_and_the_block_runs(standins: Standins, wrap: bool) -> None:
    program = """
        import logging
        gpu = Gpu()
        if CI_WRAP: time.sleep(0.5)  # until the library knows
        heard = []
        logging.getLogger("ftprof").addHandler(type("H", (logging.Handler,), {"emit": lambda s, r: heard.append(1)})())
        for _ in range(2):
            with ftprof.count() as run:
                gpu.launch("gemm", 100)
        print(json.dumps({**told(run), "heard": len(heard)}))
    """
    done = run(standins, f"CI_WRAP = {wrap}" + program.replace("\n        ", "\n"), {**SCRIPT, "failures": [REFUSED]},
               wrap=wrap, **LONG)  # fmt: skip
    assert done.code == 0, done.err
    assert done.err.count("FtprofWarning") == 1
    assert done.out.count("\n") == 1, "it is never printed"
    assert "program.py:" in done.err
    assert "NVreg_RestrictProfilingToAdminUsers" in done.err
    told = done.told
    assert (told["flops"], told["high"], told["method"], told["complete"]) == (None, None, "analytic", False)
    assert told["heard"] == 1
    assert any("only administrators" in reason or "35" in reason for reason in told["reasons"]), told["reasons"]


FAILING = [
    ("cuptiGetVersion", 1, 1), ("cuCtxGetCurrent", 201, 1), ("cuCtxSetCurrent", 201, 2), ("cuDeviceGetUuid", 101, 1),
    ("cuptiProfilerInitialize", 15, 1), ("cuptiProfilerDeviceSupported", 27, 1), ("cuptiDeviceGetChipName", 2, 1),
    ("cuptiProfilerGetCounterAvailability", 26, 1), ("cuptiProfilerHostGetNumOfPasses", 999, 1),
    ("cuptiRangeProfilerEnable", 8, 1), ("cuptiRangeProfilerSetConfig", 7, 1), ("cuptiRangeProfilerStart", 26, 2),
    ("cuptiRangeProfilerPushRange", 7, 3), ("cuptiRangeProfilerPopRange", 7, 3), ("cuptiRangeProfilerStop", 999, 1),
    ("cuptiRangeProfilerDecodeData", 9, 1), ("cuptiRangeProfilerGetCounterDataInfo", 1, 1),
    ("cuptiProfilerHostEvaluateToGpuValues", 17, 1), ("cuptiRangeProfilerDisable", 1, 1),
    ("cuThreadExchangeStreamCaptureMode", 4, 1),
]  # fmt: skip


@pytest.mark.parametrize("every", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(("call", "code", "nth"), FAILING, ids=[call for call, _, _ in FAILING])
def test_a_call_that_fails_is_a_gap_and_no_more(
    standins: Standins, call: str, code: int, nth: int, every: bool
) -> None:
    """Whatever fails, the block runs to its end, and what was executed in it lies in what is said of it."""
    program = """
        gpu = Gpu()
        with ftprof.count() as run:
            for _ in range(20):
                gpu.launch("gemm", 100)
        print(json.dumps(told(run)))
    """
    failure = {"call": call, "code": code, "nth": nth, "every": every, "threads": "others"}
    done = run(standins, program, {**SCRIPT, "failures": [failure], "trace": True}, options=("-W", "ignore"), **SHORT)
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1), done.out
    assert standins.violations() == []
    failed = [
        line for line in standins.trace() if line.get("call", "").removesuffix("_v2") == call and line["code"] == code
    ]
    assert failed, "it was never made to fail"
    told, truth = done.told, 2000 * FLOPS
    assert (told["low"] or 0) <= truth
    assert told["high"] is None or told["high"] >= truth
    if told["complete"]:
        assert is_honest(told, truth)
    else:
        reasons = " ".join(told["reasons"])
        assert call in reasons or explain(call, code).meaning in reasons, reasons


def test_warnings_that_are_errors_do_not_reach_the_block(standins: Standins) -> None:
    program = """
        with ftprof.count() as run:
            pass
        print(json.dumps(told(run)))
    """
    done = run(standins, program, options=("-W", "error")).undisturbed()
    assert done.told["flops"] is None


def test_counters_that_fail_for_a_while_leave_a_gap(standins: Standins) -> None:
    program = """
        gpu = Gpu()
        with ftprof.count() as run:
            for _ in range(100):
                gpu.launch("gemm", 20)
                gpu.synchronize()
        print(json.dumps(told(run)))
    """
    failing = {
        **SCRIPT,
        "failures": [{"call": "cuptiRangeProfilerStart", "nth": 10, "times": 3, "every": True, "code": 26}],
    }
    told = run(standins, program, failing, **SHORT).undisturbed().told
    assert not told["complete"]
    assert "cuptiRangeProfilerStart" in told["reasons"][0]
    assert is_honest(told, 2000 * FLOPS)


@pytest.mark.parametrize("call", ["cuptiRangeProfilerStop", "cuptiRangeProfilerDecodeData", "cuptiRangeProfilerEnable"])
def test_a_call_that_never_works_costs_the_program_nothing(standins: Standins, call: str) -> None:
    failing = {**SCRIPT, "failures": [{"call": call, "nth": 1, "every": True, "code": 7}]}
    done = run(standins, BLOCK, failing, **LONG)
    assert done.code == 0, done.err
    assert not done.told["complete"]
    assert call in " ".join(done.told["reasons"])
    assert is_honest(done.told, 300 * FLOPS)


def test_exceptions_pass_through_and_the_count_is_whole(standins: Standins) -> None:
    program = """
        gpu = Gpu()
        error = ValueError("the user's own")
        try:
            with ftprof.count() as run:
                gpu.launch("gemm", 100)
                raise error
        except ValueError as caught:
            assert caught is error
            assert caught.__context__ is None and caught.__cause__ is None
        print(json.dumps(told(run)))
    """
    told = run(standins, program, **LONG).undisturbed().told
    assert (told["flops"], told["complete"]) == (100 * FLOPS, True)


def test_a_decorated_function(standins: Standins) -> None:
    program = """
        gpu = Gpu()

        @ftprof.count(pretrain_flops="8.4e22")
        def train(times, again=0):
            gpu.launch("gemm", times)
            return train(times, again - 1) if again else times

        assert train(100) == 100
        first = train.run
        assert train(10, again=2) == 10
        print(json.dumps([told(first), told(train.run)]))
    """
    first, nested = run(standins, program, **LONG).undisturbed().told
    assert (first["flops"], nested["low"]) == (100 * FLOPS, 30 * FLOPS)


def test_forked_inside_the_block(standins: Standins) -> None:
    program = """
        gpu = Gpu()
        with ftprof.count() as run:
            gpu.launch("gemm", 100)
            read, write = os.pipe()
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                gpu.launch("gemm", 100)
        if not child:
            with ftprof.count() as own:
                pass
            os.write(write, json.dumps([told(run), told(own)]).encode())
            sys.exit(0)
        print(json.dumps([told(run), *json.loads(os.read(read, 100000))]))
    """
    done = run(standins, program, **LONG)
    assert done.code == 0, done.err
    parent, inherited, own = done.told
    assert (parent["flops"], parent["complete"]) == (200 * FLOPS, True)
    assert inherited["flops"] is None
    assert "forked inside the block" in inherited["reasons"][0]
    assert own["flops"] is None
    assert standins.violations() == []


@pytest.mark.parametrize(
    ("leave", "code"),
    [("sys.exit(3)", 3), ("os._exit(3)", 3), ("raise KeyError", 1), ("os.kill(os.getpid(), 15)", -15)],
)
@wrapped_or_not
def test_the_process_ends_inside_the_block(standins: Standins, leave: str, code: int, wrap: bool) -> None:
    program = f"""
        gpu = Gpu()
        with ftprof.count() as run:
            gpu.launch("gemm", 1000)
            {leave}
    """
    began = time.monotonic()
    done = run(standins, program, wrap=wrap, **SHORT)
    assert done.code == (128 - code if wrap and code < 0 else code), done.err
    assert time.monotonic() - began < 15
    assert standins.violations() == []


@pytest.mark.parametrize("ending", ["", "call('cuInit', 0); import ctypes; ctypes.CDLL(None).exit(0)"])
def test_a_count_that_is_never_stopped_ends_with_the_process(standins: Standins, ending: str) -> None:
    program = f"""
        gpu = Gpu()
        run = ftprof.count().start()
        gpu.launch("gemm", 100)
        thread = threading.Thread(target=lambda: ftprof.count().start(), daemon=True)
        thread.start()
        thread.join()
        {ending}
    """
    run(standins, program, **LONG).undisturbed()


def test_an_exit_does_not_wait_for_a_gpu_that_hangs(standins: Standins) -> None:
    hanging = {**SCRIPT, "delays": [{"call": "cuptiRangeProfilerDecodeData", "us": 20_000_000}]}
    began = time.monotonic()
    done = run(standins, "gpu = Gpu(); run = ftprof.count().start(); time.sleep(0.1)", hanging, **SHORT)
    assert (done.code, done.err) == (0, "")
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_an_exception_does_not_wait_long_for_a_gpu_that_hangs(standins: Standins) -> None:
    program = """
        gpu = Gpu()
        began = time.monotonic()
        try:
            with ftprof.count() as run:
                gpu.launch("slow", 100)
                raise KeyError
        except KeyError:
            print(json.dumps({**told(run), "seconds": time.monotonic() - began}))
        os._exit(0)
    """
    told = run(standins, program, **SHORT).told
    assert told["seconds"] < 10
    assert not told["complete"]
    assert "had not ended when it was left" in " ".join(told["reasons"])
    assert is_honest(told, 20 * FLOPS)


@wrapped_or_not
def test_ctrl_c_is_heard_while_the_block_waits_for_its_gpu(standins: Standins, wrap: bool) -> None:
    program = """
        import signal
        gpu = Gpu()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with ftprof.count() as run:
                gpu.launch("slow", 50)
                began = time.monotonic()
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        except KeyboardInterrupt:
            print(json.dumps({**told(run), "seconds": time.monotonic() - began}))
        os._exit(0)
    """
    done = run(standins, program, wrap=wrap, **SHORT)
    assert done.code == 0, done.err
    assert 0.4 < done.told["seconds"] < 5


def test_what_was_launched_before_the_block_is_not_in_it(standins: Standins) -> None:
    program = """
        gpu = Gpu()
        gpu.launch("slow", 3)
        with ftprof.count() as run:
            gpu.launch("slow", 2)
        gpu.launch("slow", 3)
        print(json.dumps(told(run)))
    """
    told = run(standins, program, **LONG).undisturbed().told
    assert (told["flops"], told["method"]) == (2 * FLOPS, "counters")


@wrapped_or_not
def test_edges_during_a_stream_capture_do_not_spoil_it(standins: Standins, wrap: bool) -> None:
    program = """
        import ctypes
        gpu = Gpu()
        stream, graph, executable = gpu.stream(), ctypes.c_void_p(), ctypes.c_void_p()
        with ftprof.count() as outer:
            began = time.monotonic()
            call("cuStreamBeginCapture_v2", stream, 0)
            with ftprof.count() as run:
                gpu.launch("gemm", 10, stream)
                time.sleep(0.05)
            call("cuStreamEndCapture", stream, ctypes.byref(graph))
            took = time.monotonic() - began
            call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
            call("cuGraphLaunch", executable, stream)
        print(json.dumps([told(outer), told(run), took]))
    """
    outer, inner, took = run(standins, program, wrap=wrap, **LONG).undisturbed().told
    assert is_honest(outer, 10 * FLOPS)
    # No window could be cut for it: nothing is claimed, and nobody waits.
    assert (inner["flops"], inner["complete"]) == (None, False)
    assert took < 5
    if not wrap:
        assert outer["low"] == 10 * FLOPS


@pytest.mark.parametrize(
    "steps", [("capture_end",), ("capture_end_pre", "capture_end_post")], ids=["one", "torch 2.14"]
)
def test_patched_windows_keep_clear_of_torchs_captures(standins: Standins, steps: tuple[str, ...]) -> None:
    program = f"ENDS = {steps}\nfirst = ENDS[0]\n" + textwrap.dedent("""
        import ctypes
        from types import SimpleNamespace
        gpu = Gpu()
        stream = gpu.stream()

        class CUDAGraph:
            def capture_begin(self, mode):
                call("cuStreamBeginCapture_v2", stream, mode)

        def end(self):
            call("cuStreamEndCapture", stream, ctypes.byref(ctypes.c_void_p()))
        for name in ENDS:
            setattr(CUDAGraph, name, end if name == first else lambda self: None)
        if "capture_end" not in ENDS:
            CUDAGraph.capture_end = lambda self: [getattr(self, name)() for name in ENDS]

        cuda = SimpleNamespace(CUDAGraph=CUDAGraph, is_initialized=lambda: True)
        cuda.is_current_stream_capturing = lambda: False
        sys.modules["torch"] = SimpleNamespace(cuda=cuda, __version__="0", version=SimpleNamespace(cuda=None))
        def windows():
            rows = run.record.estimates
            return sum(row.windows for row in rows if row.metric.startswith("smsp__sass_thread_inst_executed_op_ffma"))

        with ftprof.count() as run:
            until, launched = time.monotonic() + 60, 0
            while windows() == 0 and time.monotonic() < until:
                for mode in (0, 1, 2) * 20:
                    graph = CUDAGraph()
                    graph.capture_begin(mode)
                    gpu.launch("gemm", 10, stream)
                    time.sleep(0.0005)
                    for name in ENDS:
                        getattr(graph, name)()
                    gpu.launch("axpy", 10)
                    gpu.synchronize()
                    launched += 10
        print(json.dumps([windows(), told(run), launched]))
    """)
    short = {"FTPROF_SLOT_US": "2000,2000", "FTPROF_COUNTERS_SEED": "2", "FTPROF_CUDA_CORE": "1"}
    windows, told, launched = run(standins, program, **short).undisturbed().told
    assert windows > 0
    assert is_honest(told, 2 * launched * FLOPS)  # a multiply-add is two; what was captured was not executed


def test_the_meters_threads_take_no_signal(standins: Standins) -> None:
    program = """
        from pathlib import Path
        gpu = Gpu()
        blocked = {}
        deadline = time.monotonic() + 10
        with ftprof.count() as run:
            while not {"ftprof-meter", "ftprof-lookout"} <= set(blocked):  # a thread names itself once it runs
                assert time.monotonic() < deadline, blocked
                for task in Path("/proc/self/task").iterdir():
                    status = (task / "status").read_text()
                    blocked[(task / "comm").read_text().strip()] = int(status.split("SigBlk:")[1].split()[0], 16)
        while len(list(Path("/proc/self/task").iterdir())) > 1:
            assert time.monotonic() < deadline
        print(json.dumps(blocked))
    """
    blocked = run(standins, program, **LONG).undisturbed().told
    ours = {name: mask for name, mask in blocked.items() if name.startswith("ftprof")}
    assert set(ours) == {"ftprof-meter", "ftprof-lookout"}
    catchable = 0x7FFFFFFFFFFFFFFF & ~(1 << 8 | 1 << 18) & ~(0b11 << 31)  # not SIGKILL, SIGSTOP and glibc's own
    assert all(mask & catchable == catchable for mask in ours.values()), ours


def test_the_record_is_one_that_the_command_line_reads(standins: Standins) -> None:
    import jsonschema

    program = """
        gpu = Gpu()
        with ftprof.count(pretrain_flops="8.4e22", policy="aws-2026") as run:
            gpu.launch("gemm", 300)
        run.save("block.json")
        print(json.dumps([run.verdict().to_json(), run.verdict("ec-2025").policy]))
    """
    done = run(standins, program, **LONG).undisturbed()
    verdict, other = done.told
    assert (verdict["policy"], verdict["verdict"], other) == ("aws-2026", "below", "ec-2025")
    path = standins.work / "block.json"
    record = json.loads(path.read_text())
    schema = json.loads((REPOSITORY / "ftprof" / "record" / "schemas" / "record-1.json").read_text())
    jsonschema.validate(record, schema)
    assert record["policy_inputs"]["pretrain_source"] == "given with pretrain_flops"
    checked = subprocess.run([FTPROF, "check", str(path), "--json"], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["flops"] == str(300 * FLOPS)


def test_a_full_disk_for_temporary_files(standins: Standins) -> None:
    program = """
        import tempfile
        gpu = Gpu()
        with ftprof.count() as run:
            gpu.launch("gemm", 10)
        tempfile.tempdir = "/proc"  # where nothing can be written
        print(json.dumps(told(run)))
    """
    assert run(standins, program, **LONG).undisturbed().told["flops"] == 10 * FLOPS


def test_counting_without_a_gpu_needs_no_torch(standins: Standins) -> None:
    program = """
        with ftprof.count() as run:
            pass
        print(json.dumps([told(run), "torch" in sys.modules]))
    """
    told, torch = run(standins, program).told
    assert not torch
    assert told["flops"] is None
    assert "no CUDA context was in use, and torch was not imported" in " ".join(told["reasons"])
