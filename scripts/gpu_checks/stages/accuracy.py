"""A real fine-tune counted by ftprof, by Nsight Compute, and by everything else."""

from __future__ import annotations

from typing import Any

from gpu_checks import aws_meter, ncu, place, watched
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, within
from gpu_checks.stages.training import alone
from gpu_checks.wrapped import Wrapped, program, wrap

SECONDS = 14
TENSOR_BASE = "base"


def _nsight(findings: Findings, command: list[str], metrics: list[str]) -> int | None:
    """Operations of one step by Nsight Compute; nothing where it is missing or counts nothing."""
    found = ncu.executable()
    if found is None:
        findings.note("Nsight Compute (ncu) is not installed here: the exact column is one step alone in a window")
        return None
    try:
        sums, kernels = ncu.count(found, [*command, "--nsight"], metrics, 150)
    except Exception as error:  # the other columns stand without it
        findings.note(f"Nsight Compute gave nothing: {type(error).__name__}: {str(error)[:300]}")
        return None
    findings.fact("kernels in a step", kernels)
    return sum(sums.values())


def _checks(run: Wrapped) -> dict[str, Any]:
    """What each other method gave for the same run, from the record."""
    return {row["method"]: row for row in (run.record or {}).get("comparisons", [])}


def _row(run: Wrapped, step: int, exact_by: str, samples: list[int], gpu: str) -> dict[str, Any]:
    """One line of the accuracy table: every column for the whole run, in operations."""
    result, record, checks = run.result, run.record or {}, _checks(run)
    seconds = (result["ended_us"] - result["began_us"]) / 1e6
    rows = [row for row in record.get("precisions", []) if row["kind"] == "floating"]
    return {
        "steps": result["steps"],
        "parameters": result["parameters"],
        "trained": result["trained"],
        "tokens": result["tokens"] * result["steps"],
        "exact": step * result["steps"],
        "exact_by": exact_by,
        "ftprof": run.floating(),
        "low": sum(int(row["low"]) for row in rows),
        "high": None if any(row["high"] is None for row in rows) else sum(int(row["high"]) for row in rows),
        "method": record.get("method"),
        "gpm": _whole(checks.get("gpm")),
        "analytic": _whole(checks.get("analytic")),
        "formula": aws_meter.formula(result["parameters"], result["trained"], result["tokens"] * result["steps"]),
        "upper bound": aws_meter.hardware(gpu, samples, seconds),
    }


def _whole(row: dict[str, Any] | None) -> int | None:
    return int(row["flops"]) if row and row["flops"] is not None else None


def _fine_tune(findings: Findings, name: str, *options: str) -> None:
    command = program("fine-tune", *options)
    timed = [*command, "--seconds", str(place.seconds(SECONDS)), "--alone", "12"]
    with watched.utilisation() as utilisation:
        run = wrap(timed, ("--operators",), timeout_s=150)
    findings.claim(f"{name}: the training ended as it should", run.code == 0, run.err[-300:])
    context = run.contexts[0]
    steps = alone(context, run.result["singles"])
    findings.figure(f"{name}: one step, alone in a window", steps, "FLOP")
    floating = {m for w in context.windows if w.role == TENSOR_BASE for m in w.counts if context.kinds[m] == "floating"}
    theirs = _nsight(findings, command, sorted(floating))
    if theirs and steps:
        differences = [step / theirs - 1 for step in steps]
        findings.figure(f"{name}: one step / Nsight Compute, difference", differences, "", within(0.005))
    exact = theirs or (sorted(steps)[len(steps) // 2] if steps else None)
    if exact is None:
        findings.note(f"{name}: nothing exact to compare with")
        return
    if not utilisation.samples:
        findings.note(f"no utilisation: {utilisation.why_none or 'the run was shorter than a second'}")
    by = "Nsight Compute's step" if theirs else "one step alone"
    row = _row(run, exact, by, utilisation.samples, str(context.device.get("name", "")))
    findings.fact("row", {"name": name, **row})
    findings.fact("reasons", run.reasons())
    truth = row["exact"]
    findings.figure(f"{name}: record / exact, difference", [row["ftprof"] / truth - 1], "", within(0.005))
    holds = row["low"] <= truth and (row["high"] is None or truth <= row["high"])
    findings.claim(f"{name}: the interval holds the exact figure", holds, f"{row['low']} to {row['high']}, {truth}")
    for column in ("gpm", "analytic", "formula", "upper bound"):
        values = [row[column] / truth - 1] if row[column] is not None else []
        findings.figure(f"{name}: {column} / exact, difference", values)


def full(findings: Findings) -> None:
    """All weights."""
    _fine_tune(findings, "Llama 1B, all weights")


def full_checkpointed(findings: Findings) -> None:
    """All weights, activations computed again in the backward."""
    _fine_tune(findings, "Llama 1B, all weights, checkpointing", "--checkpointing")


def lora(findings: Findings) -> None:
    """Adapters on all linear layers."""
    _fine_tune(findings, "Llama 1B, LoRA", "--method", "lora")


def lora_checkpointed(findings: Findings) -> None:
    """Adapters, activations computed again in the backward."""
    _fine_tune(findings, "Llama 1B, LoRA, checkpointing", "--method", "lora", "--checkpointing")


STAGE = Stage(
    "accuracy",
    "a Llama's fine-tune by ftprof, Nsight Compute, GPM, formulas and the AWS meter's rules",
    (
        Experiment("full", full, 105, "How far is each from what a step of all weights executes?"),
        Experiment("lora", lora, 105, "And of LoRA?"),
        Experiment("full-checkpointed", full_checkpointed, 110, "And with activation checkpointing?"),
        Experiment("lora-checkpointed", lora_checkpointed, 110, "And of LoRA with it?"),
    ),
)
