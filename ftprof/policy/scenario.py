"""Which of a policy's rules applies to a base model, and the threshold that follows."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ftprof.policy.derivation import basis_text
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.policy import Policy
from ftprof.quantity import two_figures


@dataclass(frozen=True)
class Scenario:
    """A rule applied to one figure for the base compute; ``base`` and ``threshold`` are in FLOP.

    ``kind`` says how the figure came about, where that is told.
    """

    name: str
    number: int
    base: Fraction | None
    kind: str | None
    threshold: Fraction
    why: str
    source: str


def scenarios_for(policy: Policy, inputs: PolicyInputs) -> tuple[Scenario, ...]:
    """The scenario by each derivation of the base model's compute: one, or several."""
    figures = zip(inputs.base_figures(), inputs.base_kinds(), strict=True)
    return tuple(_scenario(policy, base, kind, inputs.systemic_risk) for base, kind in figures)


def _scenario(policy: Policy, base: Fraction | None, kind: str | None, systemic_risk: bool | None) -> Scenario:
    rule = policy.rule_for(base, systemic_risk)
    why = rule.why
    if base is not None:
        basis = policy.basis.get(kind or "", basis_text(kind))
        why = why.replace("{base}", two_figures(base)).replace("{basis}", basis)
    return Scenario(rule.scenario, rule.number, base, kind, rule.threshold.at(base), why, rule.source)
