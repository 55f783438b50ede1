"""How far a fine-tune is from each policy's threshold: the verdict, and how many tokens stay below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ftprof.estimate.method_estimate import MethodEstimate
from ftprof.policy.amount import GIVEN, Amount
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.policy import Policy
from ftprof.policy.verdict import Verdict, judge


@dataclass(frozen=True)
class ThresholdDistance:
    """A method under one policy. ``largest_tokens`` is None where nothing bounds what was not counted."""

    method: str
    verdict: Verdict
    flops_compared: int
    largest_tokens: int | None


def largest_tokens_below(threshold: Fraction, flops_a_token: Fraction) -> int | None:
    """The most tokens whose operations are not more than the threshold; both in FLOP. None where a token costs none.

    Only more than the threshold is above it, so a number that reaches it exactly is still below.
    """
    return None if flops_a_token == 0 else (threshold / flops_a_token).__floor__()


def distances(
    estimates: Sequence[MethodEstimate], policies: Sequence[Policy], inputs: PolicyInputs
) -> tuple[ThresholdDistance, ...]:
    """Every method under every policy, by the figure that the policy compares, whole and a token."""
    return tuple(_distance(estimate, policy, inputs) for estimate in estimates for policy in policies)


def _distance(estimate: MethodEstimate, policy: Policy, inputs: PolicyInputs) -> ThresholdDistance:
    executed = policy.flops_compared == "executed"
    flops = estimate.executed if executed else estimate.guidelines_basis
    a_token = estimate.executed_a_token if executed else estimate.guidelines_basis_a_token
    high = None if estimate.not_counted else Fraction(flops)
    reasons = tuple(f"{name} has no formula" for name in estimate.not_counted)
    verdict = judge(policy, inputs, Amount(Fraction(flops), Fraction(flops), high, GIVEN, reasons))
    largest = None if estimate.not_counted else largest_tokens_below(verdict.threshold_flops, a_token)
    return ThresholdDistance(estimate.method.describe(), verdict, flops, largest)
