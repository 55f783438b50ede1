"""What a user claims under the Guidelines' Annex A.1: which phases are deducted, and what generation is added."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ftprof.errors import UntrustedInput
from ftprof.quantity import from_json, shown, to_json

DEDUCTED_BY_DEFAULT = ("recompute", "evaluate")
DEDUCTIBLE = (*DEDUCTED_BY_DEFAULT, "auxiliary")


@dataclass(frozen=True)
class Claims:
    """``deduct`` names phases; ``generated_flops`` (in FLOP) is generation outside the run that belongs to it.

    ``public_generation`` declares that the data that the run generates are publicly accessible, whose generation need
    not be counted.
    """

    deduct: tuple[str, ...] = DEDUCTED_BY_DEFAULT
    generated_flops: Fraction = Fraction(0)
    public_generation: bool = False

    @property
    def deducted_phases(self) -> tuple[str, ...]:
        """All phases that are deducted."""
        return (*self.deduct, "generate") if self.public_generation else self.deduct

    def to_json(self) -> dict[str, Any]:
        """The form that a record carries."""
        return {
            "deduct": list(self.deduct),
            "generated_flops": to_json(self.generated_flops),
            "public_generation": self.public_generation,
        }

    @classmethod
    def from_json(cls, data: object, where: str) -> Claims:
        """Read back what ``to_json`` wrote. Raises UntrustedInput, naming ``where``, for anything else."""
        if not isinstance(data, dict) or set(data) != {"deduct", "generated_flops", "public_generation"}:
            raise UntrustedInput(f"{where}: the claims have not the keys deduct, generated_flops, public_generation")
        deduct, public = data["deduct"], data["public_generation"]
        if not isinstance(deduct, list) or any(phase not in DEDUCTIBLE for phase in deduct):
            raise UntrustedInput(f"{where}: deduct is {shown(deduct)}; expected a list out of {', '.join(DEDUCTIBLE)}")
        if not isinstance(public, bool):
            raise UntrustedInput(f"{where}: public_generation is neither true nor false")
        return cls(tuple(deduct), from_json(data["generated_flops"], where), public)
