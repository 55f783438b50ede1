"""Which of a policy's rules applies to a base model, and the threshold that follows."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.policy import Policy
from ftprof.quantity import two_figures


@dataclass(frozen=True)
class Scenario:
    """A rule applied to one figure for the base compute; ``base`` and ``threshold`` are in FLOP."""

    name: str
    number: int
    base: Fraction | None
    threshold: Fraction
    why: str
    source: str


def scenarios_for(policy: Policy, inputs: PolicyInputs) -> tuple[Scenario, ...]:
    """The scenario at each end of the base model's compute: one, or two where there are two derivations."""
    return tuple(_scenario(policy, base, inputs.systemic_risk) for base in inputs.base_ends())


def _scenario(policy: Policy, base: Fraction | None, systemic_risk: bool | None) -> Scenario:
    rule = policy.rule_for(base, systemic_risk)
    why = rule.why if base is None else rule.why.replace("{base}", two_figures(base))
    return Scenario(rule.scenario, rule.number, base, rule.threshold.at(base), why, rule.source)
