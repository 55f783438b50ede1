"""The injection library in one process on the stand-ins: what it counts, and how it bears what programs do.

The stand-ins enforce much of it (no capture is invalidated, no call in a callback, in a forked child or after exit
handlers: csrc/testing/FORMAT.md), so every test ends with a look at the rules that were broken.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from conftest import FTPROF
from counted_runs import CountedRun, environment, is_honest
from cuda_standins import BF16, FFMA, FP16, TF32, Standins
from injection_runs import BASE_ONLY, SLOTS, beside_truth, program, python, readings, run, windows

GEMM = {BF16: 2**31 + 1, "duration_us": 400}
SCRIPT: dict[str, Any] = {"kernels": {"gemm": GEMM}, "trace": "cupti"}
WORK = ("--kernels", "gemm:1000", "--seconds", "0.5")
COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Iterator[Standins]:
    standins = Standins(folder, tmp_path)
    yield standins
    assert standins.violations() == []


def is_exact(counted: CountedRun, least: int = 4) -> bool:
    """Whether the program was left alone, and each window holds what ran in it, and the interval what ran at all."""
    assert (counted.code, counted.err) == (0, "")
    pairs = beside_truth(counted)
    assert len(pairs) >= least
    assert sum(truth.get(BF16, 0) for _, truth in pairs) > 0
    assert [window.counts for window, _ in pairs] == [truth for _, truth in pairs]
    return is_honest(counted.record, counted.truth())


# ---------------------------------------------------------------- what is counted


def test_every_window_holds_exactly_what_ran_in_it(standins: Standins) -> None:
    kernels = {
        "gemm": GEMM,
        "half": {FP16: 12345677, TF32: 3, "duration_us": 70.5},
        "axpy": {FFMA: 991, "smsp__sass_thread_inst_executed": 4001, "duration_us": 33},
    }
    options = ["--threads", "2", "--seconds", "2", "--kernels", "gemm:700,half:2000,axpy:500"]
    counted = run(standins, {**SCRIPT, "kernels": kernels}, program(standins, *options))
    assert counted.out == "done\n"
    assert is_exact(counted, 30)
    pairs = beside_truth(counted)
    assert {"base", "rotating", "integer", "sparse"} <= {window.role for window, _ in pairs}
    record, executed = counted.record, counted.standins.truths()[0].executed()
    for row in record["estimates"]:
        metric = row["metric"].removesuffix(".sum")
        weight = 2 if "sass" in metric and "fma" in metric else 1
        assert int(row["measured"]) == weight * sum(window.counts.get(metric, 0) for window, _ in pairs)
        assert int(row["low"]) <= weight * executed[metric]
        assert row["high"] is None or weight * executed[metric] <= int(row["high"])
    assert record["complete"], record["reasons"]
    assert is_honest(record, executed[BF16] + executed[FP16] + executed[TF32] + 2 * executed[FFMA])


def base_only(**changes: Any) -> dict[str, Any]:
    return {**SCRIPT, **BASE_ONLY, **changes}


def test_a_run_whose_gaps_hold_5_percent_of_the_work_is_sampled(standins: Standins) -> None:
    script = base_only(delays=[{"call": "cuptiRangeProfilerStart", "us": 50_000}])  # once for sixteen windows
    work = program(standins, "--kernels", "gemm:4500", "--seconds", "2", "--rounds", "2000")
    counted = run(standins, script, work, FTPROF_SLOT_US="50000,50000")
    record, truth = counted.record, counted.truth()
    assert is_exact(counted, 20)
    measured = sum(window.counts[BF16] for window in windows(counted))
    assert Fraction(3, 100) < Fraction(truth - measured, truth) < Fraction(15, 100)
    (row,) = (row for row in record["estimates"] if row["measured"] != "0")
    assert (record["method"], int(row["measured"]), int(row["over_rotation"])) == ("sampled", measured, 0)
    assert int(row["flops"]) == measured + int(row["over_gaps"])
    # What it did before its first window is in the interval's high end, and in no figure.
    assert truth * 94 // 100 < int(row["flops"]) < truth * 102 // 100


# A chip so slow that no count nears 2^53: windows are as long as ftprof makes them, ten seconds, and edges are few.
SLOW = base_only(
    devices=[{"chip": "BASE", "multiprocessors": 1, "clock_khz": 100_000}],
    kernels={"gemm": {BF16: 1_000_001, "duration_us": 400}},
)


def share_over_gaps(counted: CountedRun) -> Fraction:
    """Of the run's total; the method must follow from it alone."""
    (row,) = (row for row in counted.record["estimates"] if row["measured"] != "0")
    share = Fraction(int(row["over_gaps"]), int(row["flops"]))
    assert counted.record["method"] == ("counters" if share < Fraction(1, 1000) else "sampled")
    assert is_honest(counted.record, counted.truth())
    return share


def test_a_run_whose_gaps_hold_more_than_a_thousandth_is_sampled(standins: Standins) -> None:
    """A pass of sixteen windows begins with a delay of a percent of it; a busy machine makes that no less."""
    script = {**SLOW, "delays": [{"call": "cuptiRangeProfilerStart", "us": 20_000}]}
    work = program(standins, "--kernels", "gemm:9000", "--seconds", "4")
    counted = run(standins, script, work, FTPROF_SLOT_US="100000,100000")
    assert share_over_gaps(counted) > Fraction(1, 1000)


def test_a_run_of_one_pass_has_no_gap(standins: Standins) -> None:
    """Between the windows of a pass nothing is lost, and before the first one nothing is made up."""
    work = program(standins, "--kernels", "gemm:4500", "--seconds", "2")
    counted = run(standins, SLOW, work, FTPROF_SLOT_US="200000,200000")
    assert len(windows(counted)) > 5
    assert share_over_gaps(counted) == 0


def test_work_before_the_context_was_seen_is_in_its_time(standins: Standins) -> None:
    """A slow start of CUPTI is no reason to leave out what ran meanwhile."""
    script = base_only(delays=[{"call": "cuptiGetVersion", "us": 300_000, "times": 1}])
    counted = run(standins, script, program(standins, *WORK))
    first = min(window.begin_us for window in windows(counted))
    (life,) = counted.standins.truths()[0].contexts.values()
    began_us = next(line["begin_us"] for line in counted.lines if line["kind"] == "context")
    assert first * 1000 - life.begin_ns > 300_000_000
    # The last look at which it was not there: milliseconds before, or as long as a busy machine takes for the next one.
    assert began_us * 1000 <= life.begin_ns < began_us * 1000 + 1_000_000_000
    assert is_exact(counted, 2)


def test_the_processes_visible_devices(standins: Standins) -> None:
    devices = [{"uuid": f"GPU-0000000{i}-0000-0000-0000-000000000000"} for i in range(3)]
    work = program(standins, *WORK, "--devices", "1")
    counted = run(standins, {**SCRIPT, "devices": devices}, work, CUDA_VISIBLE_DEVICES="2,0")
    assert {(row["device"], row["uuid"]) for row in counted.record["estimates"]} == {("cuda:1", devices[0]["uuid"])}
    assert is_exact(counted)


@pytest.mark.parametrize("method", ["auto", "counters"])
def test_a_variable_that_another_tool_has_is_left_to_it(standins: Standins, method: str) -> None:
    tool = "/opt/nsight/libToolsInjection64.so"
    tell = python("print(os.environ['CUDA_INJECTION64_PATH'])")
    counted = run(standins, SCRIPT, tell, "--method", method, CUDA_INJECTION64_PATH=tool)
    assert (counted.code, counted.out) == (0, f"{tool}\n")
    assert f"CUDA_INJECTION64_PATH is set to {tool} already" in counted.err
    assert f"CUDA_INJECTION64_PATH is set to {tool} already" in counted.reasons


# ---------------------------------------------------------------- contexts that come and go


def test_contexts_beside_the_primary_one_are_counted_on_demand(standins: Standins) -> None:
    work = program(standins, *WORK, "--create-context")
    counted = run(standins, SCRIPT, work, "--subscribe")
    assert is_exact(counted)
    lives = standins.truths()[0].contexts
    assert sorted(life.primary for life in lives.values()) == [False, True]
    seen = {window.context for window in windows(counted)}
    assert len(seen) == 2
    # Both have the same work, and both are counted for most of the time.
    for context in seen:
        measured = sum(w.counts.get(BF16, 0) for w in windows(counted) if w.context == context)
        assert measured > counted.truth() // 4


def test_without_the_subscriber_a_context_beside_the_primary_one_is_told_to_be_unseen(standins: Standins) -> None:
    """Nothing shows that it is there: so the record says, whether one was there or not, that none would be seen."""
    work = program(standins, *WORK, "--create-context")
    counted = run(standins, SCRIPT, work)
    assert len({window.context for window in windows(counted)}) == 1
    assert int(counted.record["flops"]) < counted.truth() * 3 // 4
    (process,) = counted.record["processes"]
    assert process["software"]["contexts"] == "primary"
    assert "contexts that a program makes itself are seen with --subscribe only" in not_counted(counted)

    subscribed = run(standins, SCRIPT, work, "--subscribe")
    assert subscribed.record["processes"][0]["software"]["contexts"] == "all"
    assert "--subscribe" not in not_counted(subscribed)


def not_counted(counted: CountedRun) -> str:
    """What the report says of it, as one line."""
    shown = subprocess.run([FTPROF, "report", str(counted.path)], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    return " ".join(shown.stdout.partition("Not counted\n")[2].split())


def test_windows_close_before_a_count_is_too_large_to_be_exact(standins: Standins) -> None:
    """By the device's highest rate, whatever was asked: at ten times an H200's clock ten times as soon."""
    fast = {**SCRIPT, "devices": [{"clock_khz": 19_800_000}]}
    counted = run(standins, fast, program(standins, *WORK), FTPROF_SLOT_US="10000000,10000000")
    most_s = 2**53 / (8192 * 132 * 19.8e9)
    spans = [(window.end_us - window.begin_us) / 1e6 for window in windows(counted)]
    assert most_s / 10 < max(spans) < most_s
    assert is_honest(counted.record, counted.truth())


def test_many_contexts_come_and_go_while_they_are_counted(standins: Standins) -> None:
    source = """
        init()
        def live(number):
            for i in range(LIVES):
                context = create(number % 2)
                work(0.001 * (i * 7 % 40))
                ok(cu.cuCtxDestroy_v2(context))
        threads = [threading.Thread(target=live, args=(number,)) for number in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print("done")
    """
    for lives in (12, 60, 300):  # four times as many; on a busy machine most are gone before anybody looks
        many = python(source.replace("LIVES", str(lives)))
        counted = run(standins, {**SCRIPT, "devices": 2}, many, "--subscribe")
        assert (counted.code, counted.out, counted.err) == (0, "done\n", "")
        assert [window.counts for window, _ in beside_truth(counted)] == [truth for _, truth in beside_truth(counted)]
        if len({window.context for window in windows(counted)}) > 5:
            break
    else:
        pytest.fail("of 1,200 contexts no more than five were counted")
    assert is_honest(counted.record, counted.truth())


@pytest.mark.slow
def test_planning_goes_on_safely_behind_exit_handlers(standins: Standins, late: Path) -> None:
    """One call of it hangs until our handler has given up, and others have run."""
    delay = {"call": "cuptiProfilerHostGetMetricProperties", "nth": 40, "us": 3_000_000}
    slow = python("""
        library = ctypes.CDLL(sys.argv[1])
        library.at_exit.argtypes = [ctypes.c_char_p, ctypes.c_int]
        library.at_exit(b"/dev/null", 3)  # runs last of all
        init()
        retain()
        time.sleep(0.3)
    """)
    counted = run(standins, {**SCRIPT, "delays": [delay]}, [*slow, str(late)])
    assert (counted.code, counted.out, counted.err) == (0, "ended 0\n", "")
    assert "could be closed" in counted.reasons


@pytest.mark.parametrize("plan_ms", [0, 300])
def test_contexts_that_are_gone_before_they_could_be_counted_are_told(standins: Standins, plan_ms: int) -> None:
    """All but the first come while that is planned for, and the process ends at once."""
    delay = {"call": "cuptiProfilerHostInitialize", "nth": 1, "us": plan_ms * 1000}
    short = python("""
        init()
        for _ in range(30):
            context = create()
            launch("gemm", 1)
            ok(cu.cuCtxDestroy_v2(context))
    """)
    counted = run(standins, {**SCRIPT, "delays": [delay]}, short, "--subscribe")
    assert (counted.code, counted.out, counted.err) == (0, "", "")
    missed = counted.reasons.count("contexts that were not counted: ") >= 1
    if plan_ms:
        assert missed
    elif not missed:  # a meter was in time for each of them, though not its counters
        assert "the counters were not ready before the process ended" in counted.reasons
    assert (counted.record["high"] is None) is missed
    assert is_honest(counted.record, counted.truth())


def test_a_primary_context_that_comes_just_before_the_end_is_told(standins: Standins) -> None:
    late = python("""
        init()
        time.sleep(0.3)
        retain()
        launch("gemm", 1)
    """)
    counted = run(standins, SCRIPT, late)
    assert (counted.code, counted.out, counted.err) == (0, "", "")
    assert is_honest(counted.record, counted.truth())
    assert counted.record["high"] != "0"


def test_a_program_that_has_the_subscriber_s_place_keeps_it(standins: Standins) -> None:
    """Nobody announces this program's captures, and they cannot be heard of: nothing is counted, and that is told."""
    work = program(standins, *WORK, "--subscribe")
    counted = run(standins, SCRIPT, work)
    assert (counted.code, counted.out, counted.err) == (0, "cuptiSubscribe: 0\ndone\n", "")
    assert "cuptiSubscribe: error 39" in counted.reasons
    assert not counted.record["complete"]
    assert is_honest(counted.record, counted.truth())


def test_a_primary_context_that_is_reset_and_made_again_at_once(standins: Standins) -> None:
    counted = run(standins, SCRIPT, program(standins, "--kernels", "gemm:1500", "--seconds", "1", "--reset"))
    assert counted.out == "done\n"
    assert len(standins.truths()[0].contexts) == 2
    assert is_exact(counted)
    assert not counted.record["complete"]


def test_a_primary_context_that_is_reset_and_made_again_later(standins: Standins) -> None:
    later = python("""
        init()
        for _ in range(3):
            retain()
            before = sum(roles().values())
            work_until(lambda found: sum(found.values()) > before)
            ok(cu.cuDevicePrimaryCtxReset_v2(0))
            ok(cu.cuDevicePrimaryCtxRelease_v2(0))
            time.sleep(0.2)
            print(cu.cuDevicePrimaryCtxRelease_v2(0))
    """)
    counted = run(standins, SCRIPT, later)
    assert counted.out == "201\n201\n201\n"  # nobody holds it any more
    assert len({window.context for window in windows(counted)}) == 3
    assert is_exact(counted)


def test_a_device_that_is_lost_stops_no_other(standins: Standins) -> None:
    devices = [{"lost": {"after_us": 500_000, "code": 719}}, {}]
    two = python("""
        init()
        retain(0)
        def until_lost():
            try:
                current(lost)
                work(1)
            except AssertionError as error:
                print(error)
        lost = retain(0)
        thread = threading.Thread(target=until_lost)
        thread.start()
        retain(1)
        work(1)
        thread.join()
    """)
    counted = run(standins, {**SCRIPT, "devices": devices}, two)
    assert counted.out == "719\n"
    last = {device: max(w.end_us for w in windows(counted) if w.device == device) for device in (0, 1)}
    assert last[1] - last[0] > 300_000
    assert is_exact(counted)
    assert not counted.record["complete"]
    assert "cuda:0" in counted.reasons


# ---------------------------------------------------------------- threads, signals, captures


def test_our_threads_have_all_signals_blocked_and_stacks_of_their_own(standins: Standins) -> None:
    """64 KiB is what the program gives its threads, on which CUPTI would not fit."""
    threads = python("""
        libc = ctypes.CDLL(None)
        attributes = ctypes.create_string_buffer(256)
        libc.pthread_attr_init(attributes)
        libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(65536))
        libc.pthread_setattr_default_np(attributes)
        init()
        retain()
        work(0.3)
        for task in our_threads():
            status = dict(line.split(":", 1) for line in open(task + "status"))
            blocked = int(status["SigBlk"], 16)
            left = [n for n in range(1, 65) if not blocked >> (n - 1) & 1]
            print(open(task + "comm").read().strip(), left)
        sizes = []
        for line in open("/proc/self/maps"):
            begin, end = (int(number, 16) for number in line.split()[0].split("-"))
            sizes.append((end - begin) >> 10)
        print(sizes.count(8192) >= 2)
    """)
    counted = run(standins, SCRIPT, threads)
    # SIGKILL and SIGSTOP cannot be blocked, 32 and 33 are the C library's own.
    assert sorted(counted.out.splitlines()) == [
        "True",
        "ftprof-meter [9, 19, 32, 33]",
        "ftprof-watcher [9, 19, 32, 33]",
    ]
    assert is_exact(counted)


def test_no_capture_is_invalidated(standins: Standins) -> None:
    work = program(
        standins,
        "--threads",
        "4",
        "--devices",
        "0,1",
        "--kernels",
        "gemm:1000",
        "--seconds",
        "1",
        "--capture",
        "--print",
    )
    script = {**SCRIPT, "devices": 2}
    alone = run(standins, script, work, bare=True)
    counted = run(standins, script, work)
    assert alone.out.endswith("gemm 1000\ndone\n")
    assert (counted.code, counted.out, counted.err) == (alone.code, alone.out, alone.err)
    assert len(windows(counted)) > 30


CAPTURES = """
    announced = sys.argv[1:] == ["announced"]
    if announced:
        announce()
    init()
    contexts = [retain(0), retain(1)]
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    captures = []  # printed at the end: threads that print at once can garble Python 3.11's stdout (gh-119506)
    def capture(context, times):
        stream, graph = ctypes.c_void_p(), ctypes.c_void_p()
        current(context)
        ok(cu.cuStreamCreate(ctypes.byref(stream), 1))
        for i in range(times):
            asked = time.monotonic()
            if announced:
                library().ftprof_inject_capture_begins()
            waited = time.monotonic() - asked
            begin = time.time_ns()
            ok(cu.cuStreamBeginCapture_v2(stream, 2))  # relaxed: none of this program's own calls breaks it
            time.sleep(0.012)
            ok(cu.cuStreamEndCapture(stream, ctypes.byref(graph)))
            end = time.time_ns()
            if announced:
                library().ftprof_inject_capture_ends()
            ok(cu.cuGraphDestroy(graph))
            captures.append((begin, end, round(waited, 3)))
            time.sleep(0.004)
    # Nearly always one of them at first, and none in the end.
    threads = [threading.Thread(target=capture, args=(context, 80)) for context in contexts * 2]
    [thread.start() for thread in threads]
    current(contexts[0])
    work(1)
    [thread.join() for thread in threads]
    if announced:
        work_until(lambda roles: roles["cuda-core"] > 2)
    else:
        work(2)
    for capture in captures: print(*capture)
"""


@pytest.mark.slow
def test_patched_code_and_announced_captures_are_kept_apart(standins: Standins) -> None:
    script = {**SCRIPT, "devices": 2, "kernels": {"gemm": {**GEMM, FFMA: 10, "smsp__sass_thread_inst_executed": 99}}}
    counted = run(standins, script, [*python(CAPTURES), "announced"], FTPROF_SLOT_US="2000,2000")
    assert counted.err == ""
    captures = [tuple(map(float, line.split())) for line in counted.out.splitlines()]
    patched = [window for window in windows(counted) if window.role == "cuda-core"]
    assert len(captures) == 320
    assert patched
    for window in patched:
        for begin, end, _ in captures:
            assert window.end_us <= begin // 1000 or window.begin_us >= end // 1000
    assert max(waited for _, _, waited in captures) < 0.5


def test_nothing_is_counted_where_captures_cannot_be_heard_of(standins: Standins) -> None:
    """Neither is there a hook that announces them, nor can the subscriber's place be had: an edge might spoil one."""
    taken = {**SCRIPT, "failures": [{"call": "cuptiSubscribe", "threads": "others", "every": True, "code": 39}]}
    counted = run(standins, taken, python(CAPTURED), FTPROF_SLOT_US="2000,2000")
    assert (counted.out, counted.err) == ("[0]\n", "")
    assert windows(counted) == []
    assert "cuptiSubscribe" in counted.reasons
    assert not counted.record["complete"]
    assert is_honest(counted.record, counted.truth())


def test_the_subscriber_s_place_is_left_free_where_a_hook_announces_captures(standins: Standins) -> None:
    works = python("""
        announce()
        init(), retain(0), work(0.5)
    """)
    counted = run(standins, SCRIPT, works)
    assert "base" in {window.role for window in windows(counted)}
    assert not [line for line in standins.trace() if line.get("call") == "cuptiSubscribe"]


@pytest.mark.slow
def test_a_program_that_replaces_one_whose_hook_announces_captures_is_not_taken_for_it(standins: Standins) -> None:
    """It has the same process number, environment and start time, and no hook: its captures must be heard of."""
    hooked = "import os, sys, torch; os.execv(sys.argv[1], sys.argv[1:])"
    captures = ("--threads", "4", "--kernels", "gemm:1000", "--seconds", "1", "--capture")
    counted = run(standins, SCRIPT, [sys.executable, "-c", hooked, *program(standins, *captures)])
    assert (counted.code, counted.out, counted.err) == (0, "done\n", "")
    assert windows(counted)
    assert [line for line in standins.trace() if line.get("call") == "cuptiSubscribe"]


@pytest.mark.slow
def test_the_hook_announces_captures_before_the_driver_begins(standins: Standins) -> None:
    works = python("""
        sys.path[:0] = [path for path in json.loads(sys.argv[1]) if path]
        import ftprof.measure.analytic.hook as hook
        class Graph:
            def capture_begin(self): print("began", library().ftprof_inject_capturing())
            def capture_end(self): print("ends", library().ftprof_inject_capturing())
        hook.announce_captures(Graph)
        assert library().ftprof_inject_cut(60000) == 1  # nothing to wait for
        init(), retain(0), work(0.5)
        Graph().capture_begin()
        Graph().capture_end()
        print("over", library().ftprof_inject_capturing())
    """)
    counted = run(standins, SCRIPT, [*works, json.dumps(sys.path)])
    assert (counted.code, counted.out, counted.err) == (0, "began 1\nends 1\nover 0\n", "")
    assert "base" in {window.role for window in windows(counted)}
    assert not [line for line in standins.trace() if line.get("call") == "cuptiSubscribe"]


# What cuStreamEndCapture answers to each of many captures.
CAPTURED = """
    init()
    context = retain(0)
    stream, graph = ctypes.c_void_p(), ctypes.c_void_p()
    ok(cu.cuStreamCreate(ctypes.byref(stream), 1))
    time.sleep(0.3)
    answers = set()
    for i in range(40):
        ok(cu.cuStreamBeginCapture_v2(stream, i % 3))
        time.sleep(0.01)
        answers.add(cu.cuStreamEndCapture(stream, ctypes.byref(graph)))
        launch("gemm", 3)
        time.sleep(0.002)
    assert cu.cuStreamEndCapture(stream, ctypes.byref(graph)) != 0  # of nothing
    print(sorted(answers))
    work_until(lambda roles: roles["cuda-core"] > 0 or len(sys.argv) == 1)
"""


@pytest.mark.parametrize("options", [(), ("--subscribe",)])
def test_captures_that_no_hook_announces_are_heard_of_and_windows_keep_clear_of_them(
    standins: Standins, options: tuple[str, ...]
) -> None:
    """Any window's edge spoils a capture, on these stand-ins as on an H200 (csrc/testing/FORMAT.md)."""
    counted = run(standins, SCRIPT, [*python(CAPTURED), "on"], *options, FTPROF_SLOT_US="2000,2000")
    assert (counted.out, counted.err) == ("[0]\n", "")
    assert {"base", "rotating", "cuda-core"} <= {window.role for window in windows(counted)}
    assert is_honest(counted.record, counted.truth())
    assert counted.reasons.count("CUPTI patches no kernel of a CUDA graph") == 1
    patched = [row for row in counted.record["estimates"] if row["metric"].startswith("smsp__sass")]
    assert patched
    assert all(row["high"] is None for row in patched)


def test_graphs_that_patched_code_does_not_count_leave_its_precisions_open(standins: Standins) -> None:
    """Their windows saw nothing of it, which bounds nothing."""
    script = {**SCRIPT, "kernels": {"gemm": {**GEMM, FFMA: 1000}}}
    counted = run(
        standins, script, program(standins, *WORK, "--graphs"), "--subscribe", FTPROF_SLOT_US="20000,20000",
        FTPROF_CUDA_CORE="1",
    )  # fmt: skip
    assert (counted.code, counted.err) == (0, "")
    pairs = beside_truth(counted)
    assert [window.counts for window, _ in pairs] == [truth for _, truth in pairs]
    (patched,) = (row for row in counted.record["estimates"] if row["metric"].startswith(FFMA))
    assert (patched["measured"], patched["high"]) == ("0", None)
    assert counted.reasons.count("CUPTI patches no kernel of a CUDA graph") == 1
    assert not counted.record["complete"]


def test_graphs_are_no_matter_where_no_code_is_patched(standins: Standins) -> None:
    counted = run(standins, SCRIPT, python(CAPTURED), FTPROF_SLOT_US="2000,2000", FTPROF_CUDA_CORE="0")
    assert (counted.out, counted.err, counted.reasons) == ("[0]\n", "", "")
    assert counted.record["complete"]


def test_who_waits_for_windows_waits_for_a_context_that_nobody_has_seen(standins: Standins) -> None:
    """A program's first context is a moment old, and CUPTI is not even loaded (an H200: 1.2 s to the first window)."""
    script = base_only(delays=[{"call": "cuptiGetVersion", "us": 500_000, "times": 1}])
    at_once = python("""
        init()
        print(library().ftprof_inject_await_windows(60000))
        retain(0)
        print(library().ftprof_inject_await_windows(60000))
        launch("gemm", 100)
        synchronize()
    """)
    counted = run(standins, script, at_once, FTPROF_SLOT_US="10000000,10000000")
    assert (counted.out, counted.err) == ("1\n1\n", "")
    assert sum(window.counts[BF16] for window in windows(counted)) == counted.truth()


def test_a_cut_closes_the_windows_of_all_contexts(standins: Standins) -> None:
    cut = python("""
        init()
        retain(0), retain(1)
        time.sleep(0.5)
        began = time.time_ns() // 1000
        assert library().ftprof_inject_cut(2000) == 1
        print(began, time.time_ns() // 1000)
        time.sleep(0.2)
    """)
    counted = run(standins, {**SCRIPT, "devices": 2}, cut, FTPROF_SLOT_US="10000000,10000000")
    began, ended = map(int, counted.out.split())
    assert ended - began < 1_000_000
    for device in (0, 1):
        ends = [window.end_us for window in windows(counted) if window.device == device]
        assert began <= ends[0] <= ended < ends[1]


def test_a_cut_waits_no_longer_than_it_may_and_blocks_nobody(standins: Standins) -> None:
    script = {**SCRIPT, "devices": 2, "delays": [{"call": "cuptiRangeProfilerDecodeData", "us": 4_000_000}]}
    cut = python("""
        init()
        retain(0), retain(1)
        time.sleep(0.3)
        threading.Thread(target=library().ftprof_inject_cut, args=(20000,), daemon=True).start()
        time.sleep(0.1)
        began = time.monotonic()
        print(library().ftprof_inject_cut(200), flush=True)
        ctypes.CDLL(None).exit(0 if time.monotonic() - began < 1 else 1)
    """)
    began = time.monotonic()
    counted = run(standins, script, cut, FTPROF_SLOT_US="10000000,10000000")
    assert (counted.code, counted.out) == (0, "0\n")
    assert time.monotonic() - began < 5.5  # of which at most 2 s at exit
    assert is_honest(counted.record, counted.truth())


# ---------------------------------------------------------------- how processes end


@pytest.mark.parametrize(
    ("options", "code", "complete"),
    [
        ([], 0, True),
        (["--end", "exit", "--exit-code", "3"], 3, True),
        (["--end", "_exit", "--exit-code", "4"], 4, False),
        (["--end", "abort"], 134, False),
        (["--end", "15"], 143, False),
        (["--end", "9"], 137, False),
    ],
)
def test_every_end_is_that_of_the_bare_run(standins: Standins, options: list[str], code: int, complete: bool) -> None:
    counted = run(standins, SCRIPT, program(standins, *WORK, *options))
    assert (counted.code, counted.out, counted.err) == (code, "done\n", "")
    assert counted.record["complete"] is complete
    assert is_honest(counted.record, counted.truth())
    assert len(windows(counted)) >= 4


@pytest.mark.parametrize("end", ["return", "exit", "_exit", "15"])
def test_a_window_that_cannot_be_closed_delays_no_end_for_more_than_2_seconds(standins: Standins, end: str) -> None:
    script = {**SCRIPT, "delays": [{"call": "cuptiRangeProfilerDecodeData", "nth": 4, "us": 60_000_000}]}
    began = time.monotonic()
    counted = run(standins, script, program(standins, *WORK, "--end", end))
    took = time.monotonic() - began
    assert took < (4.5 if end in ("return", "exit") else 2.5)
    assert counted.out == "done\n"
    assert len(windows(counted)) >= 3
    assert not counted.record["complete"]
    assert is_honest(counted.record, counted.truth())
    if end in ("return", "exit"):
        assert "the program ended before its last window could be closed" in counted.reasons


def test_an_exit_in_a_thread_closes_the_windows(standins: Standins) -> None:
    exits = python("""
        init()
        retain()
        threading.Timer(0.4, lambda: ctypes.CDLL(None).exit(3)).start()
        work(30)
    """)
    counted = run(standins, SCRIPT, exits)
    assert counted.code == 3
    assert counted.lines[-1]["kind"] == "end"
    assert is_honest(counted.record, counted.truth())


LATE = """
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static char path[4096];
static int seconds;
static void handler(void) {
  FILE* file = fopen(path, "r");
  static char line[1 << 16];
  int ended = 0;
  while (file && fgets(line, sizeof line, file)) ended = strstr(line, "\\"kind\\":\\"end\\"") != NULL;
  printf("ended %d\\n", ended);
  fflush(stdout);
  sleep(seconds);
}
void at_exit(const char* journal, int wait) {
  strcpy(path, journal);
  seconds = wait;
  atexit(handler);
}
"""


@pytest.fixture
def late(tmp_path: Path) -> Path:
    """A library whose at_exit registers an exit handler that tells whether the journal has ended."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    (tmp_path / "late.c").write_text(LATE)
    library = tmp_path / "late.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", str(tmp_path / "late.c"), "-o", str(library)], check=True)
    return library


def test_our_exit_handler_runs_before_those_of_libraries_loaded_after_us(standins: Standins, late: Path) -> None:
    """Such as CUPTI itself, whose static objects are gone once its handlers have run."""
    order = python("""
        init()
        library = ctypes.CDLL(sys.argv[1])
        library.at_exit.argtypes = [ctypes.c_char_p, ctypes.c_int]
        folder = os.environ["FTPROF_RUN_DIR"]
        import socket, glob
        retain()
        path = None
        while not path:
            path = glob.glob(f"{folder}/*-{os.getpid()}-*-counters.journal")
        library.at_exit(path[0].encode(), 0)
        work(0.4)
    """)
    counted = run(standins, SCRIPT, [*order, str(late)])
    assert counted.out == "ended 1\n"
    assert is_exact(counted)


@pytest.mark.slow
def test_no_call_of_cupti_follows_an_exit_handler_that_gave_up(standins: Standins, late: Path) -> None:
    script = {**SCRIPT, "delays": [{"call": "cuptiRangeProfilerDecodeData", "nth": 3, "us": 4_000_000}]}
    slow = python("""
        library = ctypes.CDLL(sys.argv[1])
        library.at_exit.argtypes = [ctypes.c_char_p, ctypes.c_int]
        library.at_exit(b"/dev/null", 4)  # runs last of all
        init()
        retain()
        work(0.3)
    """)
    counted = run(standins, script, [*slow, str(late)])
    assert counted.out == "ended 0\n"
    # The stand-in looks at the clock when the call returns, and takes it for one that began too late.
    assert standins.violations() == ["cuptiRangeProfilerDecodeData was called after the driver's exit handler"]
    next((standins.work / "truth").glob("violations-*")).unlink()
    lines = standins.trace()
    hung = max(lines, key=span)
    assert (hung["call"], span(hung) // 10**9) == ("cuptiRangeProfilerDecodeData", 4)
    assert not [line for line in lines if line.get("begin_ns", 0) >= hung["end_ns"]]
    assert counted.lines[-1]["kind"] == "end"


# Of CUPTI and of the driver, by the meter's thread and by the watcher's.
HANGS = {
    "cuptiGetVersion": 1,
    "cuDeviceGetName": 1,
    "cuDevicePrimaryCtxRetain": 2,  # the first is the program's own
    "cuptiProfilerInitialize": 1,
    "cuptiDeviceGetChipName": 1,
    "cuptiProfilerHostInitialize": 1,
    "cuptiProfilerGetCounterAvailability": 1,
    "cuptiRangeProfilerEnable": 1,
    "cuptiProfilerHostEvaluateToGpuValues": 2,
    "cuptiRangeProfilerStop": 2,
}


@pytest.mark.slow
@pytest.mark.parametrize("call", HANGS)
def test_neither_cupti_nor_the_driver_is_called_after_an_exit_handler_that_gave_up(
    standins: Standins, late: Path, call: str
) -> None:
    """Whatever our thread was doing when the process gave up waiting for it."""
    hangs = {"call": call, "nth": HANGS[call], "us": 5_000_000, "threads": "others"}
    slow = python("""
        library = ctypes.CDLL(sys.argv[1])
        library.at_exit.argtypes = [ctypes.c_char_p, ctypes.c_int]
        library.at_exit(b"/dev/null", 6)  # runs last of all: our thread has time to go on
        init()
        retain()
        work(0.6)
    """)
    counted = run(standins, {**SCRIPT, "trace": True, "delays": [hangs]}, [*slow, str(late)])
    assert counted.code == 0
    lines = [line for line in standins.trace() if "call" in line]
    hung = max((line for line in lines if line["call"] == call), key=span)
    assert span(hung) // 10**9 == 5
    assert [line["call"] for line in lines if line["begin_ns"] >= hung["end_ns"]] == []
    # The stand-in looks at the clock when the call returns, and takes it for one that began too late.
    broken = standins.violations()
    assert [rule for rule in broken if rule != f"{call} was called after the driver's exit handler"] == []
    for path in (standins.work / "truth").glob("violations-*"):
        path.unlink()


def span(line: dict[str, Any]) -> int:
    return int(line.get("end_ns", 0) - line.get("begin_ns", 0))


def test_python_s_own_way_past_exit_handlers(standins: Standins) -> None:
    """os._exit runs none of them: ftprof's hook in Python tells the library."""
    leaves = python("""
        ctypes.CDLL("libcupti.so.13")  # whatever else is in this environment, the stand-in is the one that is mapped
        init()
        retain()
        work(0.4)
        os._exit(7)
    """)
    counted = run(standins, SCRIPT, [leaves[0], "-c", leaves[-1]])
    assert counted.code == 7
    assert counted.lines[-1]["reason"] == "os._exit"
    assert counted.record["complete"], counted.reasons
    assert is_honest(counted.record, counted.truth())


STUCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>
ssize_t write(int file, const void* data, size_t size) {
  static ssize_t (*real)(int, const void*, size_t);
  static int lines;
  char link[64], path[4096] = "";
  if (!real) real = (ssize_t(*)(int, const void*, size_t))dlsym(RTLD_NEXT, "write");
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  if (readlink(link, path, sizeof path - 1) > 0 && strstr(path, "counters.journal") && ++lines > 6) sleep(60);
  return real(file, data, size);
}
"""


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_a_disk_that_hangs_delays_no_end_for_more_than_2_seconds(standins: Standins, tmp_path: Path) -> None:
    (tmp_path / "stuck.c").write_text(STUCK)
    library = tmp_path / "stuck.so"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", str(tmp_path / "stuck.c"), "-o", str(library)], check=True)
    work = ["env", f"LD_PRELOAD={library}", *program(standins, *WORK)]
    began = time.monotonic()
    counted = run(standins, SCRIPT, work)
    assert time.monotonic() - began < 5
    assert (counted.code, counted.out, counted.err) == (0, "done\n", "")
    assert len(counted.lines) == 6
    assert not counted.record["complete"]
    assert is_honest(counted.record, counted.truth())


@pytest.mark.parametrize("call", ["cuptiProfilerHostGetNumOfPasses", "cuptiProfilerHostGetMetricProperties"])
def test_a_program_that_ends_while_its_counters_are_planned_does_not_wait(standins: Standins, call: str) -> None:
    script = {**SCRIPT, "delays": [{"call": call, "us": 100_000}]}
    began = time.monotonic()
    counted = run(standins, script, program(standins, "--kernels", "gemm:10"))
    assert time.monotonic() - began < 10  # planning would take many times as long
    assert (counted.code, counted.out) == (0, "done\n")
    assert "ended before the counters were ready" in counted.reasons
    assert is_honest(counted.record, counted.truth())


# ---------------------------------------------------------------- forks


def test_a_fork_before_the_drivers_start(standins: Standins) -> None:
    counted = run(standins, SCRIPT, program(standins, *WORK, "--fork", "before"))
    assert counted.out.endswith("process ended with 0\ndone\n")
    assert len({window.process for window in windows(counted)}) == 2
    assert is_exact(counted)


def test_a_fork_and_another_program(standins: Standins) -> None:
    counted = run(standins, SCRIPT, program(standins, *WORK, "--fork", "exec"))
    assert len({window.process for window in windows(counted)}) == 2
    assert is_exact(counted)


@pytest.mark.parametrize("how", ["os.fork()", "libc.syscall(57)"])
def test_a_fork_after_the_drivers_start(standins: Standins, how: str) -> None:
    """The second, by the number that fork has on x86-64, is one of which no library hears."""
    if "57" in how and os.uname().machine != "x86_64":
        pytest.skip("another number here")
    forks = python(f"""
        libc = ctypes.CDLL(None)
        init()
        retain()
        work(0.2)
        before = time.monotonic()
        child = {how}
        if child == 0:
            files = [os.path.realpath("/proc/self/fd/" + f) for f in os.listdir("/proc/self/fd")]
            journals = [f for f in files if "counters.journal" in f and "os" in "{how}"]
            print("child", len(os.listdir("/proc/self/task")), len(journals), flush=True)
            library().ftprof_inject_capture_begins()
            library().ftprof_inject_cut(2000)
            libc.exit(5)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), time.monotonic() - before < 1)
        work(0.3)
    """)
    counted = run(standins, SCRIPT, forks)
    assert counted.out == "child 1 0\n5 True\n"
    assert len(list(counted.folder.glob("*-counters.journal"))) == 1
    assert counted.record["complete"], counted.reasons
    assert is_exact(counted)


def test_a_daemon(standins: Standins) -> None:
    daemon = python("""
        if os.fork():
            os._exit(0)
        os.setsid()
        os.chdir("/")
        if os.fork():
            os._exit(0)
        os.closerange(0, 3)
        init()
        retain()
        work(0.5)
    """)
    counted = run(standins, SCRIPT, daemon)
    assert counted.record["complete"], counted.reasons
    assert is_exact(counted)


def test_a_process_that_becomes_another_program(standins: Standins) -> None:
    becomes = python("""
        init()
        retain()
        work(0.3)
        os.execv(sys.argv[1], sys.argv[1:])
    """)
    counted = run(standins, SCRIPT, [*becomes, *program(standins, *WORK)])
    assert counted.out == "done\n"
    assert [line["kind"] for line in counted.lines].count("program") == 1
    assert len(counted.standins.truths()) == 2
    assert is_honest(counted.record, counted.truth())


# ---------------------------------------------------------------- what programs do to their processes

HOSTILE = {
    "closes what it did not open": """
        for _ in range(6):
            os.closerange(3, 4096)
            files = [open("/dev/null") for _ in range(300)]
            work(0.05)
            del files
    """,
    "goes elsewhere": """
        os.chdir("/")
        work(0.4)
    """,
    "changes its environment": """
        def change():
            for i in range(20000):
                os.environ[f"VARIABLE_{i % 500}"] = "x" * (i % 97)
                if i % 3 == 0:
                    os.environ.pop(f"VARIABLE_{i // 2 % 500}", None)
        thread = threading.Thread(target=change)
        thread.start()
        work(0.4)
        thread.join()
        os.environ.clear()
        work(0.2)
    """,
    "has few descriptors": """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
        work(0.4)
    """,
    "closes its streams": """
        os.closerange(0, 3)
        work(0.4)
    """,
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", HOSTILE)
def test_a_program_that(standins: Standins, what: str, when: str) -> None:
    """Before the context, or after the first windows."""
    hostile = "\n".join(line.removeprefix("        ") for line in HOSTILE[what].splitlines())
    begin = "init()\nretain()\nwork(0.2)\n"
    act = "work_later = work\n" + hostile
    if when == "before":
        # The first work is what comes after the deed.
        begin, act = (
            "",
            "work_now, first = work, []\n"
            + ("def work(seconds):\n    if not first:\n        first.append(init()), retain()\n    work_now(seconds)\n")
            + hostile,
        )
    counted = run(standins, {**SCRIPT, "ledger_mib": 1}, python(begin + act))
    assert is_exact(counted)
    assert counted.record["complete"], counted.reasons


def test_the_environment_of_the_drivers_start_counts(standins: Standins) -> None:
    """What the program makes of it afterwards is read by no thread of ours, at which moment it could be torn."""
    changes = python("""
        init()
        os.environ["CUDA_HOME"] = "/nowhere"
        os.environ["RANK"] = "7"
        retain()
        work(0.3)
    """)
    counted = run(standins, SCRIPT, changes)
    assert is_exact(counted)
    assert counted.lines[0]["rank"] is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights")
def test_a_program_that_gives_up_its_rights(standins: Standins) -> None:
    drops = python("""
        init()
        retain()
        work(0.3)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        print(time.time_ns() // 1000, flush=True)
        work(0.4)
    """)
    counted = run(standins, {"kernels": {"gemm": GEMM}}, drops, FTPROF_ROLLUP_LINES="30")
    assert (counted.code, counted.err) == (0, "")
    dropped = int(counted.out)
    assert sum(window.begin_us > dropped for window in windows(counted)) > 5
    assert counted.record["complete"], counted.reasons
    assert is_honest(counted.record, counted.truth())


@pytest.mark.parametrize("mib", [2, 64])
def test_a_program_with_little_address_space(standins: Standins, mib: int) -> None:
    """With 2 MiB there is not even a thread."""
    little = python(f"""
        import resource
        begun = threading.Event()
        size = int(open("/proc/self/statm").read().split()[0]) * 4096 + ({mib} << 20)
        init_first = {mib} < 10
        if init_first:
            ok(cu.cuDriverGetVersion(ctypes.byref(ctypes.c_int())))
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        try:
            init()
            retain()
            work(0.4)
            if {mib} > 10:
                work_until(lambda roles: sum(roles.values()) > 5)
        except AssertionError as error:
            print(error)
        print("done")
    """)
    script = {**SCRIPT, "ledger_mib": 1}
    alone = run(standins, script, little, bare=True)
    shutil.rmtree(standins.work / "truth")
    counted = run(standins, script, little)
    assert (counted.code, counted.out, counted.err) == (alone.code, alone.out, alone.err) == (0, "done\n", "")
    assert is_honest(counted.record, counted.truth())
    if mib > 10:
        assert is_exact(counted)
    else:
        assert counted.record["high"] is None or windows(counted)


def test_a_program_without_a_descriptor_for_us(standins: Standins) -> None:
    none = python("""
        import resource
        init()
        free = next(number for number in range(999) if not os.path.exists(f"/proc/self/fd/{number}"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))
        retain()
        work(0.3)
        print("done")
    """)
    counted = run(standins, {"kernels": {"gemm": GEMM}}, none)
    assert (counted.code, counted.out, counted.err) == (0, "done\n", "")
    assert not counted.record["complete"]
    assert "too many open files" in counted.reasons
    assert {row["verdict"] for row in counted.record["verdicts"]} == {"undetermined"}


def test_no_descriptor_goes_to_a_child_and_no_thread(standins: Standins) -> None:
    opens = python("""
        import fcntl, subprocess
        def open_files():
            return {int(name) for name in os.listdir("/proc/self/fd")}
        before = open_files()
        list_files = [sys.executable, "-I", "-S", "-c", "import os; print(sorted(os.listdir('/proc/self/fd')))"]
        def of_child():
            out = os.pipe()
            actions = [(os.POSIX_SPAWN_DUP2, out[1], 1)]
            os.posix_spawn(sys.executable, list_files, os.environ, file_actions=actions)
            os.close(out[1])
            text = b""
            while part := os.read(out[0], 4096):
                text += part
            os.close(out[0])
            return text
        first = of_child()
        init()
        retain()
        work(0.4)
        ours = [f for f in open_files() - before if os.path.exists(f"/proc/self/fd/{f}")]
        ours = [f for f in ours if os.environ["FTPROF_RUN_DIR"] in os.readlink(f"/proc/self/fd/{f}")]
        print(len(ours), all(fcntl.fcntl(f, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for f in ours), of_child() == first)
    """)
    counted = run(standins, SCRIPT, opens)
    assert counted.out == "2 True True\n"  # the journal, and the file of failures
    assert is_exact(counted)


# ---------------------------------------------------------------- long runs


@pytest.mark.slow
def test_memory_does_not_grow_with_windows(standins: Standins) -> None:
    grows = python("""
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * 4
        init()
        retain()
        launch("gemm", 10)
        pause = lambda: time.sleep(0.2)
        work_until(lambda roles: roles["base"] > 300, pause)
        early = resident()
        work_until(lambda roles: roles["base"] > 1800, pause)
        print(early, resident())
    """)
    counted = run(standins, {**base_only(), "trace": False}, grows, FTPROF_SLOT_US="300,300", FTPROF_ROLLUP_LINES="200")
    early, late = map(int, counted.out.split())
    (row,) = (row for row in counted.record["estimates"] if row["metric"] == f"{BF16}.sum")
    # A stratum's sums stay: some hundred bytes for 34 windows or more. The allocator takes 132 KiB at a time, for the
    # thread that counts and for the one that writes. One small object a window (0.3 KiB) would be too much.
    assert late - early < 2 * 132 + 1500 * 0.1  # KiB
    assert int(row["windows"]) > 1800


def test_a_journal_that_is_rolled_up_holds_the_same(standins: Standins) -> None:
    script = base_only()
    work = program(standins, "--kernels", "gemm:2000", "--seconds", "1", "--rounds", "1000")
    counted = run(standins, script, work, FTPROF_SLOT_US="2000,2000", FTPROF_ROLLUP_LINES="40")
    lines = [line["kind"] for line in counted.lines]
    assert lines.count("rollup") == 1
    assert lines.count("counts") < 80
    (truth,) = counted.standins.truths()
    moments = [(push, pop) for *_, push, pop in readings(counted)]
    (row,) = (row for row in counted.record["estimates"] if row["metric"] == f"{BF16}.sum")
    assert int(row["windows"]) == len(moments) > 100
    between = [truth.executed(pop)[BF16] - truth.executed(push)[BF16] for push, pop in moments]
    assert int(row["measured"]) == sum(between)
    assert is_honest(counted.record, counted.truth())


# ---------------------------------------------------------------- a driver that fails


@pytest.mark.parametrize(
    ("rule", "bounded"),
    [
        ({"call": "cuDeviceGetCount", "nth": 1, "every": True, "times": 3, "code": 999}, True),
        ({"call": "cuDriverGetVersion", "every": True, "code": 999}, True),
        ({"call": "cuDevicePrimaryCtxGetState", "after_us": 200_000, "every": True, "times": 5, "code": 999}, True),
        ({"call": "cuDevicePrimaryCtxGetState", "after_us": 200_000, "every": True, "code": 719}, True),
        ({"call": "cuDevicePrimaryCtxRetain", "every": True, "times": 2, "code": 2}, True),
        ({"call": "cuDevicePrimaryCtxRetain", "every": True, "code": 2}, True),
        ({"call": "cuDeviceGetName", "every": True, "code": 3}, False),
        ({"call": "cuDeviceGetCount", "every": True, "code": 46}, False),
    ],
    ids=lambda value: value["call"] + str(value.get("times", "")) if isinstance(value, dict) else "",
)
def test_the_watcher_survives_the_driver(standins: Standins, rule: dict[str, Any], bounded: bool) -> None:
    script = {**SCRIPT, "failures": [{**rule, "threads": "others"}]}
    counted = run(standins, script, program(standins, *WORK))
    assert (counted.code, counted.out, counted.err) == (0, "done\n", "")
    record = counted.record
    assert is_honest(record, counted.truth())
    if rule["call"] == "cuDriverGetVersion":
        assert is_exact(counted)
        return
    assert not record["complete"]
    assert rule["call"] in counted.reasons
    assert (record["high"] is not None) is bounded
    if "times" in rule or rule["call"] == "cuDevicePrimaryCtxGetState":
        assert is_exact(counted)


def test_the_runs_own_files_say_nothing_of_it(standins: Standins) -> None:
    """Nothing of ours goes to the streams of the command, whatever happens to the counters."""
    script = {**SCRIPT, "failures": [{"call": "cuptiRangeProfilerStart", "every": True, "code": 35}]}
    done = subprocess.run(
        [FTPROF, "wrap", "-q", "-o", "record.json", "--", *program(standins, *WORK)],
        env=environment(standins, script, **SLOTS), cwd=standins.work, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert "35" in json.loads((standins.work / "record.json").read_text())["reasons"][0]
