"""The options about the base model and the policies, shared by the commands that give a verdict."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from ftprof.errors import UsageProblem
from ftprof.policy.base_compute import PRETRAIN_VARIABLE, TABLE_VARIABLE
from ftprof.policy.choice import PolicyOptions


def refuse_forgotten_value(_context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A click callback: an option's value that is ``--`` or empty was forgotten most likely, and is wrong usage."""
    values = value if isinstance(value, tuple) else (value,)
    if "--" in values:
        raise UsageProblem(f"{parameter.opts[-1]} has the value '--'; give it a value of its own before the '--'")
    if "" in values:
        raise UsageProblem(f"{parameter.opts[-1]} is empty; is a variable of the shell not set?")
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
        callback=refuse_forgotten_value,
        help=f"The base model's training compute in FLOP, such as 8.4e22 (env {PRETRAIN_VARIABLE}).",
    ),
    click.option(
        "--base-model",
        metavar="NAME",
        callback=refuse_forgotten_value,
        help="Look the base model's training compute up in the table that ships with ftprof.",
    ),
    click.option(
        "--base-models",
        metavar="FILE",
        callback=refuse_forgotten_value,
        help=f"Look --base-model up in this CSV too, before the table that ships (env {TABLE_VARIABLE}).",
    ),
    click.option(
        "--pretrain-params",
        metavar="N",
        callback=refuse_forgotten_value,
        help="Estimate the base model's compute by 6PD from its parameters, with --pretrain-tokens.",
    ),
    click.option(
        "--pretrain-tokens",
        metavar="D",
        callback=refuse_forgotten_value,
        help="The tokens it was trained on, such as 15e12.",
    ),
    click.option(
        "--pretrain-gpu-hours",
        metavar="H",
        callback=refuse_forgotten_value,
        help="Estimate it from GPU hours, with --pretrain-gpu-peak and --pretrain-utilization.",
    ),
    click.option(
        "--pretrain-gpu-peak",
        metavar="X",
        callback=refuse_forgotten_value,
        help="One GPU's peak in FLOP a second and which peak it is: '989e12 dense BF16, H100 SXM'.",
    ),
    click.option(
        "--pretrain-utilization",
        metavar="U",
        callback=refuse_forgotten_value,
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
        callback=refuse_forgotten_value,
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
        callback=refuse_forgotten_value,
        help="Compute in FLOP that generated training data outside the run; added to the guidelines-basis figure.",
    ),
    click.option(
        "--public-generation/--no-public-generation",
        default=None,
        help="The data that the run generates are publicly accessible: its phase 'generate' is deducted.",
    ),
)
