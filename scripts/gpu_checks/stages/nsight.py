"""DESIGN's sixth point: a real training step against Nsight Compute's sum over the same kernels."""

from __future__ import annotations

from collections.abc import Sequence

from gpu_checks import ncu, place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, within
from gpu_checks.model import Training, shape
from gpu_checks.probe import Bench
from gpu_checks.stages.training import alone
from gpu_checks.wrapped import program, wrap

SHAPE = "medium"


def _compare(findings: Findings, name: str, roles: Sequence[str], share: float) -> None:
    found = ncu.executable()
    if found is None:
        findings.note("not tried: Nsight Compute (ncu) is not installed here")
        return
    bench = Bench()
    training = Training(shape(SHAPE))
    training.run(3)
    rounds = [bench.count_all(training.step, roles) for _ in range(place.rounds(3))]
    metrics = list(rounds[0])
    theirs, kernels = ncu.count(found, program("one-step", "--shape", SHAPE), metrics, 230)
    findings.fact("kernels in a step", kernels)
    findings.fact("by metric", {m: {"ftprof": [r[m] for r in rounds], "Nsight Compute": theirs[m]} for m in metrics})
    total = sum(bench.weight(metric) * theirs[metric] for metric in metrics)
    ours = [sum(bench.weight(metric) * row[metric] for metric in metrics) for row in rounds]
    if not total:
        findings.note(f"Nsight Compute counted no {name} operations")
        return
    differences = [n / total - 1 for n in ours]
    findings.figure(f"training step, {name}: windows / Nsight Compute, difference", differences, "", within(share))


def tensor(findings: Findings) -> None:
    """The tensor cores' floating-point operations."""
    _compare(findings, "tensor cores", ("base", "rotating"), 0.005)


def cuda_core(findings: Findings) -> None:
    """The CUDA cores' floating-point operations."""
    _compare(findings, "CUDA cores", ("cuda-core",), 0.005)


def wrapped(findings: Findings) -> None:
    """The same step under ``ftprof wrap``, alone in windows of the base group."""
    found = ncu.executable()
    if found is None:
        findings.note("not tried: Nsight Compute (ncu) is not installed here")
        return
    run = wrap(program("train", "--shape", SHAPE, "--seconds", place.seconds(6), "--alone", 12))
    context = run.contexts[0]
    steps = alone(context, run.result["singles"])
    base = sorted({m for w in context.windows if w.role == "base" for m in w.counts if context.kinds[m] == "floating"})
    theirs, _ = ncu.count(found, program("one-step", "--shape", SHAPE), base, 200)
    total = sum(theirs.values())
    if total:
        differences = [n / total - 1 for n in steps]
        findings.figure(
            "wrapped step, base group: windows / Nsight Compute, difference", differences, "", within(0.005)
        )
        each = run.floating() / run.result["steps"]
        findings.figure(
            "wrapped training: record / steps x Nsight Compute, difference", [each / total - 1], "", within(0.005)
        )


STAGE = Stage(
    "nsight",
    "DESIGN 6: a training step against Nsight Compute",
    (
        Experiment("tensor", tensor, 100, "Are tensor-core operations within 0.5 % of Nsight Compute's sum?"),
        Experiment("wrapped", wrapped, 90, "And under ftprof wrap?"),
        Experiment("cuda-core", cuda_core, 120, "And CUDA-core operations?"),
    ),
)
