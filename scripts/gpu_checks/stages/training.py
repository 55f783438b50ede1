"""A training of two minutes under ``ftprof wrap``, against one of its steps counted alone and against bare runs."""

from __future__ import annotations

import itertools

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, at_most, within
from gpu_checks.wrapped import TENSOR, Counters, bare, program, wrap

BARE_S = 12


def alone(context: Counters, singles: list[list[int]]) -> list[int]:
    """The tensor operations of each step that was alone in a window of the base group."""
    found = []
    for began, ended in singles:
        window = context.around(began, ended)
        if window is not None and window.role == "base":
            found.append(sum(n for metric, n in window.counts.items() if context.kinds[metric] == TENSOR))
    return found


def two_minutes(findings: Findings) -> None:
    """Eager training of the large model; steps of another run in windows of their own. Bare runs before and behind."""
    seconds = place.seconds(120)
    training = program("train", "--shape", "large")
    bare_step_s = [_bare_step_s(training)]
    # Of another run: around a step alone the program waits, and edges are taken to be as busy as what is beside them.
    singles = wrap([*training, "--seconds", "0", "--alone", "12"])
    run = wrap([*training, "--seconds", str(seconds)], timeout_s=2 * seconds + 90)
    result, context = run.result, run.contexts[0]
    findings.claim("two minutes: the training ended as it should", run.code == 0, run.err[-300:])
    bare_step_s.append(_bare_step_s(training))
    step_s = result["timed_s"] / result["timed_steps"]
    findings.figure("two minutes: eager, large, wrapped / bare", [step_s / before for before in bare_step_s])
    each = alone(singles.contexts[0], singles.result["singles"])
    findings.figure("one step, alone in a window", each, "FLOP")
    findings.claim("two minutes: every step does the same operations", len(set(each)) == 1, f"{sorted(set(each))}")
    if not each:
        return
    truth = sorted(each)[len(each) // 2] * result["steps"]
    findings.figure(
        "two minutes: record / steps x one step, difference", [run.floating() / truth - 1], "", within(0.001)
    )
    record = run.record or {}
    findings.figure("two minutes: measured in windows / truth", [run.floating(part="measured") / truth], "")
    low = sum(int(row["low"]) for row in record["precisions"] if row["kind"] == TENSOR)
    findings.claim("two minutes: the interval's low end is not above the truth", low <= truth, f"{low} and {truth}")
    high = record.get("high")
    findings.claim(
        "two minutes: the interval's high end is not below the truth", high is None or truth <= int(high), f"{high}"
    )
    findings.fact("method", record.get("method"))
    findings.fact("reasons", run.reasons())
    findings.fact("precisions", record.get("precisions"))
    findings.fact("cross-checks", record.get("cross_checks"))
    findings.fact("steps", result["steps"])
    findings.figure("step", [1e3 * t for t in result["step_s"]], "ms")
    findings.figure("edge between windows", context.edges_ms((result["began_us"], result["ended_us"])), "ms")
    _processor(findings, result)


def _bare_step_s(training: list[str]) -> float:
    result = bare([*training, "--seconds", str(place.seconds(BARE_S))]).result
    return float(result["timed_s"] / result["timed_steps"])


def _processor(findings: Findings, result: dict[str, object]) -> None:
    """CPU time of ftprof's threads, in the first half, when the watcher looks often, and in the second."""
    halves = result["threads_s"]
    assert isinstance(halves, list)
    wall = float(str(result["timed_s"]))
    names = sorted({name for half in halves for name in half})
    for name in names:
        spent = [after.get(name, 0.0) - before.get(name, 0.0) for before, after in itertools.pairwise(halves)]
        share = [100 * s / (wall / len(spent)) for s in spent]
        findings.figure(f"CPU of {name}, halves of the run", share, "% of a core")
    total = sum(halves[-1].values()) - sum(halves[0].values())
    findings.figure("CPU of all of ftprof's threads", [100 * total / wall], "% of a core", at_most(0.2))


STAGE = Stage(
    "training",
    "a two-minute training against one of its steps, and against bare ones",
    (
        Experiment(
            "two-minutes", two_minutes, 185, "Is the total within 0.1 % of one step's operations times the steps?"
        ),
    ),
)
