"""DESIGN's fourth and sixth points: torch.profiler, a second process, other contexts, GPM, another user."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, between, exactly, within
from gpu_checks.gpu import product, size, sm_clock_mhz, torch_on_gpu
from gpu_checks.probe import Bench
from gpu_checks.stages.ranges import floating
from gpu_checks.wrapped import Start, Wrapped, bare, program, wrap

NOBODY = 65534
AS_NOBODY: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
_GPM = """
import json, sys, time
import pynvml as n
n.nvmlInit()
device = n.nvmlDeviceGetHandleByIndex(0)
first, second = n.nvmlGpmSampleAlloc(), n.nvmlGpmSampleAlloc()
n.nvmlGpmSampleGet(device, first)
time.sleep(float(sys.argv[1]))
n.nvmlGpmSampleGet(device, second)
asked = n.c_nvmlGpmMetricsGet_t()
asked.version, asked.numMetrics, asked.sample1, asked.sample2 = n.NVML_GPM_METRICS_GET_VERSION, 3, first, second
for place, metric in enumerate((5, 7, 2)):
    asked.metrics[place].metricId = metric
n.nvmlGpmMetricsGet(asked)
print(json.dumps({name: asked.metrics[i].value if asked.metrics[i].nvmlReturn == 0 else None
                  for i, name in enumerate(("any tensor", "hmma", "sm"))}))
"""


def profiler_wrapped(findings: Findings) -> None:
    """torch.profiler around some steps of a wrapped training: what it sees, bare and wrapped."""
    command = program("train", "--shape", "medium", "--seconds", place.seconds(4), "--profiler", "--alone", 3)
    plain, counted = bare(command), wrap(command)
    findings.claim("torch.profiler works in a wrapped training", counted.code == 0, counted.err[-300:])
    seen = counted.result["kernels"]
    findings.figure(
        "kernels that torch.profiler saw in three steps, wrapped", [seen], "", exactly(plain.result["kernels"])
    )
    findings.fact("reasons", counted.reasons())
    findings.fact("gaps", [gap["reason"] for context in counted.contexts for gap in context.gaps])


def profiler_windows(findings: Findings) -> None:
    """torch.profiler inside a window, and windows inside torch.profiler."""
    from torch.profiler import ProfilerActivity, profile

    bench = Bench()
    torch = torch_on_gpu()
    work, each = product(size(2048), "bf16", 20)
    work()
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]

    def kernels(seen: Any) -> int:
        return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in seen.events())

    with bench.window(bench.base) as window:
        window.begin()
        with profile(activities=activities) as inside:
            work()
            torch.cuda.synchronize()
        counted = floating(bench, window.end())
    findings.figure("torch.profiler inside a window: counted / asked for", [counted / each], "", exactly(1.0))
    findings.figure("torch.profiler inside a window: kernels it saw", [kernels(inside)], "", between(20, 100))
    with bench.window(bench.base) as window, profile(activities=activities) as around:
        rows = [floating(bench, window.count(work)) / each for _ in range(3)]
    findings.figure("windows inside torch.profiler: counted / asked for", rows, "", exactly(1.0))
    findings.figure("windows inside torch.profiler: kernels it saw", [kernels(around)], "", between(60, 300))


def second_process(findings: Findings) -> None:
    """A wrapped process that does nothing, beside a bare one that works all the while."""
    idle = program("tiny", "--wait", "--idle", place.seconds(4), "--seconds", 0)
    with tempfile.TemporaryDirectory(dir=place.work()) as folder, Start(idle, Path(folder)) as running:
        running.until_ready()
        busy = bare(program("tiny", "--seconds", place.seconds(3), "--pause", 0))
        idle_run = running.wait()
    findings.figure(
        "an idle process beside a busy one: counted", [idle_run.floating(part="measured")], "FLOP", exactly(0)
    )
    findings.figure("the busy process: operations", [busy.result["count"]], "FLOP")
    findings.fact("reasons", idle_run.reasons())
    cycles = sum(n for c in idle_run.contexts for w in c.windows for m, n in w.counts.items() if c.kinds[m] == "cycles")
    findings.figure("an idle process beside a busy one: SM-active cycles", [cycles], "cycles")


def two_wrapped(findings: Findings) -> None:
    """Two wrapped processes at work on one GPU."""
    command = program("tiny", "--wait", "--seconds", place.seconds(6), "--pause", 0.002, "--alone", 5)
    folders = [Path(tempfile.mkdtemp(prefix="run-", dir=place.work())) for _ in range(2)]
    with Start(command, folders[0]) as first, Start(command, folders[1]) as second:
        runs = [first.wait(), second.wait()]
    for number, run in enumerate(runs, 1):
        _against_truth(findings, f"two wrapped processes, the {('first', 'second')[number - 1]}", run)


def _against_truth(findings: Findings, name: str, run: Wrapped, share: float = 0.02) -> None:
    result, record = run.result, run.record or {}
    truth = result["count"]
    findings.figure(f"{name}: record / truth, difference", [run.floating() / truth - 1], "", within(share))
    low = sum(int(row["low"]) for row in record.get("precisions", []) if row["kind"] == "floating")
    high = record.get("high")
    holds = low <= truth and (high is None or truth <= int(high))
    findings.claim(f"{name}: the interval holds the truth", holds, f"{low} to {high}, truth {truth}")
    findings.fact(name, {"code": run.code, "method": record.get("method"), "reasons": run.reasons()})


def other_context(findings: Findings) -> None:
    """Work on a context of cuCtxCreate: not counted and said so; counted under --subscribe."""
    command = program("tiny", "--created", "--seconds", place.seconds(4))
    plain = wrap(command)
    record = plain.record or {}
    open_above = record.get("high") is None and not plain.floating()
    findings.claim(
        "a context of cuCtxCreate is not counted, and the interval is open above", open_above, str(plain.reasons())
    )
    findings.fact("without --subscribe", {n: record.get(n) for n in ("method", "flops", "high", "complete", "reasons")})
    subscribed = wrap(command, ("--subscribe",))
    _against_truth(findings, "a context of cuCtxCreate under --subscribe", subscribed, 0.3)


def gpm(findings: Findings) -> None:
    """NVML's own estimate of tensor activity: alone, beside a window, and as another user."""
    torch = torch_on_gpu()
    bench = Bench()
    work, each = product(size(4096), "bf16", 160)
    work()
    cases: list[tuple[str, bool, int | None]] = [("alone", False, None), ("beside a window", True, None)]
    if why := why_no_nobody():
        findings.note(f"GPM as nobody, not tried: {why}")
    else:
        cases.append(("as nobody", False, NOBODY))
    for name, inside, user in cases:
        torch.cuda.synchronize()
        with bench.window(bench.base) as window:
            if inside:
                window.begin()
            asked, began, clocks = 0, time.perf_counter(), []
            sampler = _sampler(place.seconds(1.5), user)
            while sampler.poll() is None:
                work()
                torch.cuda.synchronize()
                asked += each
                clocks.append(sm_clock_mhz() or 0)
            took = time.perf_counter() - began
            out, err = sampler.communicate()
            if inside:
                findings.figure(
                    "GPM beside a window: counted / asked for",
                    [floating(bench, window.end()) / asked],
                    "",
                    exactly(1.0),
                )
        findings.claim(f"GPM {name} answers", sampler.returncode == 0, err[-300:])
        findings.fact(
            f"GPM {name}", {"percent": out.strip(), "flop_per_s": asked / took, "sm_mhz": clocks[len(clocks) // 2]}
        )


def _sampler(seconds: float, user: int | None) -> subprocess.Popen[str]:
    command = ["-c", _GPM, str(seconds)]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    if user is None:
        return subprocess.Popen([place.PYTHON, *command], **streams)
    return subprocess.Popen(
        [python_of_nobody(), *command], cwd="/", env=_environment_of_nobody(), **AS_NOBODY, **streams
    )


def another_user(findings: Findings) -> None:
    """``ftprof wrap`` as nobody: the program runs, and the record says why nothing was counted, if nothing was."""
    if why := why_no_nobody():
        findings.note(f"not tried: {why}")
        return
    folder = _for_nobody()
    arguments = ["-q", "-o", f"{folder}/record.json", "--method", "counters", "--", python_of_nobody()]
    arguments += [f"{folder}/scripts/gpu_check", *program("tiny", "--seconds", place.seconds(2))[2:]]
    done = subprocess.run(
        [python_of_nobody(), "-m", "ftprof", "wrap", *arguments], capture_output=True, text=True, timeout=60,
        cwd=folder, env=_environment_of_nobody(), **AS_NOBODY,
    )  # fmt: skip
    record = folder / "record.json"
    content = json.loads(record.read_text()) if record.exists() else {}
    runs = done.returncode == 0 and "RESULT" in done.stdout
    findings.claim("the program of another user runs", runs, done.stderr[-300:])
    counted = int(content.get("flops") or 0)
    says_why = bool(content.get("reasons")) and content.get("complete") is False
    findings.claim("its record has a count, or says why not", bool(counted) or says_why, str(content.get("reasons")))
    findings.fact(
        "record of another user", {n: content.get(n) for n in ("method", "flops", "high", "complete", "reasons")}
    )


def why_no_nobody() -> str:
    """Why nothing can be run as nobody; empty if it can."""
    if os.getuid():
        return "this is no root that could become another user"
    try:
        done = subprocess.run([python_of_nobody(), "-c", "import ctypes"], cwd="/", capture_output=True, **AS_NOBODY)
    except OSError as error:
        return f"nobody cannot run a Python here: {error}"
    return "nobody's Python does not run" if done.returncode else ""


@functools.cache
def python_of_nobody() -> str:
    """A Python of this version that nobody can run: this environment may lie where only root may look."""
    for python in (place.PYTHON, sys._base_executable, f"/usr/bin/python3.{sys.version_info.minor}"):  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            if not subprocess.run([python, "-c", "pass"], cwd="/", capture_output=True, **AS_NOBODY).returncode:
                return str(python)
    raise PermissionError(f"none that is Python 3.{sys.version_info.minor}")


@functools.cache
def _for_nobody() -> Path:
    """A folder with all that these programs import, which nobody can read and write."""
    folder = Path(tempfile.mkdtemp(prefix="gpu-check-"))
    for name in ("ftprof", "click", "pynvml"):
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin) if spec and spec.origin else None
        if origin and origin.name == "__init__.py":
            shutil.copytree(origin.parent, folder / name)
        elif origin:
            shutil.copy(origin, folder)
    shutil.copytree(place.REPOSITORY / "scripts", folder / "scripts")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o755)
    return folder


def _environment_of_nobody() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_for_nobody()), "HOME": str(_for_nobody()), place.WORK: str(_for_nobody())}


STAGE = Stage(
    "neighbours",
    "DESIGN 4 and 6: torch.profiler, second processes, other contexts, GPM, another user",
    (
        Experiment("profiler-wrapped", profiler_wrapped, 40, "Does torch.profiler work in a wrapped training?"),
        Experiment("profiler-windows", profiler_windows, 20, "Do windows and torch.profiler get on, inside out?"),
        Experiment("second-process", second_process, 15, "Does a window count another process's work?"),
        Experiment("two-wrapped", two_wrapped, 20, "Can two processes on one GPU be counted at once?"),
        Experiment("other-context", other_context, 20, "Are contexts of cuCtxCreate said to be uncounted, or counted?"),
        Experiment("gpm", gpm, 25, "Does GPM work beside a window, and without root?"),
        Experiment("another-user", another_user, 10, "What does a user without the privilege get?"),
    ),
)
