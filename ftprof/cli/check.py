"""``ftprof check``: the verdict on a record or on a bare number."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftprof.cli.given_path import GivenPath
from ftprof.cli.output import printable, takes, write_stdout
from ftprof.cli.policy_options import policy_options, refuse_forgotten_value
from ftprof.errors import UsageProblem
from ftprof.policy.choice import PolicyChoice, PolicyOptions, read_policy_options

if TYPE_CHECKING:
    from ftprof.policy.amount import Amount
    from ftprof.policy.guidelines import GuidelinesBasis
    from ftprof.policy.inputs import PolicyInputs
    from ftprof.policy.verdict import Verdict
    from ftprof.record.record import Record

SCHEMA = "ftprof.check/1"


@dataclass(frozen=True)
class Answer:
    """All that check found: the amount, each policy's verdict in order, the one that decides, and notes."""

    amount: Amount
    basis: GuidelinesBasis
    complete: bool
    inputs: PolicyInputs
    verdicts: tuple[Verdict, ...]
    deciding: Verdict
    notes: tuple[str, ...]
    general_notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The answer as schema ``ftprof.check/1``; ``notes`` only where there is something to say."""
        from ftprof.policy.verdict import difference_notice
        from ftprof.quantity import to_json

        def exact(flops: Fraction | None) -> str | None:
            return None if flops is None else to_json(flops)

        difference = difference_notice(self.verdicts)
        notes = [*([difference] if difference else []), *self.notes]
        return {
            "schema": SCHEMA,
            "flops": exact(self.amount.value),
            "low": exact(self.amount.low),
            "high": exact(self.amount.high),
            "method": self.amount.method,
            "complete": self.complete,
            "guidelines_basis": self.basis.to_json(),
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            **({"notes": notes} if notes else {}),
        }

    def to_text(self) -> str:
        """The answer for a person."""
        from ftprof.report.verdict_text import verdict_text

        notes = [*self.notes, *self.general_notes]
        return verdict_text(self.amount, self.basis, self.complete, self.inputs, self.verdicts, notes)


@click.command(name="check")
@click.argument("record", required=False, type=GivenPath())
@click.option(
    "--flops", metavar="X", callback=refuse_forgotten_value, help="Judge this number of FLOP, such as 3.3e22."
)
@click.option(
    "--error",
    metavar="E",
    callback=refuse_forgotten_value,
    help="The relative error of --flops, 0 <= E < 1. Default: 0.",
)
@policy_options
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
def command(
    record: Path | None, flops: str | None, error: str | None, policy_options: PolicyOptions, as_json: bool
) -> int:
    """The verdict on RECORD, or on a bare number given with --flops.

    Exit codes: 0 below, 3 above, 4 within the margin, 5 undetermined, 1 an unreadable record, 2 wrong usage.
    """
    from ftprof.policy.verdict import EXIT_CODES

    if (record is None) == (flops is None):
        raise UsageProblem("check judges one thing: give either a RECORD or --flops X")
    if flops is not None:
        answer = check_number(flops, error, policy_options)
    elif error is not None:
        raise UsageProblem("--error belongs to --flops; a record has an interval of its own")
    elif record is not None:
        from ftprof.record.record import load_record

        answer = check_record(load_record(record), f"record {record}", policy_options)
    write_stdout(_json_text(answer) if as_json else printable(sys.stdout, answer.to_text()))
    return EXIT_CODES[answer.deciding.verdict]


def check_number(flops: str, error: str | None, options: PolicyOptions) -> Answer:
    """The answer on a number of FLOP and its relative error as written. Raises UsageProblem."""
    from ftprof.policy.amount import Amount
    from ftprof.policy.guidelines import guidelines_basis
    from ftprof.quantity import parse_quantity, parse_relative_error

    relative_error = Fraction(0) if error is None else parse_relative_error(error, "--error")
    amount = Amount.given(parse_quantity(flops, "--flops"), relative_error)
    choice = read_policy_options(options)
    return _answer(amount, guidelines_basis(amount, (), choice.inputs.claims), True, choice)


def check_record(record: Record, where: str, options: PolicyOptions) -> Answer:
    """The answer on a record, whose own policy inputs hold where no option is given.

    Raises UsageProblem, and UntrustedInput, which names ``where``, for inputs that no ftprof wrote.
    """
    from ftprof.policy.guidelines import figures_of
    from ftprof.policy.inputs import PolicyInputs

    stored = record.policy_inputs
    recorded = PolicyInputs.from_json(stored, where) if stored else PolicyInputs()
    choice = read_policy_options(options, recorded=recorded)
    return _answer(*figures_of(record, choice.inputs.claims), record.complete, choice)


def _answer(amount: Amount, basis: GuidelinesBasis, complete: bool, choice: PolicyChoice) -> Answer:
    from ftprof.policy.amount import GUIDELINES_BASIS
    from ftprof.policy.open_points import general_notes, notes_on
    from ftprof.policy.verdict import deciding_verdict, judge

    verdicts = tuple(judge(policy, choice.inputs, amount, basis.amount) for policy in choice.policies)
    notes, general = list(choice.notes), []
    for policy, verdict in zip(choice.policies, verdicts, strict=True):
        compared = basis.amount if policy.flops_compared == GUIDELINES_BASIS else amount
        notes += notes_on(policy, choice.inputs, compared, verdict)
        general += general_notes(policy)
    deciding = deciding_verdict(verdicts, choice.named)
    return Answer(amount, basis, complete, choice.inputs, verdicts, deciding, tuple(notes), tuple(general))


def _json_text(answer: Answer) -> str:
    text = json.dumps(answer.to_json(), indent=1, ensure_ascii=False)
    return text if takes(sys.stdout, text) else json.dumps(answer.to_json(), indent=1)
