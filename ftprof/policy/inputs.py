"""What is known of the base model, on which the scenario of every policy hangs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
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
_BETWEEN = "pretrain_between"


@dataclass(frozen=True)
class PolicyInputs:
    """The base model as the user stated it or as the table gives it.

    ``pretrain_flops_low`` and ``pretrain_flops_high`` are its training compute in FLOP: equal where there is
    one figure, the two ends where there are several derivations, both None where it is unknown. ``pretrain_between``
    are the figures of further derivations, from low to high, each with its kind.
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
    pretrain_between: tuple[tuple[Fraction, str | None], ...] = ()

    def __post_init__(self) -> None:
        low, high = self.pretrain_flops_low, self.pretrain_flops_high
        if (low is None) != (high is None):
            raise UsageProblem("the base model's compute has one end only; give both or neither")
        if low is not None and high is not None and not 0 < low <= high:
            raise UsageProblem("the base model's compute is zero, negative, or has its low end above its high end")
        if self.pretrain_between and not _in_order([low, *(flops for flops, _ in self.pretrain_between), high]):
            raise UsageProblem("the base model's further figures are not in order between its low and its high end")
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

    def base_figures(self) -> tuple[Fraction | None, ...]:
        """The base compute in FLOP by each derivation, from the lowest: None alone where it is unknown."""
        ends = dict.fromkeys((self.pretrain_flops_low, self.pretrain_flops_high))
        low, *high = ends
        return (low, *(flops for flops, _ in self.pretrain_between), *high)

    def base_kinds(self) -> tuple[str | None, ...]:
        """How each of ``base_figures`` came about."""
        kinds = (self.pretrain_low_kind, *(kind for _, kind in self.pretrain_between), self.pretrain_high_kind)
        return kinds[: len(self.base_figures())]

    def to_json(self) -> dict[str, Any]:
        """The form that a record carries: quantities as exact strings."""
        low, high = self.pretrain_flops_low, self.pretrain_flops_high
        between = [{"flops": to_json(flops), "kind": kind} for flops, kind in self.pretrain_between]
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
            **({"pretrain_between": between} if between else {}),
        }

    @classmethod
    def from_json(cls, data: object, where: str) -> PolicyInputs:
        """Read back what ``to_json`` wrote. Raises UntrustedInput, naming ``where``, for anything else."""
        if not isinstance(data, dict) or not set(_KEYS) <= set(data) <= {*_KEYS, *_KIND_KEYS, _BETWEEN}:
            raise UntrustedInput(f"{where}: the policy inputs must have the keys {', '.join(_KEYS)}")
        low_kind, high_kind = (_kind(data.get(key), key, where) for key in _KIND_KEYS)
        between = _between(data.get(_BETWEEN, []), where)
        source, model, systemic_risk, gpai = (data[key] for key in _KEYS[2:6])
        claims = Claims.from_json(data["claims"], where)
        for key in ("pretrain_source", "base_model"):
            if not isinstance(data[key], str | None):
                raise UntrustedInput(f"{where}: {key} is {shown(data[key])}; expected text or null")
        if not isinstance(systemic_risk, bool | None) or not isinstance(gpai, bool):
            raise UntrustedInput(f"{where}: systemic_risk or gpai is neither true nor false")
        low, high = (None if data[key] is None else from_json(data[key], where) for key in _KEYS[:2])
        try:
            return cls(low, high, source, model, systemic_risk, gpai, claims, low_kind, high_kind, between)
        except UsageProblem as error:
            raise UntrustedInput(f"{where}: {error.message}") from error


def _in_order(figures: Sequence[Fraction | None]) -> bool:
    return all(a is not None and b is not None and a < b for a, b in pairwise(figures))


def _kind(kind: Any, name: str, where: str) -> str | None:
    if kind is not None and kind not in KINDS:
        raise UntrustedInput(f"{where}: {name} is {shown(kind)}; expected one of {', '.join(KINDS)}")
    return None if kind is None else str(kind)


def _between(rows: Any, where: str) -> tuple[tuple[Fraction, str | None], ...]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) and {*row} == {"flops", "kind"} for row in rows):
        raise UntrustedInput(f"{where}: {_BETWEEN} is {shown(rows)}; expected a list of figures with flops and kind")
    return tuple((from_json(row["flops"], where), _kind(row["kind"], _BETWEEN, where)) for row in rows)
