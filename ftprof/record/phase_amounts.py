"""How much of a run's operations each phase of the training took, exactly or by a share."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import TypeAlias

from ftprof.record.journal import PHASES
from ftprof.record.record import COUNTER_METHODS, Record

_Part: TypeAlias = tuple[dict[str, int], tuple[Fraction, ...]]
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
    gets the share that it has among the operators counted beside them, with an error: in each process a share of what
    was counted there in the same time, as neither work before the first phase nor a process without one was looked at.

    The share has no low end where more may have run on the GPUs than these operators: work without a formula, a process
    that was killed or ran its operators on the CPU, and with the GPU's activity anything that no hook saw.
    """
    if record.method == "analytic":
        return tuple(PhaseAmount(p, f, f, f, True) for p, f in record.by_phase.items() if p != "train")
    total = record.interval.value
    if record.method == "peak-bound" or total is None:
        return ()
    if record.method in COUNTER_METHODS:
        parts = _beside_operators(record)
    elif _is_of_all(record):
        parts = [(operators_by_phase(record), (Fraction(0), Fraction(total), Fraction(total)))]
    else:
        return ()  # of a part of the time, or of one of several runs: a share of all of the activity would be too much
    amounts = (_shares(phase, parts) for phase in PHASES[1:])
    return tuple(amount for amount in amounts if amount is not None)


def _is_of_all(record: Record) -> bool:
    """Whether operators were counted as long as the devices were watched."""
    rows = [check for check in record.cross_checks if check["method"] == "analytic"]
    return len(rows) == 1 and not rows[0].get("partial", False)


def _beside_operators(record: Record) -> list[_Part]:
    """Of each process: its operators by phase, and what counters counted meanwhile: at least, likely, at most."""
    parts: list[_Part] = []
    for check in record.cross_checks:
        is_all = not check.get("unbounded") and not check.get("cut")
        for row in check.get("by_process", ()):
            if "meanwhile" in row:
                low, flops, high = (Fraction(row["meanwhile"][name]) for name in ("low", "flops", "high"))
                phases = {phase: int(operations) for phase, operations in row["by_phase"].items()}
                whole = is_all and not row.get("on_cpu", False)
                parts.append((phases, (low if whole else Fraction(0), flops, high)))
    return parts


def operators_by_phase(record: Record) -> dict[str, int]:
    """Operations by phase, of the operators that were counted beside another method."""
    sums: dict[str, int] = {}
    for check in record.cross_checks:
        for phase, flops in check.get("by_phase", {}).items():
            sums[phase] = sums.get(phase, 0) + int(flops)
    return sums


def _shares(phase: str, parts: list[_Part]) -> PhaseAmount | None:
    """One phase's share of each part; ``None`` where none of them has any."""
    sums = [Fraction(0)] * 3
    for phases, counted in parts:
        if phases.get(phase):
            share = Fraction(phases[phase], sum(phases.values()))
            sums = [old + share * flops for old, flops in zip(sums, counted, strict=True)]
    least, likely, most = sums
    if not any(phases.get(phase) for phases, _ in parts):
        return None
    return PhaseAmount(phase, floor(least * (1 - SHARE_ERROR)), round(likely), ceil(most * (1 + SHARE_ERROR)), False)
