"""A record with what policies say of it: the guidelines-basis figure and the verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from ftprof.policy.guidelines import figures_of
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.policy import Policy
from ftprof.policy.verdict import Verdict, judge
from ftprof.record.record import Record


def judged(record: Record, inputs: PolicyInputs, policies: Sequence[Policy]) -> tuple[Record, tuple[Verdict, ...]]:
    """The record with these inputs and all that follows from them, and the verdicts."""
    executed, basis = figures_of(record, inputs.claims)
    verdicts = tuple(judge(policy, inputs, executed, basis.amount) for policy in policies)
    answers = tuple(verdict.to_json() for verdict in verdicts)
    return record.judged(inputs.to_json(), answers, basis.to_json()), verdicts
