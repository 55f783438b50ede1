"""The options about the base model and the policies, shared by the commands that give a verdict."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from ftprof.cli.base_compute import PRETRAIN_VARIABLE, TABLE_VARIABLE, read_base_compute
from ftprof.errors import EXIT_USAGE, FtprofError, UsageProblem

if TYPE_CHECKING:
    from ftprof.policy.claims import Claims
    from ftprof.policy.inputs import PolicyInputs
    from ftprof.policy.policy import Policy


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


def refuse_separator(_context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A click callback: an option value that is ``--`` is wrong usage, a forgotten value most likely."""
    values = value if isinstance(value, tuple) else (value,)
    if "--" in values:
        raise UsageProblem(f"{parameter.opts[-1]} has the value '--'; give it a value of its own before the '--'")
    return value


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options to a click command, which gets them as one ``policy_options: PolicyOptions``."""

    @functools.wraps(command)
    def with_policy_options(*args: Any, **given: Any) -> Any:
        options = PolicyOptions(**{field.name: given.pop(field.name) for field in fields(PolicyOptions)})
        return command(*args, policy_options=options, **given)

    decorated: Callable[..., Any] = with_policy_options
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


_OPTIONS = (
    click.option(
        "--pretrain-flops",
        metavar="X",
        callback=refuse_separator,
        help=f"The base model's training compute in FLOP, such as 8.4e22 (env {PRETRAIN_VARIABLE}).",
    ),
    click.option(
        "--base-model",
        metavar="NAME",
        callback=refuse_separator,
        help="Look the base model's training compute up in the table that ships with ftprof.",
    ),
    click.option(
        "--base-models",
        metavar="FILE",
        callback=refuse_separator,
        help=f"Look --base-model up in this CSV too, before the table that ships (env {TABLE_VARIABLE}).",
    ),
    click.option(
        "--pretrain-params",
        metavar="N",
        callback=refuse_separator,
        help="Estimate the base model's compute by 6PD from its parameters, with --pretrain-tokens.",
    ),
    click.option(
        "--pretrain-tokens", metavar="D", callback=refuse_separator, help="The tokens it was trained on, such as 15e12."
    ),
    click.option(
        "--pretrain-gpu-hours",
        metavar="H",
        callback=refuse_separator,
        help="Estimate it from GPU hours, with --pretrain-gpu-peak and --pretrain-utilization.",
    ),
    click.option(
        "--pretrain-gpu-peak",
        metavar="X",
        callback=refuse_separator,
        help="One GPU's peak in FLOP a second and which peak it is: '989e12 dense BF16, H100 SXM'.",
    ),
    click.option(
        "--pretrain-utilization",
        metavar="U",
        callback=refuse_separator,
        help="The average share of the peak that was reached, 0 < U <= 1.",
    ),
    click.option(
        "--systemic-risk/--no-systemic-risk",
        default=None,
        help="Whether the base model has systemic risk, where that is known.",
    ),
    click.option("--no-gpai", is_flag=True, help="The base model is no general-purpose model."),
    click.option(
        "--policy",
        "policies",
        metavar="NAME",
        multiple=True,
        callback=refuse_separator,
        help="Judge by this policy; repeatable. Default: every policy that ships. The first named decides "
        "the exit code; where none is named, the worst verdict does.",
    ),
    click.option(
        "--deduct",
        type=click.Choice(["recompute", "evaluate", "auxiliary"]),
        multiple=True,
        help="Deduct this phase from the guidelines-basis figure; repeatable. Recompute and evaluate are by default.",
    ),
    click.option(
        "--no-deduct",
        type=click.Choice(["recompute", "evaluate", "auxiliary"]),
        multiple=True,
        help="Leave this phase in the guidelines-basis figure; repeatable.",
    ),
    click.option(
        "--generated-flops",
        metavar="X",
        callback=refuse_separator,
        help="Compute in FLOP that generated training data outside the run; added to the guidelines-basis figure.",
    ),
    click.option(
        "--public-generation/--no-public-generation",
        default=None,
        help="The data that the run generates are publicly accessible: its phase 'generate' is deducted.",
    ),
)


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
    )
    notes = [] if recorded is None else _overridden(recorded, inputs)
    if base.note is not None:
        notes.append(base.note)
    policies = _policies(options.policies, unknown_policy_exit)
    return PolicyChoice(inputs, policies, bool(options.policies), tuple(notes))


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

    low, high = inputs.pretrain_flops_low, inputs.pretrain_flops_high
    if low is None or high is None:
        return "unknown"
    return f"{to_json(low)} FLOP" if low == high else f"{to_json(low)} or {to_json(high)} FLOP"


def _claims_text(claims: Claims) -> str:
    from ftprof.quantity import to_json

    text = f"deduct {', '.join(claims.deducted_phases) or 'nothing'}"
    return f"{text}, add {to_json(claims.generated_flops)} FLOP generated" if claims.generated_flops else text


def _flag_text(flag: bool | None) -> str:
    return {None: "not stated", True: "yes", False: "no"}[flag]
