"""DESIGN's second point: what an edge costs, idle and busy, what it stalls, and what is lost at it."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, at_most
from gpu_checks.gpu import median_time, product, ready_thread, size, torch_on_gpu
from gpu_checks.probe import CALLS, Bench
from gpu_checks.stages.ranges import floating
from gpu_checks.wrapped import program, wrap


def calls(findings: Findings, name: str, edges: list[dict[str, float]]) -> None:
    """A figure for each call of an edge, and for their sum without the evaluation, which needs no device."""
    for call in CALLS:
        findings.figure(f"edge {name}: {call}", [edge[call] for edge in edges], "ms")
    totals = [sum(ms for call, ms in edge.items() if call != "evaluate") for edge in edges]
    findings.figure(f"edge {name}: nobody counts", totals, "ms", at_most(20))


def idle(findings: Findings) -> None:
    """Windows with nothing in them."""
    bench = Bench()
    for configure in (True, False):
        with bench.window(bench.base) as window:
            for _ in range(place.rounds(40)):
                window.count(lambda: None, configure)
            calls(findings, "idle" if configure else "idle, configuration kept", window.edges[1:])


def busy(findings: Findings) -> None:
    """An edge in the midst of launches that another thread makes: its cost, what is lost, how launches are delayed."""
    bench = Bench()
    work, each = product(size(4096), "bf16", 20)
    work()
    twenty = median_time(work)
    batches = max(2, round(place.seconds(0.4) / twenty))
    quiet: list[float] = []
    alone = threading.Thread(target=_launching(work, batches, quiet))
    alone.start()
    alone.join()
    lost: list[float] = []
    delays: list[float] = []
    lost_ms: list[float] = []
    with bench.window(bench.base) as window:
        for _ in range(place.rounds(20)):
            torch_on_gpu().cuda.synchronize()
            thread = threading.Thread(target=_launching(work, batches, delays))
            began = time.perf_counter()
            window.begin()
            thread.start()
            time.sleep(place.seconds(0.15))
            first = window.end()
            window.begin()
            thread.join()
            torch_on_gpu().cuda.synchronize()
            wall = time.perf_counter() - began
            second = window.end()
            share = 1 - (floating(bench, first) + floating(bench, second)) / (each * batches)
            lost.append(share)
            lost_ms.append(share * 1e3 * max(twenty * batches, 1e-9))
        edges = window.edges
    findings.fact("seconds of one round", wall)
    calls(findings, "busy", edges[::2])
    findings.figure("busy edge: share of the operations lost", lost, "")
    findings.figure("busy edge: lost, as time at full speed", lost_ms, "ms")
    for name, values in (("without edges", quiet), ("with an edge", delays)):
        findings.figure(f"launch of 20 kernels {name}", [1e3 * v for v in values], "ms")


def _launching(work: Callable[[], None], batches: int, delays: list[float]) -> Callable[[], None]:
    def run() -> None:
        ready_thread()
        for _ in range(batches):
            began = time.perf_counter()
            work()
            delays.append(time.perf_counter() - began)

    return run


def split(findings: Findings) -> None:
    """Pop and push inside one session, while the device works."""
    bench = Bench()
    ranges = 32
    work, each = product(size(4096), "bf16", 20)
    work()
    batches = max(2, round(place.seconds(1.2) / median_time(work)))
    shares, pops, pushes = [], [], []
    with bench.window(bench.base, ranges) as window:
        for _ in range(place.rounds(5)):
            torch_on_gpu().cuda.synchronize()
            window.begin()
            thread = threading.Thread(target=_launching(work, batches, []))
            thread.start()
            for _ in range(ranges - 1):
                time.sleep(place.seconds(0.03))
                pop, push = window.split()
                pops.append(pop)
                pushes.append(push)
            thread.join()
            torch_on_gpu().cuda.synchronize()
            rows = window.end_all()
            shares.append(1 - sum(floating(bench, row) for row in rows) / (each * batches))
        findings.fact("operations of each range, last round", [floating(bench, row) for row in rows])
        calls(findings, f"after {ranges} ranges", window.edges)
    findings.figure("pop and push in one session: pop", pops, "ms")
    findings.figure("pop and push in one session: push", pushes, "ms")
    findings.figure(f"pop and push in one session: share lost in {ranges} ranges", shares, "")


def wrapped(findings: Findings) -> None:
    """The edges of ftprof's own meter, by its journal: the time between windows, while a training runs."""
    run = wrap(program("train", "--shape", "large", "--seconds", place.seconds(15)), timeout_s=150)
    result, context = run.result, run.contexts[0]
    inside = (result["began_us"], result["ended_us"])
    edges = context.edges_ms(inside)
    findings.figure("wrapped training: edge between windows", edges, "ms", at_most(20))
    findings.figure("wrapped training: share of the time in edges", [sum(edges) * 1e3 / (inside[1] - inside[0])], "")
    lengths = [(window.end_us - window.begin_us) / 1e3 for window in context.windows]
    findings.figure("wrapped training: length of windows", lengths, "ms")
    if lengths:
        findings.fact("median length of windows, ms", statistics.median(lengths))
    findings.fact("gaps", [f"{gap['call']} {gap['code']} {gap['reason']}" for gap in context.gaps])
    findings.fact("reasons", run.reasons())


STAGE = Stage(
    "edges",
    "DESIGN 2: what an edge between windows costs and loses",
    (
        Experiment("idle", idle, 15, "What does an edge cost on an idle device?"),
        Experiment("busy", busy, 35, "What does it cost, stall and lose on a busy one?"),
        Experiment("split", split, 20, "Is pop and push in one session cheaper, and what does it lose?"),
        Experiment("wrapped", wrapped, 35, "What are the edges of ftprof's own meter?"),
    ),
)
