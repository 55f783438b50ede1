"""``ftprof estimate``: the compute of a fine-tune before any GPU is rented."""

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
from ftprof.policy.choice import PolicyOptions, read_policy_options
from ftprof.quantity import parse_quantity

if TYPE_CHECKING:
    from ftprof.estimate.chip import PlannedChip
    from ftprof.estimate.workload import WorkloadOptions

_DEFAULT_UTILIZATION = "0.4"
_LARGEST = 10**30


# click's types are generic from 8.2 on.
if TYPE_CHECKING:
    _ParamType = click.ParamType[int]
else:
    _ParamType = click.ParamType


class _Count(_ParamType):
    """A whole number from 1 on, also as 1e3."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        number = parse_quantity(str(value), param.opts[-1] if param is not None else "the number")
        if number.denominator != 1 or number < 1:
            self.fail(f"{value} is no whole number from 1 on", param, ctx)
        return int(number)


_COUNT = _Count()


@dataclass(frozen=True)
class EstimateOptions:
    """The options as they stand on the command line."""

    config: Path
    method: str
    lora_rank: int | None
    lora_targets: tuple[str, ...]
    spectrum_layers: tuple[str, ...]
    sequence_length: int
    batch_size: int
    tokens: str | None
    samples: str | None
    epochs: int | None
    mean_length: str | None
    packing: bool
    gradient_checkpointing: bool
    attention: str
    chip: str | None
    multiprocessors: int | None
    clock_mhz: int | None
    utilization: str | None


@click.command(name="estimate")
@click.argument("config", type=GivenPath())
@click.option("--method", type=click.Choice(["full", "lora", "qlora", "spectrum"]), default="full", show_default=True)
@click.option("--lora-rank", type=_COUNT, help="Rank of the adapters. Default: 16.")
@click.option(
    "--lora-targets",
    multiple=True,
    callback=refuse_forgotten_value,
    metavar="NAMES",
    help="Modules with adapters, such as q_proj,v_proj; repeatable. Default: all-linear.",
)
@click.option(
    "--spectrum-layers",
    multiple=True,
    callback=refuse_forgotten_value,
    metavar="LAYERS",
    help="What Spectrum trains: layer numbers, or patterns from the beginning of a parameter's name; repeatable. "
    "In the table without it: every fourth layer.",
)
@click.option("--sequence-length", type=_COUNT, required=True, help="Positions in a sequence.")
@click.option("--batch-size", type=_COUNT, default=1, show_default=True, help="Sequences in a forward pass.")
@click.option(
    "--tokens", metavar="N", callback=refuse_forgotten_value, help="Tokens in all epochs together, such as 1e9."
)
@click.option(
    "--samples", metavar="N", callback=refuse_forgotten_value, help="Samples of the dataset, in place of --tokens."
)
@click.option("--epochs", type=_COUNT, help="Times that all --samples are seen. Default: 1.")
@click.option(
    "--mean-length",
    metavar="N",
    callback=refuse_forgotten_value,
    help="Mean number of tokens in a sample; the rest of its sequence is padding, or filled by --packing.",
)
@click.option(
    "--packing/--no-packing",
    default=True,
    show_default=True,
    help="Samples fill sequences; or each is padded to the sequence length, and padding executes.",
)
@click.option(
    "--gradient-checkpointing",
    is_flag=True,
    help="Activations are recomputed: in the executed FLOPs, not on the guidelines' basis.",
)
@click.option(
    "--attention",
    type=click.Choice(["sdpa", "flash", "eager"]),
    default="sdpa",
    show_default=True,
    help="The kernel: fused (sdpa, flash), or plain products that keep the scores (eager).",
)
@click.option("--chip", metavar="NAME", callback=refuse_forgotten_value, help="GPU-hours and energy on this GPU.")
@click.option("--multiprocessors", type=_COUNT, help="Of a --chip that is a compute capability such as 9.0.")
@click.option("--clock-mhz", type=_COUNT, help="Of a --chip that is a compute capability: its clock.")
@click.option(
    "--utilization",
    metavar="U",
    callback=refuse_forgotten_value,
    help=f"Share of the dense bf16 peak, 0 < U <= 1. Default: {_DEFAULT_UTILIZATION}, an assumption.",
)
@policy_options
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
def command(policy_options: PolicyOptions, as_json: bool, **options: Any) -> None:
    """Estimate a fine-tune of the model that CONFIG describes: a config.json, or the folder that holds one.

    One forward and backward pass without weights or data, counted by the formulas that wrap applies. No network.
    """
    _estimate(EstimateOptions(**options), policy_options, as_json)


def _estimate(options: EstimateOptions, policies: PolicyOptions, as_json: bool) -> None:
    from ftprof.estimate.config import read_config
    from ftprof.estimate.estimate import PolicyQuestion, estimate
    from ftprof.estimate.method import read_method, split_list
    from ftprof.report.estimate_text import estimate_text

    targets, layers = split_list(options.lora_targets), split_list(options.spectrum_layers)
    method = read_method(options.method, options.lora_rank, targets, layers)
    choice = read_policy_options(policies)
    chip = _chip(options)
    utilization = parse_quantity(options.utilization or _DEFAULT_UTILIZATION, "--utilization")
    if not 0 < utilization <= 1:
        raise UsageProblem(f"--utilization {options.utilization} is not above 0 and at most 1, such as 0.4 for 40 %")
    notes = list(choice.notes)
    if chip is not None and options.utilization is None:
        notes.append(f"The utilisation of {_DEFAULT_UTILIZATION} is an assumption; state yours with --utilization.")
    answer = estimate(
        read_config(options.config),
        method,
        _workload(options),
        PolicyQuestion(choice.policies, choice.inputs, tuple(notes)),
        attention=options.attention,
        checkpointing=options.gradient_checkpointing,
        chip=chip,
        utilization=utilization,
    )
    if as_json:
        text = json.dumps(answer.to_json(), indent=1, ensure_ascii=False)
        write_stdout(text if takes(sys.stdout, text) else json.dumps(answer.to_json(), indent=1))
    else:
        write_stdout(printable(sys.stdout, estimate_text(answer)))


def _chip(options: EstimateOptions) -> PlannedChip | None:
    from ftprof.estimate.chip import find_chip

    if options.chip is not None:
        return find_chip(options.chip, options.multiprocessors, options.clock_mhz)
    for name, value in (
        ("--multiprocessors", options.multiprocessors),
        ("--clock-mhz", options.clock_mhz),
        ("--utilization", options.utilization),
    ):
        if value is not None:
            raise UsageProblem(f"{name} says something about a GPU; name the GPU with --chip")
    return None


def _workload(options: EstimateOptions) -> WorkloadOptions:
    from ftprof.estimate.workload import WorkloadOptions

    mean = options.mean_length
    return WorkloadOptions(
        sequence_length=options.sequence_length,
        batch_size=options.batch_size,
        tokens=_whole(options.tokens, "--tokens"),
        samples=_whole(options.samples, "--samples"),
        epochs=options.epochs,
        mean_length=None if mean is None else parse_quantity(mean, "--mean-length"),
        packing=options.packing,
    )


def _whole(text: str | None, what: str) -> int | None:
    """A whole number above 0, also written as 1e9."""

    if text is None:
        return None
    number: Fraction = parse_quantity(text, what)
    if number.denominator != 1 or not 1 <= number <= _LARGEST:
        raise UsageProblem(f"{what} {text} is no whole number from 1 to 10^30")
    return int(number)
