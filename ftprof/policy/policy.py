"""A policy: thresholds and rules, read from the data files that ship with ftprof."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ftprof.errors import FtprofError, UsageProblem
from ftprof.policy.amount import EXECUTED, GUIDELINES_BASIS
from ftprof.policy.derivation import KINDS
from ftprof.quantity import parse_base_compute, parse_quantity, shown

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Bound:
    """One end of a span, in FLOP; ``included`` says whether the end itself belongs to the span."""

    flops: Fraction
    included: bool


@dataclass(frozen=True)
class Span:
    """A range of base-model compute; an end that is None is open."""

    low: Bound | None
    high: Bound | None

    def holds(self, flops: Fraction) -> bool:
        """Whether this compute, in FLOP, lies in the span."""
        if self.low and (flops < self.low.flops or (flops == self.low.flops and not self.low.included)):
            return False
        return not (self.high and (flops > self.high.flops or (flops == self.high.flops and not self.high.included)))


@dataclass(frozen=True)
class Threshold:
    """A number of FLOP, or (where ``of_base``) a share of the base model's compute."""

    amount: Fraction
    of_base: bool

    def at(self, base: Fraction | None) -> Fraction:
        """The threshold in FLOP for this base compute."""
        if not self.of_base:
            return self.amount
        if base is None:
            raise ValueError("a share of an unknown base compute was asked for")
        return self.amount * base


@dataclass(frozen=True)
class Rule:
    """Which threshold holds for which base model. ``base`` is None where the rule is for an unknown one."""

    scenario: str
    number: int
    base: Span | None
    systemic_risk: bool
    threshold: Threshold
    why: str
    source: str

    def applies(self, base: Fraction | None, systemic_risk: bool) -> bool:
        """Whether the rule is for this base compute in FLOP; systemic risk counts only where it is None."""
        if base is None or self.base is None:
            return base is None and self.base is None and systemic_risk == self.systemic_risk
        return self.base.holds(base)


@dataclass(frozen=True)
class GpaiCondition:
    """Why the policy's rules decide nothing about a base model that is no general-purpose model."""

    why: str
    source: str


@dataclass(frozen=True)
class OpenPoint:
    """A question that the policy's source leaves open, and when it matters.

    ``when`` is "always", "within-margin" or "sum"; for "sum" the point matters where the base model's compute
    is at most ``sum_more_than`` FLOP and, with the modification, more.
    """

    text: str
    when: str
    sum_more_than: Fraction | None = None


@dataclass(frozen=True)
class Policy:
    """A versioned set of rules, of which exactly one applies to every base model.

    ``basis`` says in the policy's words what a figure for the base compute of each kind is: known, or estimated by
    which of its paragraphs.
    """

    name: str
    version: str
    title: str
    source: str
    flops_compared: str
    rules: tuple[Rule, ...]
    gpai_condition: GpaiCondition | None
    open_points: tuple[OpenPoint, ...]
    basis: Mapping[str, str] = field(default_factory=dict)

    def rule_for(self, base: Fraction | None, systemic_risk: bool | None) -> Rule:
        """The one rule for this base compute in FLOP, which is None where unknown."""
        (rule,) = self._rules_for(base, bool(systemic_risk))
        return rule

    def _rules_for(self, base: Fraction | None, systemic_risk: bool) -> list[Rule]:
        return [rule for rule in self.rules if rule.applies(base, systemic_risk)]

    def __post_init__(self) -> None:
        for base, systemic_risk in self._cases():
            fitting = len(self._rules_for(base, systemic_risk))
            if fitting != 1:
                raise ValueError(f"{fitting} rules for base compute {base}, systemic risk {systemic_risk}")
        if any(rule.threshold.of_base and rule.base is None for rule in self.rules):
            raise ValueError("a rule for an unknown base compute takes a share of it")
        if any("{basis}" in rule.why for rule in self.rules) and set(self.basis) != set(KINDS):
            raise ValueError(f"basis does not say what each of {', '.join(KINDS)} is")

    def _cases(self) -> Iterator[tuple[Fraction | None, bool]]:
        """Every case that the rules can tell apart: an unknown compute, each end, and points between ends."""
        spans = [rule.base for rule in self.rules if rule.base]
        ends = sorted({bound.flops for span in spans for bound in (span.low, span.high) if bound} | {Fraction(1)})
        yield from ((None, True), (None, False), (ends[0] / 2, False))
        for end, following in zip(ends, [*ends[1:], ends[-1] * 3], strict=True):
            yield from ((end, False), ((end + following) / 2, False))


def policy_names() -> list[str]:
    """The names of all policies that ship, in the order in which they are shown."""
    return sorted(path.stem for path in _DATA.glob("*.json"))


def load_policy(name: str) -> Policy:
    """Load a policy that ships with ftprof.

    Raises UsageProblem for an unknown name, and FtprofError where the data file does not hold together.
    """
    if name not in policy_names():
        raise UsageProblem(f"no policy {shown(name)}; choose from {', '.join(policy_names())}")
    path = _DATA / f"{name}.json"
    try:
        policy = read_policy(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, FtprofError) as error:
        raise FtprofError(f"policy file {path} cannot be used ({error}); reinstall ftprof") from error
    if policy.name != name:
        raise FtprofError(f"policy file {path} calls itself {shown(policy.name)}; reinstall ftprof")
    return policy


def read_policy(data: dict[str, Any]) -> Policy:
    """Make a policy of its parsed JSON. Raises KeyError, TypeError, ValueError or UsageProblem."""
    return Policy(
        name=_text(data, "name"),
        version=_text(data, "version"),
        title=_text(data, "title"),
        source=_text(data, "source"),
        flops_compared=_figure(data),
        rules=tuple(_rule(rule) for rule in data["rules"]),
        gpai_condition=_gpai_condition(data["gpai_condition"]),
        open_points=tuple(_open_point(point) for point in data["open_points"]),
        basis={kind: _text(data["basis"], kind) for kind in data.get("basis", {})},
    )


def _figure(data: dict[str, Any]) -> str:
    figure = _text(data, "flops_compared")
    if figure not in (EXECUTED, GUIDELINES_BASIS):
        raise ValueError(f"flops_compared is {shown(figure)}")
    return figure


def _gpai_condition(data: dict[str, Any] | None) -> GpaiCondition | None:
    return None if data is None else GpaiCondition(_text(data, "why"), _text(data, "source"))


def _rule(data: dict[str, Any]) -> Rule:
    unknown = data["base_compute"] == "unknown"
    if not isinstance(data["number"], int) or (unknown and not isinstance(data["systemic_risk"], bool)):
        raise TypeError("a rule's number is no integer, or its systemic_risk is neither true nor false")
    return Rule(
        scenario=_text(data, "scenario"),
        number=data["number"],
        base=None if unknown else _span(data["base_compute"]),
        systemic_risk=unknown and data["systemic_risk"],
        threshold=_threshold(data["threshold"]),
        why=_text(data, "why"),
        source=_text(data, "source"),
    )


def _span(data: dict[str, str]) -> Span:
    if not set(data) <= {"at_least", "more_than", "at_most", "less_than"} or len(data) not in (1, 2):
        raise ValueError(f"base_compute has the bounds {sorted(data)}")
    return Span(_bound(data, "at_least", "more_than"), _bound(data, "at_most", "less_than"))


def _bound(data: dict[str, str], included: str, excluded: str) -> Bound | None:
    if included in data and excluded in data:
        raise ValueError(f"base_compute has both {included} and {excluded}")
    for key in (included, excluded):
        if key in data:
            return Bound(parse_base_compute(_text(data, key), key), key == included)
    return None


def _threshold(data: dict[str, str]) -> Threshold:
    ((key, text),) = data.items()
    if key not in ("flops", "share_of_base"):
        raise ValueError(f"a threshold is given as {shown(key)}")
    amount = parse_quantity(text, key)
    if amount == 0:
        raise ValueError("a threshold is zero")
    return Threshold(amount, key == "share_of_base")


def _open_point(data: dict[str, Any]) -> OpenPoint:
    when = data["when"]
    if isinstance(when, dict):
        return OpenPoint(_text(data, "text"), "sum", parse_quantity(when["sum_more_than"], "sum_more_than"))
    if when not in ("always", "within-margin"):
        raise ValueError(f"an open point matters {shown(when)}")
    return OpenPoint(_text(data, "text"), when)


def _text(data: dict[str, Any], key: str) -> str:
    text = data[key]
    if not isinstance(text, str) or not text:
        raise ValueError(f"{key} is no text")
    return text
