"""Whatever a training meets, its output and exit code under ``ftprof wrap`` are those of the bare run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from gpu_checks import machine, place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, Wanted, at_most, within
from gpu_checks.hazards import HAZARDS
from gpu_checks.probe import Bench
from gpu_checks.slopes import slope
from gpu_checks.wrapped import TENSOR, Counters, Start, Window, Wrapped, bare, program, wrap

FIVE_MINUTES = 300.0


def _same(findings: Findings, name: str, plain: Wrapped, counted: Wrapped) -> None:
    """Two claims: the training is unharmed; the record has the work, or says what it lacks."""
    code = 128 - plain.code if plain.code < 0 else plain.code  # a shell's form of a signal is that of ftprof wrap
    unharmed = (counted.code, counted.out) == (code, plain.out)
    seen = f"exit code {code} and {counted.code}; {plain.out[-200:]!r} and {counted.out[-200:]!r}"
    findings.claim(f"{name}: output and exit code are those of the bare run", unharmed, seen)
    record = counted.record or {}
    says = record.get("complete") is True or bool(record.get("reasons"))
    findings.claim(f"{name}: the record is complete, or says why not", says, counted.err[-300:])
    findings.fact(
        name,
        {"code": counted.code, "flops": record.get("flops"), "high": record.get("high"),
         "method": record.get("method"), "complete": record.get("complete"), "reasons": counted.reasons()},
    )  # fmt: skip


def hazards(findings: Findings) -> None:
    """Exceptions, forks, no memory, an assert on the device, a kill."""
    twice = [bare(program("hazards")) for _ in range(2)]
    alike = twice[0].out == twice[1].out
    findings.claim("two bare runs print the same bits", alike, f"{twice[0].out!r} and {twice[1].out!r}")
    for hazard in HAZARDS:
        command = program("hazards", "--hazard", hazard)
        plain = twice[0] if hazard == "none" else bare(command)
        _same(findings, hazard, plain, wrap(command))


def devices(findings: Findings) -> None:
    """CUDA_VISIBLE_DEVICES, set outside and by the program itself: by number, by UUID, to nothing."""
    uuids = machine.uuids()
    values = ["0", "", *uuids[:1]]
    for value in values:
        shown = "its UUID" if value in uuids else value or "nothing"
        command = program("hazards")
        outside = bare(command, CUDA_VISIBLE_DEVICES=value), wrap(command, CUDA_VISIBLE_DEVICES=value)
        _same(findings, f"visible devices: {shown}, in the environment", *outside)
    command = program("hazards", "--visible", "0")
    _same(findings, "visible devices: 0, by the program itself", bare(command), wrap(command))


def held(findings: Findings) -> None:
    """Another process holds a session with an open window all the while."""
    bench = Bench()
    command = program("hazards")
    plain = bare(command)
    with bench.window(bench.base) as window:
        window.begin()
        counted = wrap(command)
        window.end()
    _same(findings, "counters held by another process", plain, counted)


def together(findings: Findings) -> None:
    """Two trainings on one GPU, both wrapped."""
    command = program("hazards", "--steps", 60)
    plain = bare(command)
    folders = [Path(tempfile.mkdtemp(prefix="run-", dir=place.work())) for _ in range(2)]
    with Start(command, folders[0]) as first, Start(command, folders[1]) as second:
        runs = first.wait(), second.wait()
    for name, run in zip(("the first", "the second"), runs, strict=True):
        _same(findings, f"two trainings on one GPU, {name}", plain, run)


def five_minutes(findings: Findings) -> None:
    """Memory, the time of a step and what windows count, as slopes."""
    seconds = place.seconds(FIVE_MINUTES)
    run = wrap(program("train", "--shape", "medium", "--seconds", seconds), timeout_s=seconds + 120)
    result = run.result
    findings.claim("five minutes: the training ended as it should", run.code == 0, run.err[-300:])
    at_s = result["at_s"]
    _slope(findings, "host memory", list(zip(at_s, result["resident_kib"], strict=True)), "KiB a minute", at_most(64))
    steps = _of_mean(list(zip(at_s, result["step_s"], strict=True)))
    _slope(findings, "time of a step", steps, "of its mean a minute", within(0.001))
    rates = _of_mean(_rates(run.contexts[0], result["began_us"], result["ended_us"]))
    _slope(findings, "operations a second in windows", rates, "of its mean a minute", within(0.001))
    findings.fact("windows", len(run.contexts[0].windows))
    findings.fact("gaps", [gap["reason"] for context in run.contexts for gap in context.gaps])
    findings.fact("reasons", run.reasons())


def _rates(context: Counters, began_us: int, ended_us: int) -> list[tuple[float, float]]:
    """When each whole window of the base group began, and what it counted in a microsecond."""
    inside = [w for w in context.windows if w.role == "base" and began_us <= w.begin_us and w.end_us <= ended_us]
    whole = inside[1:-1]  # the training begins in the first and ends in the last
    return [((w.begin_us - began_us) / 1e6, _operations(context, w) / (w.end_us - w.begin_us)) for w in whole]


def _operations(context: Counters, window: Window) -> int:
    return sum(count for metric, count in window.counts.items() if context.kinds[metric] == TENSOR)


def _of_mean(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same points, each value as a part of their mean."""
    mean = sum(value for _, value in points) / max(len(points), 1)
    return [(at, value / mean) for at, value in points] if mean else []


def _slope(findings: Findings, name: str, points: Sequence[tuple[float, float]], unit: str, wanted: Wanted) -> None:
    found = slope(points)
    if found is None:
        findings.note(f"{name}: too few points for a slope")
        return
    each, error = 60 * found[0], 60 * found[1]
    ends = [each - 2 * error, each, each + 2 * error]
    findings.figure(f"{name}, slope over five minutes (least and most: two standard errors)", ends, unit, wanted)


STAGE = Stage(
    "safety",
    "what may happen to a training: is its result the bare one's, and does the record say what it lacks?",
    (
        Experiment("hazards", hazards, 170, "Exceptions, forks, no memory, an assert on the device, a kill?"),
        Experiment("devices", devices, 100, "CUDA_VISIBLE_DEVICES set outside and inside?"),
        Experiment("held", held, 45, "Counters that another process holds?"),
        Experiment("together", together, 45, "Two trainings on one GPU?"),
    ),
)
STAGE_LONG = Stage(
    "endurance",
    "five minutes of windows",
    (Experiment("five-minutes", five_minutes, 335, "Do memory, steps or counts drift?"),),
)
