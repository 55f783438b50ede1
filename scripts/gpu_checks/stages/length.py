"""DESIGN's third point: windows of 0.1 to 45 s over the same work. Does a counter wrap?"""

from __future__ import annotations

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, between
from gpu_checks.gpu import median_time, product, size, timed, torch_on_gpu
from gpu_checks.probe import Bench
from gpu_checks.stages.ranges import floating

LENGTHS_S = (0.1, 1.0, 2.5, 5.0, 12.0, 45.0)
_ROUNDING = 1e-9  # past 2^53 a double is no longer exact


def lengths(findings: Findings) -> None:
    """The same product so often that a window is so long."""
    bench = Bench()
    times = 80
    work, each = product(size(4096), "bf16", times)  # exactly 2MNK; 8192 is padded
    work()
    one = median_time(work)
    cycles = next(metric for metric in bench.base if bench.kind(metric) == "cycles")
    with bench.window(bench.base) as window:
        for wanted_s in LENGTHS_S:
            count = max(1, round(place.seconds(wanted_s) / one))

            def long(count: int = count) -> None:
                for done in range(count):
                    work()
                    if done % 20 == 19:
                        torch_on_gpu().cuda.current_stream().synchronize()  # so that no queue outgrows the window

            took: list[float] = []
            row = window.count(lambda took=took, long=long: took.extend(timed(long, 1)))  # type: ignore[misc]
            name = f"window of {wanted_s:g} s"
            ratio = floating(bench, row) / (each * count)
            findings.figure(f"{name}: counted / asked for", [ratio], "", between(1 - _ROUNDING, 1 + _ROUNDING))
            clock = row[cycles] / bench.device.multiprocessors / took[0] / 1e6
            findings.figure(f"{name}: SM-active cycles a second an SM", [clock], "MHz")
            findings.fact(name, {"seconds": took[0], "operations": floating(bench, row), "cycles": row[cycles]})


STAGE = Stage(
    "length",
    "DESIGN 3: windows of 0.1 to 45 s, and whether a counter wraps",
    (Experiment("lengths", lengths, 85, "Does any counter wrap in a long window?"),),
)
