"""What other tools and CUDA-core windows cost the same training, in one process: blocks of steps, in turn."""

from __future__ import annotations

import contextlib
import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from gpu_checks import ncu, place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings
from gpu_checks.probe import roots
from gpu_checks.stages.slots import SEED, Blocks
from gpu_checks.wrapped import bare, program

ROUNDS = 3
BLOCK_S = 3.0
PROFILED_S = 0.5  # torch.profiler keeps every event: longer blocks measure its memory
Tool = Callable[[], contextlib.AbstractContextManager[object]]


@contextlib.contextmanager
def _cuda_core() -> Iterator[object]:
    """ftprof's meter with CUDA-core windows; the stage ``shipped`` has it without.

    Raises ``RuntimeError`` where it opens no window.
    """
    from ftprof import _native

    (context,) = _native.cuda_contexts()
    meter = _native.ContextMeter(context, SEED, cuda_core=True)
    try:
        if not meter.await_window(30.0):
            raise RuntimeError("no window came")
        yield meter
    finally:
        meter.stop()
        meter.ended(20.0)


def _profiler() -> contextlib.AbstractContextManager[object]:
    from torch.profiler import ProfilerActivity, profile

    return profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])


def _formulas() -> contextlib.AbstractContextManager[object]:
    counter: Any = importlib.import_module("torch.utils.flop_counter")
    mode: contextlib.AbstractContextManager[object] = counter.FlopCounterMode(display=False)
    return mode


TOOLS: tuple[tuple[str, Tool, float, int], ...] = (  # name, around a block, its seconds, how many blocks
    ("torch.profiler", _profiler, PROFILED_S, ROUNDS),
    ("FlopCounterMode", _formulas, BLOCK_S, ROUNDS),
    # Last, and once: what was patched stays slower, which would be in every block behind it.
    ("ftprof's meter with CUDA-core windows", _cuda_core, BLOCK_S, 1),
)


def _ratio(blocks: Blocks, tool: Tool, seconds: float) -> float:
    """The time of a step inside the tool over that of a bare one before it. Its own start and end are not in it."""
    bare_steps, bare_s = blocks.time(seconds)
    with tool():
        steps, took_s = blocks.time(seconds)
    return (took_s / steps) / (bare_s / bare_steps)


def _compare(findings: Findings, name: str, mode: str) -> None:
    from ftprof import _native

    blocks = Blocks(name, mode)
    _native.load_cupti(roots())
    rows: dict[str, Any] = {}
    for tool, around, seconds, rounds in TOOLS:
        ratios: list[float] = []
        try:
            ratios.extend(_ratio(blocks, around, place.seconds(seconds)) for _ in range(place.rounds(rounds)))
        except Exception as error:  # a tool that cannot do it is a result
            findings.note(f"{tool}, {mode}, {name}: {type(error).__name__}: {str(error)[:200]}")
        findings.figure(f"{mode}, {name}: with {tool} / bare", ratios)
        rows[tool] = ratios
    findings.fact("row", {"name": f"{mode}, {name}", "step_ms": 1e3 * blocks.step_s, "ratios": rows})


def _under_nsight(findings: Findings, name: str) -> None:
    """A step under Nsight Compute, which lets one kernel run at a time, against the same step bare."""
    found = ncu.executable()
    if found is None:
        findings.note("Nsight Compute (ncu) is not installed here")
        return
    command = program("one-step", "--shape", name)
    plain = [bare(command).result["step_s"] for _ in range(place.rounds(2))]
    with_it = ncu.result(found, command, ["sm__cycles_active.sum"], 150)["step_s"]
    findings.figure(f"eager, {name}: with Nsight Compute / bare", [with_it / statistics.median(plain)])
    findings.fact(f"{name}, one metric, one step", {"bare_s": plain, "nsight_s": with_it})


def nsight(findings: Findings) -> None:
    """One metric that needs one pass: the least that it can cost."""
    began = time.monotonic()
    for name in ("large", "small"):
        _under_nsight(findings, name)
    findings.fact("seconds", time.monotonic() - began)


def _experiment(name: str, mode: str, expected_s: float) -> Experiment:
    def act(findings: Findings) -> None:
        _compare(findings, name, mode)

    return Experiment(
        f"{mode}-{name}", act, expected_s, f"What does each tool cost a training, {mode}, {name} kernels?"
    )


STAGE = Stage(
    "tools",
    "what other tools and CUDA-core windows cost a training, paired and in turn in one process",
    (
        _experiment("large", "eager", 50),
        _experiment("small", "eager", 50),
        _experiment("large", "graphs", 45),
        _experiment("small", "graphs", 45),
        Experiment("nsight", nsight, 60, "And Nsight Compute, one step of one metric?"),
    ),
)
STAGE_COMPILED = Stage(
    "tools-compile",
    "the same for compiled trainings",
    (_experiment("large", "compile", 90), _experiment("small", "compile", 90)),
)
