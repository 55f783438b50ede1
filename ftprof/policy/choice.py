"""What a verdict is asked for: the base model and the policies as a user states them, and what that means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftprof.errors import EXIT_USAGE, FtprofError, UsageProblem
from ftprof.policy.base_compute import read_base_compute

if TYPE_CHECKING:
    from ftprof.policy.claims import Claims
    from ftprof.policy.inputs import PolicyInputs
    from ftprof.policy.policy import Policy
    from ftprof.policy.verdict import Verdict
    from ftprof.record.record import Record


@dataclass(frozen=True)
class PolicyOptions:
    """The options as they stand on the command line, unread."""

    pretrain_flops: str | None = None
    base_model: str | None = None
    systemic_risk: bool | None = None
    no_gpai: bool = False
    policies: tuple[str, ...] = ()
    deduct: tuple[str, ...] = ()
    no_deduct: tuple[str, ...] = ()
    generated_flops: str | None = None
    public_generation: bool | None = None
    base_models: str | None = None
    pretrain_params: str | None = None
    pretrain_tokens: str | None = None
    pretrain_gpu_hours: str | None = None
    pretrain_gpu_peak: str | None = None
    pretrain_utilization: str | None = None


@dataclass(frozen=True)
class PolicyChoice:
    """What the options mean: the base model, the policies in order, whether any was named, and notes."""

    inputs: PolicyInputs
    policies: tuple[Policy, ...]
    named: bool
    notes: tuple[str, ...]


def read_policy_options(
    options: PolicyOptions,
    *,
    recorded: PolicyInputs | None = None,
    environment: Mapping[str, str] = os.environ,
    unknown_policy_exit: int = EXIT_USAGE,
) -> PolicyChoice:
    """Read the options: the command line goes before the record's inputs, and these before the environment.

    Raises UsageProblem for a bad value or a contradiction, and FtprofError with ``unknown_policy_exit`` for a
    policy that does not ship.
    """
    from ftprof.policy.inputs import PolicyInputs

    before = recorded or PolicyInputs()
    base = read_base_compute(options, before, environment)
    inputs = PolicyInputs(
        pretrain_flops_low=base.low,
        pretrain_flops_high=base.high,
        pretrain_source=base.source,
        base_model=base.model,
        systemic_risk=before.systemic_risk if options.systemic_risk is None else options.systemic_risk,
        gpai=before.gpai and not options.no_gpai,
        claims=_claims(options, before.claims),
        pretrain_low_kind=base.low_kind,
        pretrain_high_kind=base.high_kind,
        pretrain_between=base.between,
    )
    notes = [] if recorded is None else _overridden(recorded, inputs)
    if base.note is not None:
        notes.append(base.note)
    policies = _policies(options.policies, unknown_policy_exit)
    return PolicyChoice(inputs, policies, bool(options.policies), tuple(notes))


def judge_record(record: Record, choice: PolicyChoice) -> tuple[Record, tuple[Verdict, ...]]:
    """The record with its policies' inputs and verdicts, and the verdicts."""
    from ftprof.policy.judged import judged

    return judged(record, choice.inputs, choice.policies)


def _claims(options: PolicyOptions, before: Claims) -> Claims:
    from ftprof.policy.claims import DEDUCTIBLE, Claims
    from ftprof.quantity import parse_quantity

    both = set(options.deduct) & set(options.no_deduct)
    if both:
        raise UsageProblem(f"--deduct {min(both)} contradicts --no-deduct {min(both)}; leave one of them out")
    wanted = ({*before.deduct} | {*options.deduct}) - {*options.no_deduct}
    generated, public = options.generated_flops, options.public_generation
    return Claims(
        deduct=tuple(phase for phase in DEDUCTIBLE if phase in wanted),
        generated_flops=before.generated_flops if generated is None else parse_quantity(generated, "--generated-flops"),
        public_generation=before.public_generation if public is None else public,
    )


def _policies(names: tuple[str, ...], unknown_policy_exit: int) -> tuple[Policy, ...]:
    from ftprof.policy.policy import load_policy, policy_names

    try:
        return tuple(load_policy(name) for name in dict.fromkeys(names or policy_names()))
    except UsageProblem as error:
        raise FtprofError(f"--policy: {error.message}", unknown_policy_exit) from error


def _overridden(recorded: PolicyInputs, inputs: PolicyInputs) -> list[str]:
    """The line that says which of the record's own inputs the answer does not use, if there are any."""
    pairs = (
        ("base compute", _base_text(inputs), _base_text(recorded)),
        ("base model", inputs.base_model or "not named", recorded.base_model or "not named"),
        ("systemic risk", _flag_text(inputs.systemic_risk), _flag_text(recorded.systemic_risk)),
        ("general-purpose base", _flag_text(inputs.gpai), _flag_text(recorded.gpai)),
        ("claims", _claims_text(inputs.claims), _claims_text(recorded.claims)),
    )
    changes = "; ".join(f"{what} {now} (record: {then})" for what, now, then in pairs if now != then)
    return [f"In place of the record's own policy inputs: {changes}."] if changes else []


def _base_text(inputs: PolicyInputs) -> str:
    from ftprof.quantity import to_json

    figures = " or ".join(to_json(flops) for flops in inputs.base_figures() if flops is not None)
    return f"{figures} FLOP" if figures else "unknown"


def _claims_text(claims: Claims) -> str:
    from ftprof.quantity import to_json

    text = f"deduct {', '.join(claims.deducted_phases) or 'nothing'}"
    return f"{text}, add {to_json(claims.generated_flops)} FLOP generated" if claims.generated_flops else text


def _flag_text(flag: bool | None) -> str:
    return {None: "not stated", True: "yes", False: "no"}[flag]
