"""What makes work slower inside a window: short kernels one by one, few long ones, and the GPU at its power limit."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings
from gpu_checks.gpu import Clocks, product, size, timed, torch_on_gpu
from gpu_checks.probe import Bench, Window

PAIRS = 4
BLOCK_S = 0.5


def _compare(findings: Findings, name: str, windows: dict[str, Window], work: Callable[[], None]) -> None:
    """The same work bare and in a window of each kind, in turn, so long that clocks settle."""
    once = statistics.median(timed(work, 3))
    times = max(3, round(place.seconds(BLOCK_S) / once))
    took: dict[str, list[float]] = {"bare": [], **{kind: [] for kind in windows}}
    clocks: dict[str, list[dict[str, float | None]]] = {kind: [] for kind in took}

    def measure(kind: str) -> None:
        timed(work, max(1, times // 4))
        with Clocks() as seen:
            took[kind].append(statistics.fmean(timed(work, times)))
        clocks[kind].append(seen.facts())

    for _ in range(place.rounds(PAIRS)):
        measure("bare")
        for kind, window in windows.items():
            window.begin()
            measure(kind)
            window.end()
    for kind in windows:
        findings.figure(f"{name}: {kind} / bare", [a / b for a, b in zip(took[kind], took["bare"], strict=True)])
    findings.fact(name, {"ms": {kind: [1e3 * t for t in values] for kind, values in took.items()}, "clocks": clocks})


def inside(findings: Findings) -> None:
    """Bare against a window of the base group, and against one that counts cycles alone."""
    bench = Bench()
    torch = torch_on_gpu()
    few = torch.ones(1 << 10, device="cuda")
    many = torch.ones(1 << 28, device="cuda")
    long, _ = product(size(8192), "fp64")
    hot, _ = product(size(8192), "bf16", 20)
    hot()

    def short() -> None:
        for _ in range(200):
            few.mul_(1.0)

    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        for _ in range(200):
            few.mul_(1.0)

    cases: dict[str, Callable[[], None]] = {
        "200 launches of a short kernel": short,
        "a graph of 200 short kernels": lambda: graph.replay(),
        "one long kernel that waits for memory": lambda: many.mul_(1.0),
        "one long fp64 product": long,
        "bf16 products at the power limit": hot,
    }
    cycles = [metric for metric in bench.base if bench.kind(metric) == "cycles"]
    for kind, metrics in (("in a window", bench.base), ("in a window of cycles alone", cycles)):
        with bench.window(metrics) as window:
            for name, work in cases.items():
                if kind == "in a window" or name.startswith(("bf16", "200")):
                    _compare(findings, name, {kind: window}, work)


STAGE = Stage(
    "slowdown",
    "what makes work slower inside a window",
    (Experiment("inside", inside, 70, "Each launch, the kernels, or the clocks at the power limit?"),),
)
