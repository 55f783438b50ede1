"""Whatever fails in the meter: the program's output and exit code are those without it, and the record says what.

All through the real ``ftprof wrap`` on the stand-ins: it says nothing about hardware.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import FTPROF, ftprof
from counted_runs import (
    SCRIPT,
    SHORT,
    CountedRun,
    bare,
    descendants,
    documented_codes,
    environment,
    is_honest,
    wrapped,
)
from cuda_standins import BF16, Standins

from ftprof.record import explanation
from ftprof.record.explanation import explain

TWO_DEVICES = (*SHORT, "--devices", "0,1", "--threads", "2")
MIDDLE_US = 150_000
# In its environment the tests' Python has a real CUPTI, which must not step in for the stand-in.
ALONE = ("env", "FTPROF_CUPTI_ROOTS=")

DRIVER = (
    "cuCtxGetDevice", "cuCtxSetCurrent", "cuDeviceGet", "cuDeviceGetAttribute", "cuDeviceGetCount", "cuDeviceGetName",
    "cuDeviceGetUuid", "cuDevicePrimaryCtxGetState", "cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRetain",
    "cuDriverGetVersion", "cuThreadExchangeStreamCaptureMode",
)  # fmt: skip
CUPTI = (
    "cuptiDeviceGetChipName", "cuptiGetVersion", "cuptiProfilerDeviceSupported", "cuptiProfilerGetCounterAvailability",
    "cuptiProfilerHostConfigAddMetrics", "cuptiProfilerHostDeinitialize", "cuptiProfilerHostEvaluateToGpuValues",
    "cuptiProfilerHostGetConfigImage", "cuptiProfilerHostGetConfigImageSize", "cuptiProfilerHostGetMetricProperties",
    "cuptiProfilerHostGetNumOfPasses", "cuptiProfilerHostInitialize", "cuptiProfilerInitialize",
    "cuptiRangeProfilerCounterDataImageInitialize", "cuptiRangeProfilerDecodeData", "cuptiRangeProfilerDisable",
    "cuptiRangeProfilerEnable", "cuptiRangeProfilerGetCounterDataInfo", "cuptiRangeProfilerGetCounterDataSize",
    "cuptiRangeProfilerPopRange", "cuptiRangeProfilerPushRange", "cuptiRangeProfilerSetConfig",
    "cuptiRangeProfilerStart", "cuptiRangeProfilerStop",
)  # fmt: skip
SUBSCRIBE = ("cuptiEnableCallback", "cuptiSubscribe")  # under --subscribe
NAMES = ("cuGetErrorName", "cuptiGetResultString")  # asked where something else has failed
# A process asks them once: there is no mid-run for them.
ONCE = ("cuDeviceGetCount", "cuDriverGetVersion", "cuptiGetVersion")
# Asked once for each device: in mid-run that of a second one, which the program turns to later.
ONCE_A_DEVICE = (
    "cuDeviceGetAttribute", "cuDeviceGetName", "cuDeviceGetUuid", "cuDevicePrimaryCtxRetain", "cuptiDeviceGetChipName",
    "cuptiProfilerGetCounterAvailability", "cuptiProfilerHostConfigAddMetrics", "cuptiProfilerHostGetConfigImage",
    "cuptiProfilerHostGetConfigImageSize", "cuptiProfilerHostGetMetricProperties", "cuptiProfilerHostGetNumOfPasses",
    "cuptiProfilerHostInitialize",
)  # fmt: skip
# Asked again where a session or a pass begins, which a short run may not do by itself: in mid-run behind a loss.
ONCE_A_SESSION = (
    "cuCtxGetDevice", "cuCtxSetCurrent", "cuThreadExchangeStreamCaptureMode", "cuptiProfilerDeviceSupported",
    "cuptiProfilerInitialize", "cuptiRangeProfilerCounterDataImageInitialize", "cuptiRangeProfilerEnable",
    "cuptiRangeProfilerGetCounterDataSize", "cuptiRangeProfilerSetConfig", "cuptiRangeProfilerStart",
)  # fmt: skip
# Nothing is lost where these fail: the record may be complete, and must be right.
HARMLESS = (
    "cuDevicePrimaryCtxRelease", "cuDriverGetVersion", "cuptiProfilerHostDeinitialize",
)  # fmt: skip
# Behind the last window nothing is lost where it fails; before a change of the group something is.
AT_LAST = "cuptiRangeProfilerDisable"
# Documented words for "this chip does not have the metric" and "ask again later", which are answers.
ANSWERS = {
    ("cuptiProfilerHostGetMetricProperties", 1),
    ("cuptiProfilerHostGetMetricProperties", 17),
    ("cuDeviceGetCount", 3),
    ("cuThreadExchangeStreamCaptureMode", 3),
}


Outputs = dict[tuple[str, ...], tuple[int, str, str]]


@dataclass(frozen=True)
class Case:
    """A call that fails with a code, once or from then on."""

    call: str
    code: int
    in_the_middle: bool = False
    from_then_on: bool = False

    def __str__(self) -> str:
        moment = "mid-run" if self.in_the_middle else "start"
        return f"{self.call}-{self.code}-{moment}{'-on' if self.from_then_on else ''}"


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Standins:
    return Standins(folder, tmp_path)


@pytest.fixture(scope="module")
def outputs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """By the program's options: its exit code and output without ftprof."""
    found = {}
    for options in (SHORT, TWO_DEVICES):
        done = bare(Standins(folder, tmp_path_factory.mktemp("bare")), {**SCRIPT, "devices": 2}, *options)
        found[options] = done.code, done.out, done.err
    assert [code for code, _, _ in found.values()] == [0, 0]
    return found


# ---------------------------------------------------------------- calls that fail


def fail(standins: Standins, case: Case, seconds: str) -> tuple[CountedRun, tuple[str, ...]]:
    """Run the program for so long while the call fails; also the options that its output without ftprof is known of."""
    rule: dict[str, Any] = {"call": case.call, "threads": "others", "code": case.code}
    rule.update({"every": True} if case.from_then_on else {"nth": 1})
    failures, script, options = [rule], dict(SCRIPT), SHORT
    if case.call in NAMES:
        rule["every"] = True
        failures.append({"call": f"cu{'ptiRangeProfilerStart' if 'cupti' in case.call else 'CtxSetCurrent'}",
                         "threads": "others", "nth": 1, "code": 7})  # fmt: skip
    if case.in_the_middle:
        rule["after_us"] = MIDDLE_US
        if case.call in ONCE_A_SESSION:
            failures.append({"call": "cuptiRangeProfilerPushRange", "threads": "others", "after_us": MIDDLE_US - 1000,
                             "nth": 1, "code": 7})  # fmt: skip
        if case.call in ONCE_A_DEVICE:
            options, script["devices"] = TWO_DEVICES, 2
            rule["after_us"] = MIDDLE_US // 2
            if "Host" not in case.call and "Availability" not in case.call:
                rule["device"] = 1
            script["delays"] = [
                {"call": "cuDevicePrimaryCtxRetain", "threads": "program", "device": 1, "us": MIDDLE_US}
            ]
    options_of_wrap = ("-q", "--subscribe") if case.call in SUBSCRIBE else ("-q",)
    script.update(failures=failures, trace=True)
    done = wrapped(standins, script, *options, "--seconds", seconds, wrap=options_of_wrap, command=ALONE)
    return done, options


def has_failed(done: CountedRun, case: Case) -> bool:
    """Whether the call was made and failed so: on a busy machine a run may end before it is."""
    made = {(call["call"].removesuffix("_v2"), call["code"]) for call in done.standins.trace() if "call" in call}
    return (case.call, case.code) in made


def faults(done: CountedRun, output: tuple[int, str, str], case: Case) -> list[str]:
    """What is wrong with a run in which a call failed."""
    found: list[str] = []
    if (done.code, done.out, done.err) != output:
        found.append(f"exit code {done.code}, output {done.out!r}, errors {done.err!r}")
    if not done.path.exists():
        return [*found, "no record"]
    record = done.record
    found += [f"it broke a rule: {violation}" for violation in done.standins.violations()]
    if case.call in HARMLESS or (case.call, case.code) in ANSWERS:
        return found
    if case.call == AT_LAST and record["complete"]:
        return found
    if record["complete"]:
        found.append("the record says that it is complete")
    reasons = done.reasons
    if case.call not in NAMES:
        if case.call not in reasons:
            found.append(f"the record does not name the call: {reasons}")
        explained = explain(case.call, case.code)
        known = explained.reason.startswith(("CU_", "CUDA_", "CUPTI_"))
        told = [explained.meaning, f"error {case.code}"] if known else [f"error {case.code}"]
        bounded = f"({case.call}: error {case.code}, " in reasons
        found += [f"the record does not say {part!r}: {reasons}" for part in told if bounded and part not in reasons]
        if f"error {case.code}" not in reasons:
            found.append(f"the record does not give the code: {reasons}")
        if bounded and explained.remedy not in reasons:
            found.append(f"the record does not give the remedy: {reasons}")
    return found


def misses(done: CountedRun) -> list[str]:
    """Where the truth is not in the interval, of the total or of the one precision that was executed.

    An interval of 95 % may miss now and then: only one that misses again is wrong.
    """
    record, truth = done.record, done.truth()
    rows = [row for row in record["precisions"] if (row["precision"], row["kind"]) == ("bf16", "floating")]
    parts = [record, *(rows if record["high"] is not None else [])]
    return [f"the truth {truth} is not in [{p['low']}, {p['high']}]" for p in parts if not is_honest(p, truth)]


REPRESENTATIVE = [
    Case("cuDeviceGetCount", 4),
    Case("cuDeviceGetCount", 4, from_then_on=True),
    Case("cuDriverGetVersion", 1, from_then_on=True),
    Case("cuDevicePrimaryCtxGetState", 101, in_the_middle=True, from_then_on=True),
    Case("cuDevicePrimaryCtxRetain", 2, from_then_on=True),
    Case("cuDeviceGetUuid", 101, in_the_middle=True),
    Case("cuCtxSetCurrent", 201, in_the_middle=True),
    Case("cuThreadExchangeStreamCaptureMode", 4),
    Case("cuptiGetVersion", 1),
    Case("cuptiProfilerInitialize", 15, from_then_on=True),
    Case("cuptiProfilerDeviceSupported", 27),
    Case("cuptiDeviceGetChipName", 2, in_the_middle=True, from_then_on=True),
    Case("cuptiProfilerGetCounterAvailability", 26),
    Case("cuptiProfilerHostGetNumOfPasses", 999),
    Case("cuptiRangeProfilerEnable", 35, from_then_on=True),
    Case("cuptiRangeProfilerEnable", 8, in_the_middle=True),
    Case("cuptiRangeProfilerStart", 26, in_the_middle=True, from_then_on=True),
    Case("cuptiRangeProfilerPushRange", 7),
    Case("cuptiRangeProfilerStop", 999, in_the_middle=True),
    Case("cuptiRangeProfilerDecodeData", 9, in_the_middle=True),
    Case("cuptiRangeProfilerDisable", 1),
    Case("cuptiProfilerHostEvaluateToGpuValues", 17, in_the_middle=True),
    Case("cuptiSubscribe", 39),
    Case("cuptiGetResultString", 1),
]


def check(folder: Path, work: Path, outputs: Outputs, case: Case) -> list[str]:
    """All that is wrong where the call fails. What was right leaves no files."""
    found = []
    for attempt, seconds in enumerate(("0.3", "0.3", "3")):
        place = work / f"{case}-{attempt}"
        place.mkdir()
        done, options = fail(Standins(folder, place), case, seconds)
        if not has_failed(done, case):
            found = ["the call was not made, or did not fail"]
            continue
        found = faults(done, outputs[options], case)
        missed = misses(done)
        if found or not missed:
            break
        print(f"{case}: {missed}")
        found = missed if attempt else []
    if not found:
        shutil.rmtree(place)
    return [f"{case}: {fault}" for fault in found]


@pytest.mark.parametrize("case", REPRESENTATIVE, ids=str)
def test_a_call_that_fails(folder: Path, tmp_path: Path, outputs: Outputs, case: Case) -> None:
    assert check(folder, tmp_path, outputs, case) == []


def headers() -> Path:
    """The folder of CUPTI's and the driver's headers that the stand-ins were built with."""
    for path in sorted(Path(sysconfig.get_path("purelib"), "nvidia").glob("*/include/cuda.h")):
        if (path.parent / "cupti_result.h").exists():
            return path.parent
    pytest.skip("no CUPTI and CUDA headers in one folder of this environment")


def all_cases() -> list[Case]:
    """Each call with each code that its header documents; where it has none, with each that ftprof explains."""
    documented, cases = documented_codes(headers()), []
    for call in (*DRIVER, *CUPTI, *SUBSCRIBE, *NAMES):
        codes = documented.get(call) or tuple(explanation._CUPTI)
        for code in codes:
            cases.append(Case(call, code))
            if call not in (*ONCE, *SUBSCRIBE, *NAMES):
                cases.append(Case(call, code, in_the_middle=True))
        cases.append(Case(call, codes[-1], from_then_on=True))
        if call not in (*ONCE, *SUBSCRIBE, *NAMES):
            cases.append(Case(call, codes[-1], in_the_middle=True, from_then_on=True))
    cases += [Case("cuptiRangeProfilerStart", code, in_the_middle=True) for code in explanation._CUPTI]
    cases += [Case("cuCtxSetCurrent", code) for code in explanation._DRIVER]
    return list(dict.fromkeys(cases))


@pytest.mark.slow
def test_every_call_that_fails_with_every_documented_code(folder: Path, tmp_path: Path, outputs: Outputs) -> None:
    cases = all_cases()
    assert len(cases) > 400
    with ThreadPoolExecutor(3) as workers:
        results = workers.map(lambda case: check(folder, tmp_path, outputs, case), cases)
        found = [fault for result in results for fault in result]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("subscribe", [False, True])
def test_these_are_all_calls_of_the_library(standins: Standins, subscribe: bool) -> None:
    """With those above it is all that it asks of the driver and of CUPTI, so that none is left out of the tests."""
    failing = [{"call": call, "threads": "others", "nth": 3, "code": 7} for call in ("cuCtxSetCurrent",)]
    failing += [{"call": "cuptiRangeProfilerStart", "threads": "others", "nth": 9, "code": 7}]
    script = {**SCRIPT, "trace": True, "failures": failing}
    done = wrapped(standins, script, *SHORT, wrap=("-q", *(["--subscribe"] if subscribe else [])), command=ALONE)
    assert done.code == 0
    calls = [line for line in standins.trace() if "call" in line]
    own = {line["tid"] for line in calls if line["call"] in ("cuInit", "cuLaunchKernel", "cuStreamCreate")}
    asked = {line["call"].removesuffix("_v2") for line in calls if line["tid"] not in own}
    asked |= {line["call"] for line in calls if line["call"].startswith("cupti")}
    assert asked - {"InitializeInjection"} <= {*DRIVER, *CUPTI, *NAMES, *SUBSCRIBE, "cuptiUnsubscribe"}
    assert {*CUPTI, *(SUBSCRIBE if subscribe else ())} <= asked


# ---------------------------------------------------------------- calls that succeed and answer nonsense

VALUES = "cuptiProfilerHostEvaluateToGpuValues"
EVERY = {"every": True}
ANSWERED = {
    "passes missing": ("cuptiRangeProfilerStop", {"isAllPassSubmitted": 0}, {}, "not all passes were submitted"),
    "ranges dropped": ("cuptiRangeProfilerDecodeData", {"numOfRangeDropped": 1}, {}, "1 ranges were dropped"),
    "other ranges": ("cuptiRangeProfilerGetCounterDataInfo", {"numTotalRanges": 99}, {}, "99 ranges were decoded"),
    "no number": (VALUES, {"value": "nan"}, {}, "is no exact count: nan"),
    "no finite number": (VALUES, {"value": "inf"}, {}, "is no exact count: inf"),
    "a negative number": (VALUES, {"value": -1}, {}, "is no exact count: -1"),
    "half a count": (VALUES, {"value": 0.5}, {}, "is no exact count: 0.5"),
    "too large to be exact": (VALUES, {"value": 2**53}, {}, "is no exact count: 9007199254740992"),
    **{
        name: ("cuptiProfilerDeviceSupported", {"isSupported": 1, field: level}, EVERY, remedy)
        for name, field, level, remedy in [
            ("a vGPU", "vGpu", 2, "have the host's administrator set enable_profiling=1 for this vGPU"),
            ("confidential", "confidentialCompute", 1, "count on a machine without it, or in its development mode"),
            ("SLI", "sli", 1, "switch SLI off"),
            ("a mining card", "cmp", 1, "use another method"),
            ("WSL", "wsl", 1, "update the Windows driver"),
            ("an old chip", "architecture", 1, "run 'ftprof doctor'"),
        ]
    },
    "several passes": ("cuptiProfilerHostGetNumOfPasses", {"numOfPasses": 2}, EVERY, "takes 2 passes on this device"),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_an_answer_that_cannot_be_used(standins: Standins, outputs: Outputs, name: str) -> None:
    call, results, more, reason = ANSWERED[name]
    moment = {"after_us": MIDDLE_US, "nth": 1} if not more else dict(more)
    for factor in (1, 10):  # a busy machine may not come so far in the short time
        if name == "several passes":
            moment["after_us"] = factor * MIDDLE_US // 2  # the plan is made by then: CUPTI contradicts itself
        rule = {"call": call, "threads": "others", "set": results, **moment}
        seconds = str(0.3 * factor)
        work = standins.work / seconds
        work.mkdir()
        done = wrapped(
            Standins(standins.folder, work), {**SCRIPT, "results": [rule]}, *SHORT, "--seconds", seconds, command=ALONE
        )
        assert (done.code, done.out, done.err) == outputs[SHORT]
        if reason in done.reasons:
            break
    assert done.record["complete"] is False
    assert reason in done.reasons
    assert call.removesuffix("GetNumOfPasses") in done.reasons or name == "several passes"
    assert is_honest(done.record, done.truth())
    assert done.standins.violations() == []


@pytest.mark.parametrize("wrap", [("-q",), ("-q", "--subscribe")])
def test_a_cupti_whose_files_cannot_be_looked_at(
    standins: Standins, outputs: Outputs, tmp_path: Path, wrap: tuple[str, ...]
) -> None:
    """A link that leads to itself: the system gives an error, and no answer."""
    toolkit = tmp_path / "toolkit"
    toolkit.mkdir()
    shutil.copy(standins.folder / "libcupti.so.13", toolkit)
    (toolkit / "libnvperf_host.so").symlink_to("libnvperf_host.so")
    done = wrapped(standins, SCRIPT, *SHORT, wrap=wrap, command=ALONE, CUDA_HOME=str(toolkit))
    assert (done.code, done.out, done.err) == outputs[SHORT]
    assert "libnvperf_host.so" in done.reasons
    assert "missing beside libcupti" in done.reasons
    assert is_honest(done.record, done.truth())


def test_a_cupti_that_is_too_old(standins: Standins, outputs: Outputs) -> None:
    """It is the one that the process has already, and so the only one that can be used."""
    mapped = f"LD_PRELOAD={standins.folder / 'libcupti.so.13'}"
    done = wrapped(standins, {**SCRIPT, "cupti_version": 22}, *SHORT, command=["env", mapped])
    assert (done.code, done.out, done.err) == outputs[SHORT]
    assert done.reasons.startswith("the CUPTI that was found cannot be used: ")
    assert "ftprof needs 12.6 to 13.x" in done.reasons
    assert (done.record["complete"], done.record["method"]) == (False, "peak-bound")
    assert is_honest(done.record, done.truth())


def without_toolkit() -> list[str]:
    """The beginning of a command for which /usr/local/cuda is empty."""
    if not Path("/usr/local/cuda").exists():
        return []
    mounts = "-m" if os.geteuid() == 0 else "-rm"
    hidden = ["unshare", mounts, "sh", "-c", 'mount -t tmpfs none /usr/local/cuda && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*hidden, "true"], capture_output=True).returncode != 0:
        pytest.skip("/usr/local/cuda cannot be hidden here")
    return hidden


def test_no_cupti_at_all(standins: Standins, outputs: Outputs, tmp_path: Path) -> None:
    done = wrapped(standins, SCRIPT, *SHORT, command=[*without_toolkit(), *ALONE], CUDA_HOME=str(tmp_path))
    assert (done.code, done.out, done.err) == outputs[SHORT]
    assert done.reasons.startswith("no CUPTI was found: ")
    assert "pip install 'ftprof[cupti]'" in done.reasons
    assert (done.record["complete"], done.record["method"]) == (False, "peak-bound")
    assert is_honest(done.record, done.truth())


def test_a_device_that_falls_off_the_bus(standins: Standins, tmp_path: Path) -> None:
    """The program fails as it would without ftprof, and the other device is counted to the end."""
    script = {**SCRIPT, "devices": [{"lost": {"after_us": MIDDLE_US, "code": 719, "cupti_code": 9}}, {}]}
    alone = Standins(standins.folder, tmp_path / "bare")
    alone.work.mkdir()
    options = TWO_DEVICES[: TWO_DEVICES.index("--print")] + TWO_DEVICES[TWO_DEVICES.index("--print") + 1 :]
    expected = bare(alone, script, *options)
    done = wrapped(standins, script, *options, command=ALONE)
    assert (done.code, done.err) == (expected.code, expected.err)
    assert sorted(done.out.splitlines()) == sorted(expected.out.splitlines())
    assert done.code != 0
    assert "a kernel of the program failed, and its context with it" in done.reasons
    assert "(cuCtxSetCurrent: error 719, CUDA_ERROR_LAUNCH_FAILED); mend the program" in done.reasons
    assert "cuda:1" not in done.reasons
    assert is_honest(done.record, done.truth())


def test_a_chip_that_nobody_knows_is_bounded_by_nothing(standins: Standins, outputs: Outputs) -> None:
    rule = {"call": "cuptiRangeProfilerEnable", "threads": "others", "every": True, "code": 35}
    script = {**SCRIPT, "devices": [{"capability": "42.0"}], "failures": [rule]}
    done = wrapped(standins, script, *SHORT, command=ALONE)
    assert (done.code, done.out, done.err) == outputs[SHORT]
    assert (done.record["flops"], done.record["high"], done.record["complete"]) == (None, None, False)
    assert {verdict["verdict"] for verdict in done.record["verdicts"]} == {"undetermined"}


def test_a_cupti_that_hangs_holds_up_the_program_s_end_for_two_seconds_at_most(
    standins: Standins, outputs: Outputs
) -> None:
    hang = {"call": "cuptiRangeProfilerDecodeData", "threads": "others", "after_us": MIDDLE_US, "us": 30_000_000}
    began = time.monotonic()
    done = wrapped(standins, {**SCRIPT, "delays": [hang]}, *SHORT, command=ALONE)
    assert time.monotonic() - began < 15
    assert (done.code, done.out, done.err) == outputs[SHORT]
    assert done.record["complete"] is False
    assert "before its last window could be closed" in done.reasons
    assert misses(done) == []


# ---------------------------------------------------------------- the journal's folder

# As its owner without the right to write, which root too can have: without the capability to pass over it.
READ_ONLY = """
import ctypes, os, sys
os.chmod(os.environ["FTPROF_RUN_DIR"], 0o555)
for capability in (1, 2):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_run_directory_that_cannot_be_written_to(standins: Standins, outputs: Outputs) -> None:
    done = wrapped(standins, SCRIPT, *SHORT, command=[sys.executable, "-I", "-S", "-c", READ_ONLY])
    done.folder.chmod(0o755)
    assert (done.code, done.out, done.err) == outputs[SHORT]
    assert done.lines == []
    assert "cannot write its journal: it cannot be opened: not permitted (errno 13)" in done.reasons
    assert (done.record["complete"], done.record["high"]) == (False, None)
    assert {verdict["verdict"] for verdict in done.record["verdicts"]} == {"undetermined"}


def in_the_middle(what: str) -> list[str]:
    """The command that runs the program and does this to the run directory after a while."""
    return ["sh", "-c", f'"$@" & sleep 0.2; {what}; wait $!', "sh"]


@pytest.mark.parametrize("what", ['rm -rf "$FTPROF_RUN_DIR"', 'mv "$FTPROF_RUN_DIR" "$FTPROF_RUN_DIR.away"'])
def test_a_run_directory_that_goes_away(standins: Standins, outputs: Outputs, what: str) -> None:
    done = wrapped(standins, SCRIPT, *SHORT, command=in_the_middle(what))
    assert (done.code, done.out) == outputs[SHORT][:2]
    assert done.err == f"ftprof: no record could be written: run directory {done.folder} is gone, or was moved\n"
    assert not done.path.exists()


def test_a_run_directory_that_is_deleted_and_made_again(standins: Standins, outputs: Outputs) -> None:
    """The library puts its journal back, whole; what ftprof itself had written is missing, and told so."""
    again = 'rm -rf "$FTPROF_RUN_DIR"; mkdir "$FTPROF_RUN_DIR"'
    done = wrapped(standins, SCRIPT, *SHORT, command=in_the_middle(again))
    assert (done.code, done.out, done.err) == outputs[SHORT]
    assert done.record["reasons"] == ["the journal of the ftprof that wrapped the run is missing"]
    assert (done.record["complete"], done.record["high"]) == (False, None)
    assert done.lines[0]["kind"] == "header"
    assert done.lines[-1]["kind"] == "end"
    assert is_honest(done.record, done.truth())


def test_a_journal_that_is_deleted_is_put_back(standins: Standins, outputs: Outputs) -> None:
    done = wrapped(standins, SCRIPT, *SHORT, command=in_the_middle('rm "$FTPROF_RUN_DIR"/*-counters.journal'))
    assert (done.code, done.out, done.err) == outputs[SHORT]
    assert done.record["complete"]
    assert misses(done) == []


def test_a_journal_that_somebody_else_changes(standins: Standins, outputs: Outputs) -> None:
    empty = 'for file in "$FTPROF_RUN_DIR"/*-counters.journal; do : > "$file"; done'
    done = wrapped(standins, SCRIPT, *SHORT, command=in_the_middle(empty))
    assert (done.code, done.out, done.err) == outputs[SHORT]
    assert "cannot write its journal: somebody else has changed it" in done.reasons
    assert (done.record["complete"], done.record["high"]) == (False, None)


LONGER = ("--kernels", "gemm:4000", "--seconds", "2", "--print")  # still there when a busy machine gets to it


@pytest.mark.parametrize("rollup", ["4096", "10"])
@pytest.mark.parametrize("again", [False, True], ids=["for good", "for a while"])
def test_a_disk_that_is_full(standins: Standins, again: bool, rollup: str) -> None:
    """In mid-run, no more is taken of the program's journal. What waits in memory is written once there is room."""
    with running(standins, *LONGER, FTPROF_ROLLUP_LINES=rollup) as wrap:
        program = descendants(wrap.pid)[0]
        resource.prlimit(program, resource.RLIMIT_FSIZE, (journal_size(standins) + 100, resource.RLIM_INFINITY))
        if again:
            time.sleep(0.2)
            resource.prlimit(program, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        out, err = wrap.communicate(timeout=60)
    done = CountedRun(wrap.returncode, out, err, standins.work / "record.json", standins.work / "record.run", standins)
    assert (done.code, done.out, done.err) == (0, "thread 0: gemm 4000\ndone\n", "")
    assert f"process {program}: the counters meter cannot write its journal" in done.reasons
    assert done.record["complete"] is False
    assert (f"process {program} on" in done.reasons) is not again  # its journal has an end
    assert is_honest(done.record, done.truth())
    assert standins.violations() == []


def test_a_disk_that_is_full_for_ftprof_itself(standins: Standins) -> None:
    with running(standins, *LONGER) as wrap:
        resource.prlimit(wrap.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        out, err = wrap.communicate(timeout=60)
    assert (wrap.returncode, out) == (0, "thread 0: gemm 4000\ndone\n")
    assert err.startswith("ftprof: no record could be written: [Errno 27] ")
    assert err.endswith(f"; the journals are in {standins.work / 'record.run'}\n")
    merged = standins.work / "merged.json"
    assert ftprof("merge", str(standins.work / "record.run"), "-o", str(merged)).returncode == 0
    assert "was killed or is still running" in json.loads(merged.read_text())["reasons"][0]


def running(standins: Standins, *options: str, **changes: str) -> subprocess.Popen[str]:
    """``ftprof wrap`` of the program, of which some windows are in the journal."""
    command = [FTPROF, "wrap", "-q", "-o", "record.json", "--run-dir", "record.run", "--", *ALONE]
    # Not measured for coverage: it has files of its own, and speaks of them where the disk is full.
    env = {k: v for k, v in environment(standins, SCRIPT, **changes).items() if not k.startswith("COVERAGE_")}
    wrap = subprocess.Popen(
        [*command, str(standins.folder / "standin_program"), *options],
        env=env, cwd=standins.work, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while journal_size(standins) < 9000 and time.monotonic() < deadline:
        time.sleep(0.005)
    return wrap


def journal_size(standins: Standins) -> int:
    sizes = [0]
    for path in (standins.work / "record.run").glob("*-counters.journal"):
        with contextlib.suppress(OSError):  # a roll-up takes its place
            sizes.append(path.stat().st_size)
    return max(sizes)


# ---------------------------------------------------------------- what the user sees

FAILING: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "refused": ({"call": "cuptiRangeProfilerEnable", "every": True, "code": 35}, (), "only administrators may read"),
    "busy": (
        {"call": "cuptiRangeProfilerStart", "every": True, "code": 26, "nth": 1},  # not when the program may be over
        (),
        "another profiler holds the counters, such as DCGM",
    ),
    "killed": (None, ("--end", "9"), "the command died of signal 9"),
    "several": (None, ("--processes", "3", "--devices", "0,1", "--threads", "2"), ""),
    "good": (None, (), ""),
}


@pytest.mark.parametrize("name", FAILING)
def test_the_closing_block_of_a_real_run(standins: Standins, name: str) -> None:
    rule, options, first_words = FAILING[name]
    script = {**SCRIPT, "devices": 2, "failures": [{"threads": "others", **rule}] if rule else []}
    if name == "several":  # on a stand-in each process has a whole GPU: together they must not pass its peak
        script["kernels"] = {"gemm": {**SCRIPT["kernels"]["gemm"], BF16: SCRIPT["kernels"]["gemm"][BF16] // 4}}
    done = wrapped(standins, script, *SHORT, *options, wrap=(), command=ALONE)
    lines = done.err.splitlines()
    assert lines[0].startswith("ftprof: ")
    assert len(lines) <= 15
    assert max(len(line) for line in lines if not line.startswith(("  journals", "  record", "  next"))) <= 79
    told = [line.removeprefix("  incomplete    ") for line in lines if line.startswith("  incomplete")]
    assert [line.startswith(first_words) for line in told] == [True] * bool(first_words)
    report = ftprof("report", str(done.path))
    assert (report.returncode, report.stderr) == (0, "")
    assert first_words in report.stdout
