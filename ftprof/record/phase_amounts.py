"""How much of a run's operations each phase of the training took, exactly or by a share."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from ftprof.record.journal import PHASES
from ftprof.record.record import COUNTER_METHODS, Record

SHARE_ERROR = Fraction(3, 10)
"""Relative error of a part that is estimated: the margin of the Guidelines' Annex A.2 (paragraph 123 of July 2025)."""


@dataclass(frozen=True)
class PhaseAmount:
    """Operations of one phase, between ``low`` and ``high``; ``measured`` tells a count from an estimate."""

    phase: str
    low: int
    flops: int
    high: int
    measured: bool


def phase_amounts(record: Record) -> tuple[PhaseAmount, ...]:
    """The phases of a run other than the training itself.

    Operators are counted in their phase. Hardware counters and the GPU's activity do not know phases: there each phase
    gets the share that it has among the operators counted beside them, with an error: a share of what was counted in
    the same processes in the same time, as neither work before the first phase nor a process without one was looked at.
    """
    if record.method == "analytic":
        return tuple(PhaseAmount(p, f, f, f, True) for p, f in record.by_phase.items() if p != "train")
    total, by_phase = record.interval.value, operators_by_phase(record)
    among = sum(by_phase.values())
    if record.method == "peak-bound" or total is None or not among:
        return ()
    beside = _beside_operators(record) if record.method in COUNTER_METHODS else (Fraction(total),) * 3
    return tuple(
        _by_share(phase, Fraction(by_phase[phase], among), beside) for phase in PHASES[1:] if by_phase.get(phase)
    )


def _beside_operators(record: Record) -> tuple[Fraction, Fraction, Fraction]:
    """What was counted by counters while operators were counted in the same process: at least, likely, at most."""
    since = {process.identity: process.began_us for process in record.processes if process.method == "analytic"}
    sums = [Fraction(0)] * 3
    for process in record.processes:
        if process.method in COUNTER_METHODS and process.identity in since:
            shares = record.timeline.after(since[process.identity], process.began_us, process.last_us)
            sums = [old + process.flops * share for old, share in zip(sums, shares, strict=True)]
    return sums[0], sums[1], sums[2]


def operators_by_phase(record: Record) -> dict[str, int]:
    """Operations by phase, of the operators that were counted beside another method."""
    sums: dict[str, int] = {}
    for check in record.cross_checks:
        for phase, flops in check.get("by_phase", {}).items():
            sums[phase] = sums.get(phase, 0) + int(flops)
    return sums


def _by_share(phase: str, share: Fraction, beside: tuple[Fraction, Fraction, Fraction]) -> PhaseAmount:
    least, likely, most = (share * flops for flops in beside)
    return PhaseAmount(phase, floor(least * (1 - SHARE_ERROR)), round(likely), ceil(most * (1 + SHARE_ERROR)), False)
