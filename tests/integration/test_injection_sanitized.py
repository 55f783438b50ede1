"""The injection library under sanitizers, from the sources that ship; its program and the stand-ins have them too.

FTPROF_SANITIZED may name a folder that holds builds already, called ``thread`` and ``address``.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, clean_environment, ftprof
from cuda_standins import BF16, CMAKE, FFMA, Standins

from ftprof.record.journal import Journal, read_journal

BUILT = os.environ.get("FTPROF_SANITIZED")
SANITIZERS = {"thread": "thread", "address": "address,undefined"}
TARGETS = ("ftprof_inject", "standin_program", "ftprof_standin_cupti", "ftprof_standin_driver")
TARGETS += ("ftprof_standin_nvperf_host", "ftprof_standin_nvperf_target", "ftprof_inject_test", "ftprof_inject_hammer")
SCRIPT: dict[str, Any] = {
    "devices": 2,
    "kernels": {"gemm": {BF16: 2**31, FFMA: 10, "smsp__sass_thread_inst_executed": 99, "duration_us": 100}},
}
LAUNCHES = ("--threads", "4", "--devices", "0,1", "--kernels", "gemm:3000")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=SANITIZERS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a build with a sanitizer; each test runs on both. Made once for all of pytest's workers."""
    if BUILT:
        return Path(BUILT, request.param)
    if CMAKE is None:
        pytest.skip("no CMake")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "sanitized" / request.param
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            build(CMAKE, folder, SANITIZERS[request.param])
            (folder / "complete").touch()
    return folder


def build(cmake: str, folder: Path, sanitizer: str) -> None:
    options = ["-DFTPROF_PYTHON=OFF", "-DFTPROF_STANDINS=ON", "-DFTPROF_TESTS=ON", "-DCMAKE_BUILD_TYPE=Debug"]
    options += [f"-DFTPROF_SANITIZE={sanitizer}", f"-DFTPROF_HEADER_ROOTS={sysconfig.get_path('purelib')}"]
    command = [cmake, "-S", str(REPOSITORY), "-B", str(folder), *options]
    configured = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if "No CUPTI and CUDA headers found" in configured.stderr:
        pytest.skip("no CUPTI and CUDA headers")
    assert configured.returncode == 0, configured.stderr
    command = [cmake, "--build", str(folder), "--parallel", "2", "--target", *TARGETS]
    subprocess.run(command, check=True, capture_output=True, timeout=900)


class Sanitized:
    """A run without ``ftprof wrap``, whose own process has no sanitizer."""

    def __init__(self, built: Path, tmp_path: Path) -> None:
        self.built = built
        self.standins = Standins(built / "standins", tmp_path)
        self.journals = tmp_path / "run"
        self.journals.mkdir()

    def run(self, script: dict[str, Any], command: Sequence[str], **changes: str) -> subprocess.CompletedProcess[str]:
        library = self.built / "csrc" / "inject" / "libftprof_inject.so"
        env = self.standins.environment(
            script,
            **{
                "CUDA_HOME": str(self.standins.folder),
                "CUDA_INJECTION64_PATH": str(library),
                "FTPROF_RUN_DIR": str(self.journals),
                "FTPROF_RUN_ID": "run",
                "FTPROF_SLOT_US": "2000,2000",
                "FTPROF_CUDA_CORE": "1",
                "FTPROF_COUNTERS_SEED": "5",
                "FTPROF_ROLLUP_LINES": "60",
                "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
                "TSAN_OPTIONS": "second_deadlock_stack=1",
                "UBSAN_OPTIONS": "print_stacktrace=1",
                **changes,
            },
        )
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)

    def program(self, *options: str) -> list[str]:
        return [str(self.standins.folder / "standin_program"), *options]

    def run_for_windows(self, script: dict[str, Any], options: Sequence[str], count: int, **changes: str) -> None:
        """Run the program, cleanly and so long that there are more windows than that: a busy machine makes few."""
        for seconds in (1, 5, 25):
            done = self.run(script, self.program(*LAUNCHES, "--seconds", str(seconds), *options), **changes)
            assert is_clean(done), (done.returncode, done.stdout, done.stderr)
            windows = sum(journal.windows for journal in self.read())
            if windows > count:
                return
        raise AssertionError(f"only {windows} windows")

    def read(self) -> list[Journal]:
        """The journals of all runs so far that can be read."""
        journals = [read_journal(path) for path in self.journals.glob("*.journal")]
        return [journal for journal in journals if journal is not None]

    def check_journals(self) -> None:
        """They verify."""
        if not list(self.journals.iterdir()):
            return
        done = ftprof("merge", str(self.journals), "-o", str(self.journals / "record.json"))
        assert done.returncode == 0, done.stderr


@pytest.fixture
def sanitized(built: Path, tmp_path: Path) -> Iterator[Sanitized]:
    sanitized = Sanitized(built, tmp_path)
    yield sanitized
    assert sanitized.standins.violations() == []
    sanitized.check_journals()


def is_clean(done: subprocess.CompletedProcess[str], code: int = 0) -> bool:
    """Whether no sanitizer has said anything; each ends the program with a code of its own."""
    assert not re.search("Sanitizer|runtime error", done.stdout + done.stderr), done.stderr[:4000]
    return (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize(
    "options",
    [
        ["--graphs", "--create-context"],
        ["--capture", "--reset"],
        ["--processes", "8", "--graphs"],
        ["--fork", "after"],
        ["--fork", "before", "--end", "exit"],
        ["--no-synchronize", "--end", "exit"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("subscribe", ["", "1"], ids=["", "subscribe"])
def test_the_program(sanitized: Sanitized, options: list[str], subscribe: str) -> None:
    if sanitized.built.name == "address" and "after" in options:
        pytest.skip("its allocator's locks do not survive the fork of a process with threads")
    sanitized.run_for_windows(SCRIPT, options, 30, FTPROF_SUBSCRIBE=subscribe)


@pytest.mark.parametrize("subscribe", ["", "1"], ids=["", "subscribe"])
def test_everything_at_once(sanitized: Sanitized, subscribe: str) -> None:
    hammer = str(sanitized.built / "tests" / "native" / "ftprof_inject_hammer")
    for seconds in ("3", "15"):  # a busy machine makes few windows a second
        done = sanitized.run(SCRIPT, [hammer, seconds], FTPROF_SUBSCRIBE=subscribe)
        assert is_clean(done), (done.returncode, done.stdout, done.stderr)
        journal = max(sanitized.read(), key=lambda journal: journal.windows)
        if journal.windows > 30:
            break
    roles = {group.role for context in journal.contexts for group in context.groups}
    assert "cuda-core" in roles
    assert len(journal.contexts) > (20 if subscribe else 1)
    assert journal.windows > 30
    assert journal.end is not None


def test_an_end_while_a_window_cannot_be_closed(sanitized: Sanitized) -> None:
    script = {**SCRIPT, "delays": [{"call": "cuptiRangeProfilerDecodeData", "nth": 20, "us": 60_000_000}]}
    began = time.monotonic()
    # A thread that hangs was not joined, and the search for leaks crashes on it.
    quiet = {"TSAN_OPTIONS": "report_thread_leaks=0", "ASAN_OPTIONS": "detect_leaks=0"}
    done = sanitized.run(script, sanitized.program(*LAUNCHES, "--seconds", "1"), **quiet)
    assert is_clean(done), (done.returncode, done.stdout, done.stderr)
    assert time.monotonic() - began < 8


def test_an_end_while_the_counters_are_planned(sanitized: Sanitized) -> None:
    """Objects of ours that exit handlers destroy would be used after their end."""
    script = {**SCRIPT, "delays": [{"call": "cuptiProfilerHostGetMetricProperties", "us": 10_000}]}
    done = sanitized.run(script, sanitized.program("--kernels", "gemm:100", "--seconds", "0.3"))
    assert is_clean(done), (done.returncode, done.stdout, done.stderr)


def test_every_call_that_fails_now_and_then(sanitized: Sanitized) -> None:
    """Whatever fails, nothing leaks, and nothing is used after its end."""
    calls = ["Enable", "GetCounterDataSize", "CounterDataImageInitialize", "SetConfig", "Start", "PushRange"]
    calls = [f"cuptiRangeProfiler{call}" for call in [*calls, "PopRange", "Stop", "DecodeData"]]
    calls += ["cuptiProfilerHostConfigAddMetrics", "cuptiProfilerHostEvaluateToGpuValues", "cuCtxSetCurrent"]
    calls += ["cuDevicePrimaryCtxGetState", "cuDevicePrimaryCtxRetain", "cuptiProfilerGetCounterAvailability"]
    failures = [
        {"call": call, "nth": nth, "code": 999, "threads": "others"}
        for number, call in enumerate(calls)
        for nth in range(2 + number, 200, 17)
    ]
    sanitized.run_for_windows({**SCRIPT, "failures": failures}, ["--reset"], 5, FTPROF_SUBSCRIBE="1")


def parts(built: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(built / "tests" / "native" / "ftprof_inject_test"), *arguments]
    return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)


def test_the_parts(built: Path) -> None:
    done = parts(built)
    assert is_clean(done), done.stderr
    assert done.stdout == "ok\n"


def test_a_rolled_up_journal_is_the_same_as_one_that_is_not(built: Path, tmp_path: Path) -> None:
    """Of the very same windows, whose counts go up to 2^53."""
    contexts = []
    for lines in (10**9, 1000, 100):
        folder = tmp_path / str(lines)
        folder.mkdir()
        done = parts(built, "journal", str(folder), str(lines))
        assert is_clean(done), done.stderr
        (path,) = folder.glob("*.journal")
        assert (b'"kind":"rollup"' in path.read_bytes()) is (lines < 10**9)
        journal = read_journal(path)
        assert journal is not None
        assert journal.windows == 3 * 34 * 40
        found = journal.contexts
        contexts.append([(c.groups, c.begin_us, c.last_us, c.windows, c.gaps, c.tally.strata) for c in found])
    assert contexts[0] == contexts[1] == contexts[2]
    assert len(contexts[0]) == 3


def test_a_sanitizer_is_at_work(built: Path, tmp_path: Path) -> None:
    """Else all of this would show nothing."""
    name = "__tsan_init" if built.name == "thread" else "__asan_init"
    for part in ("csrc/inject/libftprof_inject.so", "standins/standin_program", "standins/libcupti.so.13"):
        assert name.encode() in (built / part).read_bytes()
