"""One window of counters: if it is refused, nothing else is worth trying."""

from __future__ import annotations

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, exactly
from gpu_checks.gpu import product, size
from gpu_checks.probe import Bench


def golden(findings: Findings) -> None:
    """The product that everybody can check by hand."""
    bench = Bench()
    device = bench.device
    findings.fact("chip", device.chip)
    findings.fact("device", device.name)
    findings.fact("multiprocessors", device.multiprocessors)
    findings.fact("cupti", {"version": device.cupti_version, "path": device.cupti_path, "origin": device.cupti_origin})
    findings.fact("groups", [{"role": group.role, "metrics": list(group.metrics)} for group in bench.groups])
    work, operations = product(size(1024), "bf16")
    work()
    with bench.window(bench.base) as window:
        findings.fact("passes", window.session.passes)
        rows = [window.count(work) for _ in range(place.rounds(10))]
        bench.save(findings, "base", window, rows[-1])
    counted = [sum(n for metric, n in row.items() if bench.kind(metric) == "floating") for row in rows]
    findings.figure("bf16 product of 1024^3 in one window", counted, "FLOP", exactly(operations))


STAGE = Stage(
    "window",
    "one counter window, or the reason why there is none",
    (Experiment("golden", golden, 20, "Can counters be read, and is 1024^3 in bf16 exactly 2,147,483,648?"),),
)
