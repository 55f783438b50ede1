"""How much of a run's operations each phase of the training took, exactly or by a share."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from ftprof.record.journal import PHASES
from ftprof.record.record import Record

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
    gets the share of the total that it has among the operators counted beside them, with an error.
    """
    if record.method == "analytic":
        return tuple(PhaseAmount(p, f, f, f, True) for p, f in record.by_phase.items() if p != "train")
    total, by_phase = record.interval.value, operators_by_phase(record)
    among = sum(by_phase.values())
    if record.method == "peak-bound" or total is None or not among:
        return ()
    return tuple(
        _by_share(phase, Fraction(total * by_phase[phase], among)) for phase in PHASES[1:] if by_phase.get(phase)
    )


def operators_by_phase(record: Record) -> dict[str, int]:
    """Operations by phase, of the operators that were counted beside another method."""
    sums: dict[str, int] = {}
    for check in record.cross_checks:
        for phase, flops in check.get("by_phase", {}).items():
            sums[phase] = sums.get(phase, 0) + int(flops)
    return sums


def _by_share(phase: str, flops: Fraction) -> PhaseAmount:
    low, high = floor(flops * (1 - SHARE_ERROR)), ceil(flops * (1 + SHARE_ERROR))
    return PhaseAmount(phase, low, round(flops), high, False)
