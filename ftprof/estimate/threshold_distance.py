"""How far a fine-tune is from each policy's threshold: the verdict, and how many tokens stay below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ftprof.estimate.method_estimate import MethodEstimate
from ftprof.policy.amount import GIVEN, GUIDELINES_BASIS, Amount
from ftprof.policy.guidelines import guidelines_basis
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.policy import Policy
from ftprof.policy.verdict import Verdict, judge
from ftprof.record.phase_amounts import PhaseAmount


@dataclass(frozen=True)
class ThresholdDistance:
    """A method under one policy. ``largest_tokens`` is None where no number of tokens is known to stay below.

    That is so where nothing bounds the operations, or where what is declared beside them ``is_above`` by itself.
    """

    method: str
    verdict: Verdict
    flops_compared: Fraction
    largest_tokens: int | None
    is_above: bool


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
    flops, claims = Fraction(estimate.executed), inputs.claims
    high = None if estimate.not_counted else flops
    reasons = tuple(f"{name} has no formula" for name in estimate.not_counted)
    executed = Amount(flops, flops, high, GIVEN, reasons)
    again = estimate.recomputed
    phases = [PhaseAmount("recompute", again, again, again, measured=False)] if again else []
    basis = guidelines_basis(executed, phases, claims).amount
    verdict = judge(policy, inputs, executed, basis)
    compared, a_token, beside = executed, estimate.executed_a_token, Fraction(0)
    if policy.flops_compared == GUIDELINES_BASIS:
        compared, beside = basis, claims.generated_flops
        if "recompute" in claims.deducted_phases:
            a_token = estimate.guidelines_basis_a_token
    bounded = not estimate.not_counted and (inputs.gpai or policy.gpai_condition is None)
    left = verdict.threshold_flops - beside
    largest = largest_tokens_below(left, a_token) if bounded and left >= 0 else None
    return ThresholdDistance(estimate.method.describe(), verdict, compared.value or Fraction(0), largest, left < 0)
