"""DESIGN's fifth point: CUDA-core operations in patched windows, the slowdown, and what stays slow afterwards."""

from __future__ import annotations

import statistics
import time
from typing import Any

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, at_most, exactly
from gpu_checks.gpu import median_time, timed, torch_on_gpu
from gpu_checks.kernels import KERNELS
from gpu_checks.model import Training, shape
from gpu_checks.probe import Bench
from gpu_checks.tiny import BLOCKS, ROUNDS, Program

_THREADS, _BLOCKS, _LOOPS = 256, 1024, 500
_SOURCE = r"""
extern "C" __global__ void known(float* out, float factor) {
  float value = out[blockIdx.x * blockDim.x + threadIdx.x];
#pragma unroll 1
  for (int i = 0; i < 500; ++i) {
    asm volatile("fma.rn.f32 %0, %0, %1, %1;" : "+f"(value) : "f"(factor));
    asm volatile("fma.rn.f32 %0, %0, %1, %1;" : "+f"(value) : "f"(factor));
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = value;
}
"""


def instructions(findings: Findings) -> None:
    """Kernels of known instructions, assembled by the driver: each count of the CUDA-core group."""
    bench = Bench()
    (metrics,) = bench.metrics("cuda-core")
    torch = torch_on_gpu()
    with bench.window(metrics) as window:
        findings.fact("passes", window.session.passes)
        for name in ("fadd", "fmul", "ffma", "dadd", "dmul", "dfma", "hfma", "integer"):
            program = Program(name, created=False)
            program.launch()
            program.synchronize()
            rows = [window.count(program.launch) for _ in range(place.rounds(3))]
            expected = KERNELS[name].count(BLOCKS, ROUNDS)
            if expected:
                counted = [row[KERNELS[name].metric] for row in rows]
                findings.figure(f"patched: {name} instructions of threads", counted, "", exactly(expected))
            others = [
                sum(n for m, n in row.items() if m != KERNELS[name].metric and bench.kind(m) == "cuda-core")
                for row in rows
            ]
            findings.figure(f"patched: {name} kernel, all other floating-point instructions", others, "", exactly(0))
            if name == "ffma":
                bench.save(findings, "cuda-core", window, rows[-1])
    torch.cuda.synchronize()


def raw_kernel(findings: Findings) -> None:
    """A cupy RawKernel of known multiply-adds: its count, and its time bare, in a patched window and afterwards."""
    try:
        import cupy
    except ImportError as error:
        findings.note(f"not tried: {error}")
        return
    bench = Bench()
    kernel = cupy.RawKernel(_SOURCE, "known")
    values = cupy.zeros(_THREADS * _BLOCKS, dtype=cupy.float32)

    def work() -> None:
        kernel((_BLOCKS,), (_THREADS,), (values, cupy.float32(0.5)))

    _slowdown(findings, bench, "cupy RawKernel", work, KERNELS["ffma"].metric, 2 * _LOOPS * _THREADS * _BLOCKS)


def step(findings: Findings) -> None:
    """One training step in a patched window: what it counts, and how much slower it is."""
    bench = Bench()
    training = Training(shape("medium"))
    training.run(5)
    _slowdown(findings, bench, "training step", training.step, None, None)
    tensor = bench.count_all(training.step)
    core = bench.count_all(training.step, ["cuda-core"])
    operations = sum(bench.weight(metric) * count for metric, count in core.items())
    total = sum(tensor.values())
    findings.fact("counts of a step", {**tensor, **core})
    findings.figure("training step: CUDA-core / tensor-core operations", [operations / max(total, 1)], "")


def graphs(findings: Findings) -> None:
    """Launches of a CUDA graph in a patched window, by when the graph was captured and instantiated."""
    bench = Bench()
    torch = torch_on_gpu()
    (metrics,) = bench.metrics("cuda-core")
    values = torch.ones(1 << 20, device="cuda")

    def act() -> None:
        torch.mul(values, 1.0, out=values)

    def captured() -> Any:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            act()
        return graph

    act()
    made = {"before the session": captured()}
    with bench.window(metrics) as window:
        made["in the session, before any window"] = captured()
        direct = window.count(act)
        made["after a window in which its kernel ran"] = captured()
        findings.fact("one launch", direct)
        for name, graph in made.items():
            rows = [window.count(graph.replay) for _ in range(place.rounds(3))]
            for metric in (m for m, n in direct.items() if n):
                ratios = [row[metric] / direct[metric] for row in rows]
                findings.figure(f"patched: a graph captured {name}, {metric}: counted / one launch", ratios)


def _slowdown(findings: Findings, bench: Bench, name: str, work: Any, metric: str | None, expected: int | None) -> None:
    (metrics,) = bench.metrics("cuda-core")
    work()
    before = timed(work, place.rounds(15))
    usual = statistics.median(before)
    with bench.window(metrics) as window:
        enabled = timed(work, place.rounds(10))
        first = _seconds(lambda: window.count(work))
        rows, inside = [], []
        for _ in range(place.rounds(5)):
            window.begin()
            inside += timed(work, 1)
            rows.append(window.end())
        between = timed(work, place.rounds(10))
    after = timed(work, place.rounds(15))
    if metric is not None and expected is not None:
        findings.figure(f"{name}: multiply-adds of threads", [row[metric] for row in rows], "", exactly(expected))
    findings.figure(f"{name}: bare", [1e3 * t for t in before], "ms")
    findings.figure(f"{name}: first patched window, whole", [1e3 * first], "ms")
    findings.figure(f"{name}: in a patched window / bare", [t / usual for t in inside], "")
    findings.figure(f"{name}: enabled, before any window / bare", [t / usual for t in enabled], "")
    findings.figure(f"{name}: enabled, between patched windows / bare", [t / usual for t in between], "")
    findings.figure(f"{name}: after all patched windows / bare", [t / usual for t in after], "", at_most(1.02))


def _seconds(act: Any) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def link(findings: Findings) -> None:
    """The hardware group that extends patched windows to all cycles: its instructions against the patched count."""
    bench = Bench()
    training = Training(shape("medium"))
    training.run(5)
    hardware = []
    for metrics in bench.metrics("link"):
        with bench.window(metrics) as window:
            hardware = [window.count(training.step) for _ in range(place.rounds(3))]
    (patched,) = bench.metrics("cuda-core")
    with bench.window(patched) as window:
        code = [window.count(training.step) for _ in range(place.rounds(3))]
    name = next(m for m in patched if bench.kind(m) == "instructions")
    other = next(m for m in hardware[0] if bench.kind(m) == "instructions")
    ratios = [a[name] / max(b[other], 1) for a, b in zip(code, hardware, strict=True)]
    findings.figure("thread instructions of a step, patched / hardware", ratios, "")
    findings.figure("step time, for information", [1e3 * median_time(training.step)], "ms")


STAGE = Stage(
    "cuda-core",
    "DESIGN 5: CUDA-core operations in patched windows, and what they cost",
    (
        Experiment("instructions", instructions, 20, "Are known CUDA-core instructions counted exactly?"),
        Experiment("raw-kernel", raw_kernel, 20, "Are a cupy RawKernel's, and how much slower is it?"),
        Experiment("step", step, 40, "How slow is a training step in a patched window, and afterwards?"),
        Experiment("graphs", graphs, 15, "Are launches of CUDA graphs?"),
        Experiment("link", link, 25, "Do patched and hardware instruction counts agree?"),
    ),
)
