"""What makes work slower under counting: a session that is enabled, a pass, a window, or the edges between windows."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence

from gpu_checks import place, watched
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings
from gpu_checks.gpu import product, size, timed, torch_on_gpu
from gpu_checks.probe import Bench, Window
from gpu_checks.stages.slots import Blocks

PAIRS = 4
BLOCK_S = 0.4
ROUNDS = 5
TRAINING_S = 3.0


class Timings:
    """Of the same work in several states, in turn: medians of blocks, with the clocks beside them."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.clocks: dict[str, list[dict[str, float | str]]] = {}

    def measure(self, state: str, block: Callable[[], Sequence[float]]) -> None:
        """One block, which gives the seconds of each of its parts."""
        with watched.clocks() as clocks:
            parts = block()
        self.seconds.setdefault(state, []).append(statistics.fmean(parts))
        self.clocks.setdefault(state, []).append(watched.mean_clocks(clocks))

    def tell(self, findings: Findings, name: str) -> None:
        """Each state over bare, round by round, and all that was measured."""
        for state, seconds in self.seconds.items():
            if state != "bare":
                ratios = [a / b for a, b in zip(seconds, self.seconds["bare"], strict=True)]
                findings.figure(f"{name}: {state} / bare", ratios)
        findings.fact(name, {"seconds": self.seconds, "clocks": self.clocks})


def _compare(findings: Findings, bench: Bench, name: str, work: Callable[[], None]) -> None:
    """Some work in each state, so long that clocks settle."""
    once = statistics.median(timed(work, 3))
    times = max(3, round(place.seconds(BLOCK_S) / once))
    timings = Timings()

    def block() -> list[float]:
        timed(work, max(1, times // 4))
        return timed(work, times)

    for _ in range(place.rounds(PAIRS)):
        timings.measure("bare", block)
        with bench.window(bench.base) as window:
            timings.measure("session enabled", block)
            window.begin()
            timings.measure("in a window", block)
            window.end()
    timings.tell(findings, name)


def kernels(findings: Findings) -> None:
    """Kernels alone: short ones launched one by one or by a graph, long ones, and products at the power limit."""
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
        short()
    cases: dict[str, Callable[[], None]] = {
        "200 launches of a short kernel": short,
        "a graph of 200 short kernels": lambda: graph.replay(),
        "one long kernel that waits for memory": lambda: many.mul_(1.0),
        "one long fp64 product": long,
        "bf16 products at the power limit": hot,
    }
    for name, work in cases.items():
        _compare(findings, bench, name, work)


def training(findings: Findings) -> None:
    """A training of large kernels in each state between bare and windows that come and go."""
    bench = Bench()
    blocks = Blocks("large", "eager")
    timings = Timings()

    def block() -> list[float]:
        return blocks.chunks(place.seconds(TRAINING_S))

    for _ in range(place.rounds(ROUNDS)):
        timings.measure("bare", block)
        with bench.window(bench.base, ranges=64) as window:
            timings.measure("session enabled", block)
            window.begin()
            timings.measure("in a window", block)
            timings.measure("a pop and a push after each quarter of a second", lambda: _split(blocks, window))
            window.end_all()
    timings.tell(findings, "training, large kernels")
    drifts = [after / before for before, after in itertools.pairwise(timings.seconds["bare"])]
    findings.figure("training, large kernels: a bare block / the bare one before it", drifts)


def _split(blocks: Blocks, window: Window) -> list[float]:
    found: list[float] = []
    while sum(found) < place.seconds(TRAINING_S):
        found += blocks.chunks(0)
        window.split()
    return found


STAGE = Stage(
    "slowdown",
    "what makes work slower under counting: the session, a pass, a window, or edges",
    (
        Experiment("training", training, 95, "At which of them does a training become slower?"),
        Experiment("kernels", kernels, 60, "And kernels alone: each launch, short ones, or clocks at the power limit?"),
    ),
)
