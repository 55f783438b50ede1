"""What is known of the base model, on which the scenario of every policy hangs."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ftprof.errors import UntrustedInput, UsageProblem
from ftprof.policy.claims import Claims
from ftprof.policy.derivation import KINDS
from ftprof.policy.law import SYSTEMIC_RISK_PRESUMPTION
from ftprof.quantity import from_json, shown, to_json

_KEYS = (
    "pretrain_flops_low",
    "pretrain_flops_high",
    "pretrain_source",
    "base_model",
    "systemic_risk",
    "gpai",
    "claims",
)
_KIND_KEYS = ("pretrain_low_kind", "pretrain_high_kind")


@dataclass(frozen=True)
class PolicyInputs:
    """The base model as the user stated it or as the table gives it.

    ``pretrain_flops_low`` and ``pretrain_flops_high`` are its training compute in FLOP: equal where there is
    one figure, the two ends where there are two derivations, both None where it is unknown.
    ``pretrain_low_kind`` and ``pretrain_high_kind`` say how each came about (one of ``derivation.KINDS``, or None where
    that is not told) and ``pretrain_source`` where they come from. Raises UsageProblem where the inputs contradict each
    other.
    """

    pretrain_flops_low: Fraction | None = None
    pretrain_flops_high: Fraction | None = None
    pretrain_source: str | None = None
    base_model: str | None = None
    systemic_risk: bool | None = None
    gpai: bool = True
    claims: Claims = field(default_factory=Claims)
    pretrain_low_kind: str | None = None
    pretrain_high_kind: str | None = None

    def __post_init__(self) -> None:
        low, high = self.pretrain_flops_low, self.pretrain_flops_high
        if (low is None) != (high is None):
            raise UsageProblem("the base model's compute has one end only; give both or neither")
        if low is not None and high is not None and not 0 < low <= high:
            raise UsageProblem("the base model's compute is zero, negative, or has its low end above its high end")
        if self.systemic_risk is False and low is not None and low > SYSTEMIC_RISK_PRESUMPTION:
            raise UsageProblem(
                f"--no-systemic-risk contradicts a base model's compute of {to_json(low)} FLOP: above "
                "10^25 systemic risk is presumed (AI Act, Article 51(2)); leave one of them out"
            )
        if self.systemic_risk and not self.gpai:
            raise UsageProblem(
                "--systemic-risk contradicts --no-gpai: only a general-purpose model can have systemic risk "
                "(AI Act, Article 51); leave one of them out"
            )

    def base_ends(self) -> tuple[Fraction | None, ...]:
        """The base compute in FLOP at each of its ends: one figure, two, or None alone where unknown."""
        if self.pretrain_flops_low == self.pretrain_flops_high:
            return (self.pretrain_flops_low,)
        return (self.pretrain_flops_low, self.pretrain_flops_high)

    def base_kinds(self) -> tuple[str | None, ...]:
        """How each of ``base_ends`` came about."""
        return (self.pretrain_low_kind, self.pretrain_high_kind)[: len(self.base_ends())]

    def to_json(self) -> dict[str, Any]:
        """The form that a record carries: quantities as exact strings."""
        low, high = self.pretrain_flops_low, self.pretrain_flops_high
        return {
            "pretrain_flops_low": None if low is None else to_json(low),
            "pretrain_flops_high": None if high is None else to_json(high),
            "pretrain_source": self.pretrain_source,
            "base_model": self.base_model,
            "systemic_risk": self.systemic_risk,
            "gpai": self.gpai,
            "claims": self.claims.to_json(),
            "pretrain_low_kind": self.pretrain_low_kind,
            "pretrain_high_kind": self.pretrain_high_kind,
        }

    @classmethod
    def from_json(cls, data: object, where: str) -> PolicyInputs:
        """Read back what ``to_json`` wrote. Raises UntrustedInput, naming ``where``, for anything else."""
        if not isinstance(data, dict) or not set(_KEYS) <= set(data) <= {*_KEYS, *_KIND_KEYS}:
            raise UntrustedInput(f"{where}: the policy inputs must have the keys {', '.join(_KEYS)}")
        kinds = tuple(data.get(key) for key in _KIND_KEYS)
        for key, kind in zip(_KIND_KEYS, kinds, strict=True):
            if kind is not None and kind not in KINDS:
                raise UntrustedInput(f"{where}: {key} is {shown(kind)}; expected one of {', '.join(KINDS)}")
        source, model, systemic_risk, gpai = (data[key] for key in _KEYS[2:6])
        claims = Claims.from_json(data["claims"], where)
        for key in ("pretrain_source", "base_model"):
            if not isinstance(data[key], str | None):
                raise UntrustedInput(f"{where}: {key} is {shown(data[key])}; expected text or null")
        if not isinstance(systemic_risk, bool | None) or not isinstance(gpai, bool):
            raise UntrustedInput(f"{where}: systemic_risk or gpai is neither true nor false")
        low, high = (None if data[key] is None else from_json(data[key], where) for key in _KEYS[:2])
        try:
            return cls(low, high, source, model, systemic_risk, gpai, claims, *kinds)
        except UsageProblem as error:
            raise UntrustedInput(f"{where}: {error.message}") from error
