"""The questions that a policy's source leaves open and that bear on this answer: notes, never verdicts."""

from __future__ import annotations

from fractions import Fraction

from ftprof.policy.amount import Amount
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.policy import Policy
from ftprof.policy.verdict import Verdict


def general_notes(policy: Policy) -> list[str]:
    """The open points that bear on every answer of the policy."""
    return [point.text for point in policy.open_points if point.when == "always"]


def notes_on(policy: Policy, inputs: PolicyInputs, amount: Amount, verdict: Verdict) -> list[str]:
    """The open points that bear on this base model, verdict, and the amount that it compares only."""
    notes = []
    for point in policy.open_points:
        crosses = point.sum_more_than is not None and _sum_crosses(inputs, amount, point.sum_more_than)
        if crosses or point.when == verdict.verdict == "within-margin":
            notes.append(point.text)
    return notes


def _sum_crosses(inputs: PolicyInputs, amount: Amount, limit: Fraction) -> bool:
    """Whether the base model is not above the limit, in FLOP, but may be together with the modification."""
    most = amount.high if amount.high is not None else amount.value
    return most is not None and any(base is not None and base <= limit < base + most for base in inputs.base_figures())
