"""Guidelines-basis FLOPs: executed, less the deductions that Annex A.1 permits and the user claims, plus generation.

The paragraphs are those of C(2025) 5045 (July 2025); the November version, C(2025) 7719, counts 3 less.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ftprof.policy.amount import PEAK_BOUND, Amount
from ftprof.policy.claims import Claims
from ftprof.quantity import to_json

if TYPE_CHECKING:
    from ftprof.record.phase_amounts import PhaseAmount
    from ftprof.record.record import Record

_ANNEX = "Guidelines C(2025) 5045, Annex A.1, {}; in C(2025) 7719: {}"
_NEED_NOT = _ANNEX.format("paragraph 122", 119)
_MEANING = {
    "recompute": ("recomputation of activations to save memory", _NEED_NOT),
    "evaluate": ("evaluation, a purely diagnostic process", _NEED_NOT),
    "auxiliary": ("training of auxiliary models, such as reward models", _NEED_NOT),
    "generate": (
        "generation of data",
        _ANNEX.format("paragraphs 119-120 (122 where publicly accessible)", "116-117 (119)"),
    ),
}
_GENERATED = ("generation of data outside the run", _ANNEX.format("paragraphs 119-120", "116-117"))


@dataclass(frozen=True)
class Part:
    """A part of the difference, in operations. ``basis`` is "measured", "estimated" or "declared".

    ``sign`` is -1 for a deduction, 1 for an addition; ``claimed`` tells whether it is in the figure.
    """

    name: str
    what: str
    sign: int
    claimed: bool
    basis: str
    low: Fraction
    flops: Fraction
    high: Fraction
    source: str

    def to_json(self) -> dict[str, Any]:
        """As the record's schema has it: quantities as exact strings."""
        return {
            "name": self.name,
            "what": self.what,
            "sign": self.sign,
            "claimed": self.claimed,
            "basis": self.basis,
            "low": to_json(self.low),
            "flops": to_json(self.flops),
            "high": to_json(self.high),
            "source": self.source,
        }


@dataclass(frozen=True)
class GuidelinesBasis:
    """The figure, and each part in which it differs from the executed one."""

    amount: Amount
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """As the record's schema has it."""
        amount = self.amount
        return {
            "low": to_json(amount.low),
            "flops": None if amount.value is None else to_json(amount.value),
            "high": None if amount.high is None else to_json(amount.high),
            "parts": [part.to_json() for part in self.parts],
        }


def guidelines_basis(executed: Amount, phases: Iterable[PhaseAmount], claims: Claims) -> GuidelinesBasis:
    """The guidelines-basis figure of an executed one. Nothing is deducted from an upper bound."""
    deductible = () if executed.method == PEAK_BOUND else phases
    parts = [_deduction(phase, phase.phase in claims.deducted_phases) for phase in deductible]
    if claims.generated_flops:
        what, source = _GENERATED
        added = claims.generated_flops
        parts.append(Part("generated", what, 1, True, "declared", added, added, added, source))
    amount = executed
    for part in parts:
        if part.claimed:
            amount = _with(amount, part)
    return GuidelinesBasis(amount, tuple(parts))


def figures_of(record: Record, claims: Claims) -> tuple[Amount, GuidelinesBasis]:
    """A record's executed figure, and its guidelines-basis one.

    A record that holds some parts of its start only has no upper end: what the others did counts too.
    """
    from ftprof.record.elsewhere import elsewhere, interval_of_all
    from ftprof.record.phase_amounts import phase_amounts

    others = elsewhere(record)
    reasons = (*others, *(reason for reason in record.reasons if reason not in others))
    executed = Amount.measured(interval_of_all(record), record.method, reasons)
    return executed, guidelines_basis(executed, phase_amounts(record), claims)


def _deduction(phase: PhaseAmount, claimed: bool) -> Part:
    what, source = _MEANING[phase.phase]
    basis = "measured" if phase.measured else "estimated"
    ends = (Fraction(phase.low), Fraction(phase.flops), Fraction(phase.high))
    return Part(phase.phase, what, -1, claimed, basis, *ends, source)


def _with(amount: Amount, part: Part) -> Amount:
    least, most = (part.low, part.high) if part.sign > 0 else (-part.high, -part.low)
    return replace(
        amount,
        low=max(amount.low + least, Fraction(0)),
        value=None if amount.value is None else max(amount.value + part.sign * part.flops, Fraction(0)),
        high=None if amount.high is None else max(amount.high + most, Fraction(0)),
    )
