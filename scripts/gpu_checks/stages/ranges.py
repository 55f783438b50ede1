"""DESIGN's first point: sessions, many kernels in one range, concurrency, CUDA graphs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, at_most, exactly
from gpu_checks.gpu import median_time, product, size, timed, torch_on_gpu
from gpu_checks.probe import Bench, Rolling


def floating(bench: Bench, row: dict[str, int]) -> int:
    """The floating-point operations of a window."""
    return sum(count for metric, count in row.items() if bench.kind(metric) == "floating")


def sessions(findings: Findings) -> None:
    """Three windows of one session over one, two and three products, with and without a new configuration."""
    bench = Bench()
    for configure in (True, False):
        work, each = product(size(2048), "bf16")
        work()
        name = "a new configuration each time" if configure else "the configuration kept"
        try:
            with bench.window(bench.base) as window:
                rows = [window.count(_times(work, k), configure) for k in (1, 2, 3)]
            findings.figure(
                f"windows of one session, {name}: counted / asked for",
                [floating(bench, row) / (each * k) for k, row in enumerate(rows, 1)], "", exactly(1.0),
            )  # fmt: skip
        except RuntimeError as error:
            findings.note(f"a session started again with {name}: {error}")


def _times(work: Callable[[], None], count: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            work()

    return run


def many(findings: Findings) -> None:
    """A thousand products of three sizes on four streams, with element-wise kernels between, in one range."""
    bench = Bench()
    torch = torch_on_gpu()
    parts = [product(size(edge), "bf16") for edge in (512, 1024, 2048)]
    streams = [torch.cuda.Stream() for _ in range(4)]
    values = torch.randn(1 << 16, device="cuda")
    total = place.rounds(999) if place.rehearsal() else 999

    def run() -> None:
        for i in range(total):
            with torch.cuda.stream(streams[i % 4]):
                parts[i % 3][0]()
                torch.add(values, 1.0)

    run()
    asked = sum(parts[i % 3][1] for i in range(total))
    with bench.window(bench.base) as window:
        rows = [floating(bench, window.count(run)) for _ in range(place.rounds(5))]
    findings.figure(
        "a thousand mixed kernels in one range: counted / asked for", [n / asked for n in rows], "", exactly(1.0)
    )
    bare = timed(run, place.rounds(5))
    with bench.window(bench.base) as window:
        window.begin()
        inside = timed(run, place.rounds(5))
        window.end()
    findings.figure(
        "a thousand mixed kernels: time in a window / bare", [b / a for a, b in zip(bare, inside, strict=True)], ""
    )


def streams(findings: Findings) -> None:
    """Four spinning kernels of one block each: side by side they take the time of one, one after the other four."""
    bench = Bench()
    torch = torch_on_gpu()
    four = [torch.cuda.Stream() for _ in range(4)]
    cycles = 100_000 if place.rehearsal() else 50_000_000

    def spin() -> None:
        for stream in four:
            with torch.cuda.stream(stream):
                torch.cuda._sleep(cycles)

    spin()
    alone = median_time(lambda: torch.cuda._sleep(cycles), place.rounds(5))
    bare = timed(spin, place.rounds(5))
    with bench.window(bench.base) as window:
        window.begin()
        inside = timed(spin, place.rounds(5))
        window.end()
    findings.figure("four kernels on four streams / one of them, bare", [t / alone for t in bare])
    findings.figure("four kernels on four streams / one of them, in a window", [t / alone for t in inside])
    ratios = [b / a for a, b in zip(bare, inside, strict=True)]
    findings.figure("four kernels on four streams: in a window / bare", ratios, "", at_most(1.2))


def graphs(findings: Findings) -> None:
    """Replays of a graph captured before a window, and of one captured while a window is open."""
    bench = Bench()
    torch = torch_on_gpu()
    work, each = product(size(1024), "bf16")
    work()
    torch.cuda.synchronize()
    nodes, replays = 200, place.rounds(300)
    before = _captured(work, nodes)
    with bench.window(bench.base) as window:
        rows = [window.count(_times(before.replay, replays)) for _ in range(3)]
        asked = each * nodes * replays
        findings.figure(
            "graph captured before the window: counted / asked for",
            [floating(bench, row) / asked for row in rows], "", exactly(1.0),
        )  # fmt: skip
        inside = []
        for _ in range(3):
            window.begin()
            graph = _captured(work, nodes)
            for _ in range(replays):
                graph.replay()
            torch.cuda.synchronize()
            inside.append(floating(bench, window.end()) / asked)
        findings.figure("graph captured inside the window: counted / asked for", inside, "", exactly(1.0))


def _captured(work: Callable[[], None], nodes: int, pause_s: float = 0.0) -> Any:
    torch = torch_on_gpu()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(nodes):
            work()
            if pause_s:
                time.sleep(pause_s)
    return graph


def _captured_while_windows_roll(findings: Findings, relaxed: bool) -> None:
    bench = Bench()
    torch = torch_on_gpu()
    work, each = product(size(1024), "bf16")
    work()
    torch.cuda.synchronize()
    nodes, replays = 200, place.rounds(2000)
    name = "relaxed" if relaxed else "default"
    with bench.window(bench.base) as window:
        rolling = Rolling(bench, window, 0.05, relaxed)
        rolling.start()
        time.sleep(0.3)
        why = ""
        try:
            graph = _captured(work, nodes, 0.002)
            for _ in range(replays):
                graph.replay()
            torch.cuda.synchronize()
        except RuntimeError as error:
            why = str(error)[:300]
        time.sleep(0.1)
        try:
            rolling.finish()
        except RuntimeError as error:
            why = f"{why} {error}"[:600]
    findings.claim(f"a capture succeeds while windows open and close, {name} capture mode", not why, why)
    if not why:
        total = sum(floating(bench, row) for row in rolling.windows)
        findings.figure(f"its replays, {name}: counted / asked for", [total / (each * nodes * replays)], "")
        findings.fact(f"windows, {name}", len(rolling.windows))


def capture_relaxed(findings: Findings) -> None:
    """With the mode that ftprof's meter sets on its thread."""
    _captured_while_windows_roll(findings, relaxed=True)


def capture_default(findings: Findings) -> None:
    """Without it: the reason for setting it."""
    _captured_while_windows_roll(findings, relaxed=False)


def capture_wrapped(findings: Findings) -> None:
    """Under ftprof wrap: a capture of a second in which windows roll, and all its replays."""
    from gpu_checks.wrapped import program, wrap

    run = wrap(program("graph", "--edge", size(1024), "--replays", place.rounds(20000)), timeout_s=120)
    operations = run.result["operations"]
    findings.claim("a program that captures a graph runs under ftprof wrap", run.code == 0, run.err[-300:])
    findings.figure("wrapped graph replays: record / asked for", [run.floating() / operations], "")
    row = run.record or {}
    high = row.get("high")
    holds = int(row.get("low", 0)) <= operations and (high is None or operations <= int(high))
    findings.claim("the interval holds the truth", holds, f"{row.get('low')} to {high}, truth {operations}")
    findings.fact("record", {name: row.get(name) for name in ("method", "flops", "low", "high", "complete", "reasons")})


STAGE = Stage(
    "ranges",
    "DESIGN 1: sessions, many kernels in a range, concurrency, CUDA graphs",
    (
        Experiment("sessions", sessions, 15, "Can a session start again without a new configuration?"),
        Experiment("many", many, 20, "Does one range over many kernels on streams count all of them?"),
        Experiment("streams", streams, 15, "Do kernels still run side by side in a window?"),
        Experiment("graphs", graphs, 20, "Are graphs counted, captured before and inside a window?"),
        Experiment("capture-relaxed", capture_relaxed, 15, "Does a capture survive edges on another thread?"),
        Experiment("capture-default", capture_default, 15, "And without the relaxed capture mode?"),
        Experiment("capture-wrapped", capture_wrapped, 25, "And under ftprof wrap?"),
    ),
)
