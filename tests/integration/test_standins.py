"""The stand-in CUDA driver and CUPTI count what the script says, keep the real libraries' rules, and fail on demand.

Without this, a test of the meter that passes on them would show nothing.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import clean_environment
from cuda_standins import BF16, CYCLES, FFMA, FP16, TF32, Answer, Standins

GEMM = {BF16: 1001, "cycles": 7, "duration_us": 100}
VIRTUAL: dict[str, Any] = {"time": "virtual", "kernels": {"gemm": GEMM, "axpy": {FFMA: 10, "duration_us": 20}}}
HOST = f"host GH100 {BF16},{CYCLES}"
READY = ("init", "retain 0", "current", "profile")
ENABLED = (*READY, HOST, "enable")
CONFIGURED = (*ENABLED, "size 2", "image", "config 2")
COMPILER = shutil.which("cc") or shutil.which("gcc")

INVALID_PARAMETER, INVALID_CONTEXT, INVALID_OPERATION, NOT_INITIALIZED, UNKNOWN = 1, 3, 7, 15, 999


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Standins:
    return Standins(folder, tmp_path)


def last(answers: list[Answer]) -> Answer:
    return answers[-1]


def after(standins: Standins, *commands: str, script: dict[str, Any] | None = None) -> Answer:
    """The last command's answer; all others must have succeeded."""
    answers = standins.client(VIRTUAL if script is None else script, *commands)
    assert [answer.code for answer in answers[:-1]] == [0] * (len(answers) - 1)
    return last(answers)


def test_a_window_counts_what_was_executed_in_it_and_nothing_else(standins: Standins) -> None:
    commands = [
        *CONFIGURED,
        "launch gemm 10",
        "advance 250",
        "start",
        "push a",
        "advance 350",
        "pop",
        "advance 1",
        "push b",
        "launch gemm 3",
    ]
    commands += ["advance 5000", "pop", "stop", "decode", "info", "values 0", "values 1", "rangename 1", "disable"]
    answers = standins.client(VIRTUAL, *commands)
    assert [answer.code for answer in answers] == [0] * len(answers)
    # Each reading is a whole number: at 2.5 kernels, and when the queue is empty, which a pop waits for.
    first, second = 10 * 1001 - (2 * 1001 + 500), 3 * 1001
    assert answers[-5:-1] == [
        Answer(0, "2"),
        Answer(0, f"{first} {10 * 7 - (2 * 7 + 3)}"),
        Answer(0, f"{second} {3 * 7}"),
        Answer(0, "b"),
    ]
    (truth,) = standins.truths()
    assert truth.executed() == {BF16: 13013, CYCLES: 91}
    assert standins.violations() == []


def test_readings_and_truth_agree_at_every_moment(standins: Standins) -> None:
    script = {
        "trace": "cupti",
        "kernels": {"gemm": {BF16: 2**31 + 1, "duration_us": 333}, "add": {BF16: 3, "cycles": 5, "duration_us": 7.5}},
    }
    commands = list(CONFIGURED)
    for _ in range(20):
        commands += [
            "launch gemm 3",
            "launch add 40",
            "image",
            "start",
            "push",
            "sleep 1500",
            "pop",
            "sleep 100",
            "push",
        ]
        commands += ["sleep 300", "pop", "stop", "decode", "values 0", "values 1"]
    answers = [answer for answer in standins.client(script, *commands) if answer.result]
    (truth,) = standins.truths()
    moments = [line for line in standins.trace() if "range" in line]
    windows = [answer.result.split() for answer in answers if len(answer.result.split()) == 2 and answer.code == 0]
    assert len(moments) == 2 * len(windows) == 80
    for window, begin, end in zip(windows, moments[::2], moments[1::2], strict=True):
        assert (begin["range"], end["range"]) == ("push", "pop")
        grown = truth.executed(end["at_ns"])
        grown.subtract(truth.executed(begin["at_ns"]))
        assert [int(count) for count in window] == [grown[BF16], grown[CYCLES]]


@pytest.mark.parametrize(
    ("commands", "code", "rule"),
    [
        ((*READY, HOST, "start"), INVALID_PARAMETER, "cuptiRangeProfilerStart was called on no session"),
        (("init", "retain 0", "current", HOST, "enable"), NOT_INITIALIZED, "before cuptiProfilerInitialize"),
        ((*ENABLED, "start"), INVALID_OPERATION, "Start was called before SetConfig"),
        ((*ENABLED, "enable"), INVALID_OPERATION, "twice on one context"),
        ((*CONFIGURED, "push"), INVALID_OPERATION, "PushRange was called before Start"),
        ((*CONFIGURED, "start", "start"), INVALID_OPERATION, "Start was called twice"),
        ((*CONFIGURED, "start", "pop"), INVALID_OPERATION, "without an open range"),
        ((*CONFIGURED, "start", "push", "push"), INVALID_OPERATION, "deeper than it was set"),
        ((*CONFIGURED, "start", "push", "stop"), INVALID_OPERATION, "Stop was called with an open range"),
        ((*CONFIGURED, "stop"), INVALID_OPERATION, "Stop was called before Start"),
        ((*CONFIGURED, "start", "decode"), INVALID_OPERATION, "DecodeData was called before Stop"),
        ((*CONFIGURED, "decode"), INVALID_OPERATION, "DecodeData was called before Stop"),
        ((*CONFIGURED, "start", "push", "pop", "stop", "start"), INVALID_OPERATION, "before DecodeData"),
        ((*CONFIGURED, "start", "image"), INVALID_OPERATION, "in a started session"),
        ((*CONFIGURED, "start", "config 2"), INVALID_OPERATION, "in a started session"),
        ((*ENABLED, "image"), INVALID_PARAMETER, "the size of the latest GetCounterDataSize"),
        ((*CONFIGURED, "touchconfig", "start"), 0, "a config image was changed"),
        ((*CONFIGURED, "touchimage", "start"), 0, "counter-data image was changed"),
        ((*CONFIGURED, "touchconfig", "disable"), 0, "a config image was changed"),
        ((*CONFIGURED, "uncurrent", "start"), INVALID_CONTEXT, "its context is not current"),
        ((*CONFIGURED, "2:start"), INVALID_CONTEXT, "its context is not current"),
        ((*CONFIGURED, "available"), 26, "with a session open"),
        ((*READY, "unprofile", "unprofile"), NOT_INITIALIZED, "without cuptiProfilerInitialize"),
        ((*ENABLED, "unprofile"), 0, "with a session open"),
        ((*CONFIGURED, "fork:disable"), NOT_INITIALIZED, "was called in a forked child"),
        (("exit:profile", "init"), NOT_INITIALIZED, "after the driver's exit handler"),
    ],
)
def test_rules_of_the_range_profiler(standins: Standins, commands: tuple[str, ...], code: int, rule: str) -> None:
    assert after(standins, *commands).code == code
    (violation,) = standins.violations()
    assert rule in violation


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        ((*ENABLED, "config 1"), INVALID_PARAMETER),  # no counter-data image
        ((*ENABLED, "size 1", "image", "config 0"), INVALID_PARAMETER),
        ((*ENABLED, "size 0"), INVALID_PARAMETER),
        ((*READY, f"host GA100 {BF16}", "enable", "size 1", "image", "config 1"), INVALID_PARAMETER),  # another chip's
        ((*READY, "host GH100 nonsense"), INVALID_PARAMETER),
        ((*READY, "host GH999 nonsense"), 46),
        ((*READY, HOST, "unhost", "unhost"), INVALID_PARAMETER),
        ((*CONFIGURED, "values 0"), INVALID_PARAMETER),  # nothing was decoded
        (("badsize",), INVALID_PARAMETER),
        (("profile",), NOT_INITIALIZED),  # before cuInit
        (("retain 0",), 3),
        (("init", "retain 1"), 101),
        (("init", "sync"), 201),
        (("init", "retain 0", "current", "launch nonsense 1"), 500),
        (("init", "release 0"), 201),
        (("init", "find cuCtxCreate"), 0),
        (("init", "find cuNonsense"), 500),
    ],
)
def test_wrong_arguments_are_errors(standins: Standins, commands: tuple[str, ...], code: int) -> None:
    assert after(standins, *commands).code == code
    assert standins.violations() == []


def test_ranges_beyond_the_maximum_are_dropped_and_told(standins: Standins) -> None:
    commands = [*CONFIGURED, "start", "push a", "pop", "push b", "pop", "push c", "pop", "stop", "decode", "info"]
    answers = standins.client(VIRTUAL, *commands)
    assert answers[-2:] == [Answer(0, "1"), Answer(0, "2")]


@pytest.mark.parametrize(
    ("metrics", "passes"),
    [
        ([BF16, FP16, "sm__ops_path_tensor_src_fp8", CYCLES], 1),
        ([CYCLES], 1),
        ([TF32, CYCLES], 1),
        ([BF16, TF32], 2),
        (["sm__ops_path_tensor_src_fp16"], 2),
        ([FFMA, "smsp__sass_thread_inst_executed"], 1),
        ([FFMA, CYCLES], 2),
        ([BF16, TF32, FFMA], 3),
    ],
)
def test_passes(standins: Standins, metrics: list[str], passes: int) -> None:
    assert after(standins, f"host GH100 {','.join(metrics)}") == Answer(0, str(passes))


def test_several_passes_are_submitted_one_by_one(standins: Standins) -> None:
    commands = [*READY, f"host GH100 {BF16},{TF32}", "enable", "size 4", "image", "config 4"]
    for _ in range(2):
        commands += ["start", "push", "pop", "stop"]
    answers = standins.client(VIRTUAL, *commands)
    assert [answer.result for answer in answers if answer.result] == ["2", "0", "1"]


def test_patched_code_runs_slower_while_its_session_is_started(standins: Standins) -> None:
    script = {**VIRTUAL, "patched_slowdown": 10}
    commands = [*READY, f"host GH100 {FFMA}", "enable", "size 1", "image", "config 1", "start", "push", "launch axpy 1"]
    answers = standins.client(script, *commands, "advance 100", "pop", "stop", "decode", "values 0")
    assert last(answers) == Answer(0, "10")
    assert standins.truths()[0].executed() == {FFMA: 10, CYCLES: 132 * 1980 * 20}


def test_no_kernel_of_a_graph_is_patched(standins: Standins) -> None:
    """As on an H200 (docs/evidence, cuda-core/graphs): such kernels are not slower, and only hardware counts them."""
    script = {**VIRTUAL, "patched_slowdown": 10}
    graph = ["stream", "capture 2", "enqueue axpy 1", "endcapture", "instantiate"]
    commands = [*READY, *graph, f"host GH100 {FFMA}", "enable", "size 1", "image", "config 1", "start", "push"]
    answers = standins.client(script, *commands, "graph", "advance 2", "pop", "stop", "decode", "values 0")
    assert last(answers) == Answer(0, "0")
    (truth,) = standins.truths()
    assert truth.executed() == {FFMA: 10, CYCLES: 132 * 1980 * 20}
    assert [work.duration_ns for life in truth.contexts.values() for work in life.works] == [20_000]


def test_a_context_that_comes_back_is_another_one(standins: Standins) -> None:
    again = ["reset 0", "state 0", "release 0", "retain 0", "state 0", "current", "id"]
    answers = standins.client(
        VIRTUAL, *CONFIGURED, "launch gemm 5", "advance 150", "id", *again, "start", "enable", "sync"
    )
    assert [answer.result for answer in answers if answer.result in ("active", "inactive")] == ["inactive", "active"]
    assert [answer.result for answer in answers if answer.result in ("1", "2")][-2:] == ["1", "2"]
    assert [answer.code for answer in answers[-3:]] == [INVALID_CONTEXT, 0, 0]
    (truth,) = standins.truths()
    assert truth.executed(context=1)[BF16] == 1501  # what had not run by then never runs
    assert truth.executed(context=2) == {}


def test_a_reset_does_not_release(standins: Standins) -> None:
    answers = standins.client(VIRTUAL, "init", "retain 0", "retain 0", "reset 0", "release 0", "release 0", "release 0")
    assert [answer.code for answer in answers] == [0, 0, 0, 0, 0, 0, 201]


SYNCHRONISING = ["sync", "alloc"]


@pytest.mark.parametrize("call", SYNCHRONISING)
@pytest.mark.parametrize(
    ("mode", "relaxed", "allowed"),
    [(0, False, False), (0, True, True), (1, False, True), (2, False, True)],
    ids=["global", "global, relaxed thread", "thread-local", "relaxed"],
)
def test_what_another_thread_may_do_during_a_capture(
    standins: Standins, call: str, mode: int, relaxed: bool, allowed: bool
) -> None:
    other = ["2:current", *(["2:relax"] if relaxed else []), f"2:{call}"]
    commands = ["init", "retain 0", "current", "stream", f"capture {mode}", *other, "capturing", "endcapture"]
    answers = standins.client(VIRTUAL, *commands)
    code, status, end = answers[-3].code, answers[-2].result, answers[-1].code
    assert (code, status, end) == ((0, "1", 0) if allowed else (900, "2", 901))


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("thread", [[], ["relax"]])
def test_a_range_profiler_call_breaks_every_capture_on_its_context(
    standins: Standins, thread: list[str], mode: int
) -> None:
    capture = ["2:current", "2:stream", f"2:capture {mode}"]
    answers = standins.client(VIRTUAL, *CONFIGURED, *thread, *capture, "start", "2:endcapture")
    assert [answer.code for answer in answers[-2:]] == [UNKNOWN, 901]
    assert standins.violations() == ["cuptiRangeProfilerStart invalidated a stream capture"]


def test_a_session_that_was_enabled_for_one_group_has_no_numbers_for_another(standins: Standins) -> None:
    other = [f"host GH100 {FP16}", "size 1", "image", "config 1"]
    window = ["start", "push", "launch gemm 1", "advance 200", "pop", "stop", "decode", "values 0"]
    assert last(standins.client(VIRTUAL, *CONFIGURED, *window)).result.split()[0] == "1001"
    again = Standins(standins.folder, standins.work / "again")
    again.work.mkdir()
    assert last(again.client(VIRTUAL, *CONFIGURED, *other, *window)).result == "nan"


def test_a_graph_runs_what_was_captured(standins: Standins) -> None:
    work = ["stream", "capture 2", "enqueue gemm 4", "endcapture", "instantiate", "graph", "graph", "sync"]
    assert after(standins, "init", "retain 0", "current", *work).code == 0
    assert standins.truths()[0].executed()[BF16] == 8 * 1001


def test_the_legacy_stream_and_a_capture_exclude_each_other(standins: Standins) -> None:
    answers = standins.client(
        VIRTUAL, "init", "retain 0", "current", "stream blocking", "capture 2", "launch gemm 1", "endcapture"
    )
    assert [answer.code for answer in answers[-2:]] == [906, 901]


def test_one_subscriber(standins: Standins) -> None:
    answers = standins.client(VIRTUAL, "subscribe", "watch", "init", "create 0", "destroy", "subscribe", "unsubscribe")
    assert [answer.result for answer in answers if answer.result] == ["callback 1 context", "callback 2 context"]
    assert [answer.code for answer in answers[-2:]] == [39, 0]


def test_a_cuda_call_in_a_callback_is_noted(standins: Standins) -> None:
    assert after(standins, "meddle", "watch", "init", "retain 0").code == 0
    assert standins.violations() == ["cuCtxSetCurrent was called inside a CUPTI callback"]


@pytest.mark.parametrize(
    ("variable", "seen"),
    [
        ("0,2", ["gpu 0", "gpu 2"]),
        ("2,0", ["gpu 2", "gpu 0"]),
        ("1,-1,2", ["gpu 1"]),
        ("1,9,2", ["gpu 1"]),
        ("GPU-beef,0", ["gpu 1", "gpu 0"]),
        ("0,0", []),
        ("", []),
    ],
)
def test_visible_devices(standins: Standins, variable: str, seen: list[str]) -> None:
    devices: list[dict[str, Any]] = [{"name": f"gpu {i}"} for i in range(3)]
    devices[1]["uuid"] = "GPU-beefbeef-0000-0000-0000-000000000000"
    answers = standins.client(
        {"devices": devices}, "init", "count", "name 0", "name 1", "name 2", CUDA_VISIBLE_DEVICES=variable
    )
    assert answers[0].code == (0 if seen else 100)
    assert [answer.result for answer in answers[2:] if answer.code == 0] == seen


EVERY_CALL = [
    ("init", "cuInit"),
    ("count", "cuDeviceGetCount"),
    ("name 0", "cuDeviceGetName"),
    ("state 0", "cuDevicePrimaryCtxGetState"),
    ("retain 0", "cuDevicePrimaryCtxRetain"),
    ("current", "cuCtxSetCurrent"),
    ("create 0", "cuCtxCreate"),
    ("destroy", "cuCtxDestroy"),
    ("id", "cuCtxGetId"),
    ("sync", "cuCtxSynchronize"),
    ("relax", "cuThreadExchangeStreamCaptureMode"),
    ("stream", "cuStreamCreate"),
    ("capture 0", "cuStreamBeginCapture"),
    ("launch gemm 1", "cuLaunchKernel"),
    ("version", "cuptiGetVersion"),
    ("profile", "cuptiProfilerInitialize"),
    ("chip 0", "cuptiDeviceGetChipName"),
    ("supported 0", "cuptiProfilerDeviceSupported"),
    ("available", "cuptiProfilerGetCounterAvailability"),
    (HOST, "cuptiProfilerHostInitialize"),
    (HOST, "cuptiProfilerHostConfigAddMetrics"),
    (HOST, "cuptiProfilerHostGetConfigImageSize"),
    (HOST, "cuptiProfilerHostGetConfigImage"),
    (HOST, "cuptiProfilerHostGetNumOfPasses"),
    ("unhost", "cuptiProfilerHostDeinitialize"),
    ("values 0", "cuptiProfilerHostEvaluateToGpuValues"),
    ("enable", "cuptiRangeProfilerEnable"),
    ("size 2", "cuptiRangeProfilerGetCounterDataSize"),
    ("image", "cuptiRangeProfilerCounterDataImageInitialize"),
    ("config 2", "cuptiRangeProfilerSetConfig"),
    ("start", "cuptiRangeProfilerStart"),
    ("push", "cuptiRangeProfilerPushRange"),
    ("pop", "cuptiRangeProfilerPopRange"),
    ("stop", "cuptiRangeProfilerStop"),
    ("decode", "cuptiRangeProfilerDecodeData"),
    ("info", "cuptiRangeProfilerGetCounterDataInfo"),
    ("rangename 0", "cuptiRangeProfilerCounterDataGetRangeInfo"),
    ("disable", "cuptiRangeProfilerDisable"),
    ("subscribe", "cuptiSubscribe"),
    ("watch", "cuptiEnableDomain"),
    ("unsubscribe", "cuptiUnsubscribe"),
]


@pytest.mark.parametrize(("command", "call"), EVERY_CALL, ids=[call for _, call in EVERY_CALL])
def test_every_call_fails_on_demand_and_does_nothing_then(standins: Standins, command: str, call: str) -> None:
    script = {**VIRTUAL, "failures": [{"call": call, "nth": 1, "code": 77}]}
    whole = [
        "subscribe",
        "watch",
        "unsubscribe",
        "version",
        "init",
        "count",
        "name 0",
        "state 0",
        "retain 0",
        "current",
    ]
    whole += ["relax", "id", "launch gemm 1", "profile", "chip 0", "supported 0", "available", HOST, "enable", "size 2"]
    whole += [
        "image",
        "config 2",
        "start",
        "push",
        "pop",
        "stop",
        "decode",
        "info",
        "values 0",
        "rangename 0",
        "disable",
    ]
    whole += ["unhost", "stream", "sync", "create 0", "destroy", "capture 0"]
    before = whole[: whole.index(command)]
    answers = standins.client(script, *before, command, command)
    assert [answer.code for answer in answers[: len(before)]] == [0] * len(before)
    assert answers[len(before)].code == 77
    assert last(answers).code == 0


def test_when_a_rule_holds(standins: Standins) -> None:
    failures = [
        {"call": "cuDeviceGetCount", "nth": 2, "code": 1},
        {"call": "cuDeviceGetName", "nth": 2, "every": True, "code": 2},
        {"call": "cuDevicePrimaryCtxGetState", "every": True, "times": 2, "code": 3},
        {"call": "cuCtxSynchronize", "after_us": 1000, "every": True, "code": 4},
        {"call": "cuDeviceGetCount", "env": {"RANK": "1"}, "every": True, "code": 5},
    ]
    script = {"time": "virtual", "failures": failures}
    commands = [*("count",) * 3, *("name 0",) * 3, *("state 0",) * 3, "sync", "advance 1000", "sync", "sync"]
    answers = standins.client(script, "init", "retain 0", "current", *commands)
    assert [answer.code for answer in answers[3:]] == [0, 1, 0, 0, 2, 2, 3, 3, 0, 0, 0, 4, 4]
    answers = standins.client(script, "init", "count", RANK="1")
    assert last(answers).code == 5


def test_a_rule_for_one_device(standins: Standins) -> None:
    script = {"devices": 2, "failures": [{"call": "cuptiRangeProfilerEnable", "device": 1, "every": True, "code": 35}]}
    session = ["init", "profile", "retain 0", "current", HOST, "enable", "disable", "retain 1", "current", "enable"]
    assert after(standins, *session, script=script).code == 35


def test_delays(standins: Standins) -> None:
    script = {"time": "virtual", "delays": [{"call": "cuDeviceGetCount", "nth": 1, "us": 200000}], "trace": True}
    standins.client(script, "init", "count", "count")
    slow, fast = (line for line in standins.trace() if line["call"] == "cuDeviceGetCount")
    assert [line["end_ns"] - line["begin_ns"] for line in (slow, fast)] == [200_000_000, 0]


def test_overwritten_results(standins: Standins) -> None:
    results = [
        {"call": "cuptiGetVersion", "set": {"version": 130400}},
        {"call": "cuptiProfilerDeviceSupported", "set": {"isSupported": 1, "vGpu": 2}},
        {"call": "cuptiRangeProfilerStop", "set": {"isAllPassSubmitted": 0}},
        {"call": "cuptiRangeProfilerDecodeData", "set": {"numOfRangeDropped": 1}},
        {"call": "cuptiProfilerHostEvaluateToGpuValues", "set": {"metric": BF16, "value": "nan"}},
    ]
    window = ["start", "push", "pop", "push", "pop", "stop", "decode", "info", "values 0"]
    answers = standins.client({**VIRTUAL, "results": results}, "version", *CONFIGURED, "supported 0", *window)
    assert answers[0].result == "130400"
    assert [answer.result for answer in answers[-10:] if answer.result] == ["1 2", "0", "1", "1", "nan 0"]


def test_counters_wrap(standins: Standins) -> None:
    window = ["start", "push", "launch gemm 10", "advance 1000", "pop", "stop", "decode", "values 0"]
    assert after(standins, *CONFIGURED, *window, script={**VIRTUAL, "counter_bits": 12}).result == f"{10010 % 4096} 70"


def test_a_lost_device(standins: Standins) -> None:
    lost = {"after_us": 250, "code": 214, "cupti_code": 9}
    script = {**VIRTUAL, "devices": [{"lost": lost}, {}]}
    commands = [*CONFIGURED, "launch gemm 5", "start", "push", "advance 1000", "pop", "sync", "launch gemm 1"]
    answers = standins.client(script, *commands, "retain 0", "retain 1", "current", "sync")
    assert [answer.code for answer in answers[-7:]] == [9, 214, 214, 214, 0, 0, 0]
    assert standins.truths()[0].executed()[BF16] == 2502


def test_a_misspelt_setting_ends_the_process(standins: Standins) -> None:
    environment = standins.environment({"kernel": {}})
    done = subprocess.run([standins.folder / "standin_client", "init"], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGABRT
    assert "the script has no setting kernel" in done.stderr


INJECTION = """
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
__attribute__((visibility("default"))) int InitializeInjection(void) {
  unsigned (*init)(unsigned) = (unsigned (*)(unsigned))dlsym(dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_NOW), "cuInit");
  printf("injected %u\\n", init(0));
  return 1;
}
"""


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_the_injection_library_is_loaded_once(standins: Standins, tmp_path: Path) -> None:
    source, library = tmp_path / "injection.c", tmp_path / "injection.so"
    source.write_text(INJECTION)
    subprocess.run([str(COMPILER), "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    options = ["--threads", "4", "--kernels", "gemm:10"]
    done = standins.program({**VIRTUAL, "trace": True}, *options, CUDA_INJECTION64_PATH=str(library))
    assert done.stdout.splitlines() == ["injected 0", "done"]
    assert [line["code"] for line in standins.trace() if line.get("call") == "InitializeInjection"] == [1]


def test_an_injection_library_that_is_missing_is_passed_over(standins: Standins, tmp_path: Path) -> None:
    done = standins.program(
        {**VIRTUAL, "trace": True}, "--kernels", "gemm:10", CUDA_INJECTION64_PATH=str(tmp_path / "x")
    )
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert [line["code"] for line in standins.trace() if line.get("call") == "InitializeInjection"] == [-1]


REAL = {"devices": 2, "kernels": {"gemm": {BF16: 2**31, "duration_us": 20}, "axpy": {FFMA: 10, "duration_us": 5}}}


def test_the_program_does_what_it_says(standins: Standins) -> None:
    options = ["--threads", "4", "--kernels", "gemm:1000,axpy:50@0.5-0.6", "--devices", "0,1", "--graphs", "--print"]
    done = standins.program(REAL, *options, "--create-context", "--exit-code", "7")
    assert done.returncode == 7
    assert done.stdout.splitlines() == [*(f"thread {i}: gemm 1000 axpy 50" for i in range(5)), "done"]
    (truth,) = standins.truths()
    assert truth.executed()[BF16] == 5000 * 2**31
    assert truth.executed()[FFMA] == 2500
    assert sorted((life.device, life.primary) for life in truth.contexts.values()) == [(0, False), (0, True), (1, True)]


def test_captures_in_many_threads_and_a_reset(standins: Standins) -> None:
    options = ["--threads", "4", "--kernels", "gemm:400", "--devices", "0,1", "--capture", "--reset", "--print"]
    done = standins.program(REAL, *options)
    assert done.returncode == 0, done.stdout
    (truth,) = standins.truths()
    assert len(truth.contexts) == 4
    assert truth.executed()[BF16] == 1600 * 2**31


@pytest.mark.parametrize(
    ("options", "code", "processes"),
    [
        (["--processes", "3"], 0, 3),
        (["--fork", "before"], 0, 2),
        (["--fork", "exec"], 0, 2),
        (["--fork", "after"], 0, 1),
        (["--end", "exit", "--exit-code", "3"], 3, 1),
        (["--end", "_exit", "--exit-code", "4"], 4, 1),
        (["--end", "abort"], -signal.SIGABRT, 1),
        (["--end", str(int(signal.SIGTERM))], -signal.SIGTERM, 1),
        (["--end", str(int(signal.SIGKILL))], -signal.SIGKILL, 1),
    ],
)
def test_processes_and_their_ends(standins: Standins, options: list[str], code: int, processes: int) -> None:
    done = standins.program(REAL, "--kernels", "gemm:100", *options)
    assert done.returncode == code, done.stdout
    assert len(standins.truths()) == processes
    assert [truth.executed()[BF16] for truth in standins.truths()] == [100 * 2**31] * processes


def test_the_truth_survives_a_kill(standins: Standins) -> None:
    script = {"kernels": {"gemm": {BF16: 10**6, "duration_us": 1000}}}
    options = ["--kernels", "gemm:5000", "--seconds", "5"]
    began_ns = time.time_ns()
    with subprocess.Popen([standins.folder / "standin_program", *options], env=standins.environment(script)) as process:
        while not any(truth.executed() for truth in standins.truths()):
            time.sleep(0.01)
        time.sleep(0.3)
        process.kill()
        killed_ns = time.time_ns()
    (truth,) = standins.truths()
    executed = truth.executed(killed_ns)[BF16]
    (life,) = truth.contexts.values()
    assert began_ns <= life.begin_ns <= killed_ns
    assert 0 < executed <= killed_ns - life.begin_ns  # 10**6 a millisecond
    assert executed <= truth.executed()[BF16]


PLANS = """
import json, sys
from ftprof import _native
from ftprof.measure.cupti_search import search_roots
info = _native.load_cupti([(sys.argv[1], "stand-in")] if sys.argv[1] else search_roots())
def rows(chip):
    return [[group.role, list(group.metrics)] for group in _native.plan(chip).groups]
print(json.dumps([info.version, {chip: rows(chip) for chip in ("GA100", "GB202", "GH100", "TU116")}]))
"""


def plans(root: str) -> Any:
    command = [sys.executable, "-c", PLANS, root]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(importlib.util.find_spec("nvidia") is None, reason="no real CUPTI to compare with")
def test_ftprof_plans_as_on_the_real_library(folder: Path) -> None:
    if any(name in (folder / "libcupti.so.13").read_bytes() for name in (b"__asan_init", b"__tsan_init")):
        pytest.skip("this Python cannot load a library with a sanitizer")
    assert plans(str(folder)) == plans("")
