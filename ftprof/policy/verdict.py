"""The verdict of a policy on an amount of compute, by exact fractions and a strict "more than"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from ftprof.policy.amount import GUIDELINES_BASIS, PEAK_BOUND, Amount
from ftprof.policy.derivation import basis_text
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.policy import Policy
from ftprof.policy.scenario import Scenario, scenarios_for
from ftprof.quantity import ratio_text, to_json, two_figures

Outcome = Literal["below", "undetermined", "within-margin", "above"]

MILDEST_FIRST: tuple[Outcome, ...] = ("below", "undetermined", "within-margin", "above")
EXIT_CODES: dict[Outcome, int] = {"below": 0, "above": 3, "within-margin": 4, "undetermined": 5}


@dataclass(frozen=True)
class Verdict:
    """One policy's answer. ``threshold_flops`` is in FLOP; ``ratio`` is the best figure over it, or None."""

    policy: str
    scenario: str
    scenario_number: int
    threshold_flops: Fraction
    flops_compared: str
    ratio: Fraction | None
    verdict: Outcome
    why: str
    source: str

    def to_json(self) -> dict[str, str | int | None]:
        """The form that ``ftprof check --json`` gives: the threshold exact, the ratio to two figures."""
        return {
            "policy": self.policy,
            "scenario": self.scenario,
            "scenario_number": self.scenario_number,
            "threshold_flops": to_json(self.threshold_flops),
            "flops_compared": self.flops_compared,
            "ratio": None if self.ratio is None else ratio_text(self.ratio),
            "verdict": self.verdict,
            "why": self.why,
            "source": self.source,
        }


def judge(policy: Policy, inputs: PolicyInputs, executed: Amount, guidelines: Amount | None = None) -> Verdict:
    """The policy's verdict on this compute for this base model.

    The policy says which of the two figures it compares; without ``guidelines`` both are the same. Where several
    derivations give the base compute, the amount is compared at each and the strictest one is shown.
    """
    scenarios = scenarios_for(policy, inputs)
    strictest = min(scenarios, key=lambda scenario: scenario.threshold)
    amount, other = executed, guidelines or executed
    if policy.flops_compared == GUIDELINES_BASIS:
        amount, other = other, amount
    outcome, why, source = _decide(policy, inputs, amount, scenarios, strictest)
    if amount != other:
        why += _other_figure(policy, inputs, other, scenarios, strictest, outcome)
    return Verdict(
        policy=policy.name,
        scenario=strictest.name,
        scenario_number=strictest.number,
        threshold_flops=strictest.threshold,
        flops_compared=policy.flops_compared,
        ratio=None if amount.value is None else amount.value / strictest.threshold,
        verdict=outcome,
        why=why,
        source=source,
    )


def compare(amount: Amount, threshold: Fraction) -> Outcome:
    """Place [low, high] against a threshold, all in FLOP; only more than the threshold is above it."""
    if amount.value is None:
        return "undetermined"
    bound_only = amount.method == PEAK_BOUND
    if amount.low > threshold and not bound_only:
        return "above"
    if amount.high is None:
        return "undetermined"
    if amount.high <= threshold:
        return "below"
    return "undetermined" if bound_only else "within-margin"


def worst_first(outcome: Outcome) -> int:
    """A sort key: above, then within-margin, then undetermined, then below."""
    return -MILDEST_FIRST.index(outcome)


def deciding_verdict(verdicts: Sequence[Verdict], named: bool) -> Verdict:
    """The verdict that decides the exit code: the first where the user named policies, else the worst."""
    return verdicts[0] if named else min(verdicts, key=lambda verdict: worst_first(verdict.verdict))


def difference_notice(verdicts: Sequence[Verdict]) -> str | None:
    """The line that says that the policies' verdicts differ, or None where they agree."""
    if len({verdict.verdict for verdict in verdicts}) < 2:
        return None
    return "The policies differ: " + ", ".join(f"{v.policy} says {v.verdict}" for v in verdicts) + "."


def _decide(
    policy: Policy, inputs: PolicyInputs, amount: Amount, scenarios: Sequence[Scenario], strictest: Scenario
) -> tuple[Outcome, str, str]:
    """The outcome, why, and by which source."""
    if policy.gpai_condition and not inputs.gpai:
        return "undetermined", policy.gpai_condition.why, policy.gpai_condition.source
    outcomes = [compare(amount, scenario.threshold) for scenario in scenarios]
    if len(set(outcomes)) > 1:
        return "undetermined", _disagreement(scenarios, outcomes, strictest), strictest.source
    comparison = _comparison(amount, outcomes[0], strictest.threshold)
    for other in scenarios:
        if other is not strictest and other.base is not None:
            comparison += f", also where the base compute is {two_figures(other.base)} FLOP {_by(other)}"
    return outcomes[0], f"{strictest.why} {comparison}.", strictest.source


def _other_figure(
    policy: Policy,
    inputs: PolicyInputs,
    other: Amount,
    scenarios: Sequence[Scenario],
    strictest: Scenario,
    outcome: Outcome,
) -> str:
    """A sentence where the figure that the policy does not compare would get another verdict."""
    instead, _, _ = _decide(policy, inputs, other, scenarios, strictest)
    if instead == outcome or other.value is None:
        return ""
    name = "executed" if policy.flops_compared == GUIDELINES_BASIS else GUIDELINES_BASIS
    return (
        f" Only one of the two figures gives that: by the {name} one, {_beside(other.value, strictest.threshold)} "
        f"FLOP, the verdict would be {instead}."
    )


def _disagreement(scenarios: Sequence[Scenario], outcomes: Sequence[Outcome], strictest: Scenario) -> str:
    """Why several derivations of the base compute leave the verdict open."""
    instead_of = outcomes[scenarios.index(strictest)]
    sentences = [strictest.why]
    for other, outcome in zip(scenarios, outcomes, strict=True):
        if outcome != instead_of:
            base = two_figures(other.base) if other.base is not None else "unknown"
            sentences.append(
                f"{_by(other).capitalize()} the base compute is {base} FLOP, the threshold "
                f"{two_figures(other.threshold)} FLOP and the verdict {outcome} instead of {instead_of}."
            )
    return " ".join(sentences)


def _by(other: Scenario) -> str:
    return f"by another derivation ({basis_text(other.kind)})" if other.kind else "by another derivation"


def _comparison(amount: Amount, outcome: Outcome, threshold: Fraction) -> str:
    """Why the amount has this outcome, as a sentence without its full stop."""
    if amount.value is None:
        return "Nothing was counted" + (f": {amount.reasons[0].rstrip('.')}" if amount.reasons else "")
    exact = amount.low == amount.high
    if outcome == "above":
        end = "the figure" if exact else "even the interval's low end"
        return f"At {_beside(amount.low, threshold)} FLOP, {end} is more than the threshold"
    if amount.high is None:
        return "Work went uncounted that nothing bounds, so the total may be more than the threshold"
    if outcome == "below":
        end = "the figure" if exact else "even the interval's high end"
        relation = "equals" if amount.high == threshold else "is less than"
        return f"At {_beside(amount.high, threshold)} FLOP, {end} {relation} the threshold"
    if outcome == "undetermined":
        return "The upper bound is more than the threshold, and such a bound does not show what was executed"
    ends = f"{_beside(amount.low, threshold)} to {_beside(amount.high, threshold)} FLOP"
    return f"The threshold lies within the interval of {ends}"


def _beside(flops: Fraction, threshold: Fraction) -> str:
    """The figure in short, or exactly where in short it could not be told from the threshold."""
    short = two_figures(flops)
    return to_json(flops) if short == two_figures(threshold) else short
