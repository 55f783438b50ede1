"""A run with all that its reports need: the record, both figures, the policies' verdicts, and notes."""

from __future__ import annotations

from dataclasses import dataclass

from ftprof.policy.amount import Amount
from ftprof.policy.guidelines import GuidelinesBasis
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.verdict import Verdict
from ftprof.record.record import Record


@dataclass(frozen=True)
class JudgedRun:
    """``digest`` is that of the record's file, which the report is about; verdicts are evaluated anew."""

    record: Record
    digest: str
    executed: Amount
    basis: GuidelinesBasis
    inputs: PolicyInputs
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]

    @property
    def basis_differs(self) -> bool:
        """Whether the guidelines-basis figure is another one than the executed."""
        return any(part.claimed for part in self.basis.parts)
