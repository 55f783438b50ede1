"""The base model's training compute from the options that give it: a figure, a name, or what it is estimated from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftprof.errors import UsageProblem

if TYPE_CHECKING:
    from fractions import Fraction

    from ftprof.policy.base_model_table import BaseModel
    from ftprof.policy.choice import PolicyOptions
    from ftprof.policy.derivation import Derivation
    from ftprof.policy.inputs import PolicyInputs

PRETRAIN_VARIABLE = "PRETRAIN_FLOPS"
TABLE_VARIABLE = "FTPROF_BASE_MODELS"

_LOWEST_PEAK = 10**11  # FLOP a second; a number below it was meant in TFLOP/s


@dataclass(frozen=True)
class BaseCompute:
    """Both ends in FLOP (None where unknown), how each came about, from where, and the table's model if one was named.

    ``between`` are the figures of further derivations, from low to high, each with its kind.
    ``note`` is what an answer should say about it, where the user did not state the figure on this command line.
    """

    low: Fraction | None = None
    high: Fraction | None = None
    low_kind: str | None = None
    high_kind: str | None = None
    source: str | None = None
    model: str | None = None
    note: str | None = None
    between: tuple[tuple[Fraction, str | None], ...] = ()


def read_base_compute(options: PolicyOptions, before: PolicyInputs, environment: Mapping[str, str]) -> BaseCompute:
    """What the options say, else what ``before`` (a record) says, else the environment.

    Raises UsageProblem for a bad value, a name that fits no model or several, and options that contradict each other.
    """
    from ftprof.policy.derivation import STATED
    from ftprof.quantity import parse_base_compute

    estimates = read_estimates(options)
    model = _named_model(options, environment)
    name = model.name if model else options.base_model or before.base_model
    if estimates:
        return _ends(estimates, "; or ".join(f"estimated, {estimate.source}" for estimate in estimates), name)
    if options.pretrain_flops is not None:
        given = parse_base_compute(options.pretrain_flops, "--pretrain-flops")
        return BaseCompute(given, given, STATED, STATED, "given with --pretrain-flops", name)
    if model is not None and model.derivations:
        return _ends(model.derivations, model.describe(), name)
    if model is None and before.pretrain_flops_low is not None:
        return _recorded(before, name)
    if environment.get(PRETRAIN_VARIABLE):  # set to nothing, as CI systems do, is not set
        given = parse_base_compute(environment[PRETRAIN_VARIABLE], PRETRAIN_VARIABLE)
        source = f"given with the environment variable {PRETRAIN_VARIABLE}"
        return BaseCompute(given, given, STATED, STATED, source, name, f"Base compute: {source}.")
    return BaseCompute(model=name, note=f"Base compute: {model.describe()}." if model else None)


def read_estimates(options: PolicyOptions) -> list[Derivation]:
    """What the options estimate the base compute from: 6PD, GPU hours, both, or nothing. Raises UsageProblem."""
    six_pd = {"--pretrain-params": options.pretrain_params, "--pretrain-tokens": options.pretrain_tokens}
    hours = {
        "--pretrain-gpu-hours": options.pretrain_gpu_hours,
        "--pretrain-gpu-peak": options.pretrain_gpu_peak,
        "--pretrain-utilization": options.pretrain_utilization,
    }
    given = [name for name, value in {**six_pd, **hours}.items() if value is not None]
    figures = {"--pretrain-flops": options.pretrain_flops, "--base-model": options.base_model}
    for name, value in figures.items():
        if given and value is not None:
            raise UsageProblem(
                f"{given[0]} contradicts {name}: both give the base model's compute; leave one of them out"
            )
    estimates = []
    if texts := _all_or_none(six_pd, "6PD is 6 x parameters x tokens"):
        estimates.append(_six_pd(*texts))
    if texts := _all_or_none(hours, "the estimate is hours x 3600 x peak x utilization"):
        estimates.append(_gpu_hours(*texts))
    return estimates


def _all_or_none(options: Mapping[str, str | None], why: str) -> list[str]:
    missing = [name for name, value in options.items() if value is None]
    given = [name for name, value in options.items() if value is not None]
    if given and missing:
        raise UsageProblem(f"{given[0]} needs {' and '.join(missing)} too: {why}")
    return [value for value in options.values() if value is not None]


def _six_pd(params: str, tokens: str) -> Derivation:
    from ftprof.policy.estimates import six_pd
    from ftprof.quantity import parse_base_compute

    return six_pd(
        parse_base_compute(params, "--pretrain-params"),
        parse_base_compute(tokens, "--pretrain-tokens"),
        "not stated",
        "given with --pretrain-params and --pretrain-tokens",
    )


def _gpu_hours(hours: str, peak: str, utilization: str) -> Derivation:
    from ftprof.policy.estimates import gpu_hours
    from ftprof.quantity import parse_base_compute, shown

    share = parse_base_compute(utilization, "--pretrain-utilization")
    if share > 1:
        raise UsageProblem(f"--pretrain-utilization {shown(utilization)} is above 1; write 0.5 for 50 %")
    rate, basis = _peak(peak)
    origin = "given with --pretrain-gpu-hours, --pretrain-gpu-peak and --pretrain-utilization"
    return gpu_hours(parse_base_compute(hours, "--pretrain-gpu-hours"), rate, basis, share, "not stated", origin)


def _peak(text: str) -> tuple[Fraction, str]:
    """One GPU's peak in FLOP a second, and which peak that is: nothing looks it up by the GPU's name."""
    from ftprof.quantity import parse_base_compute, shown

    number, _, basis = text.strip().partition(" ")
    rate = parse_base_compute(number, "--pretrain-gpu-peak")
    form = "write FLOP a second and which peak it is, such as '989e12 dense BF16, H100 SXM'"
    if rate < _LOWEST_PEAK:
        raise UsageProblem(f"--pretrain-gpu-peak {shown(text)} is less than 10^11, which no GPU's peak is; {form}")
    if not basis.strip() or not basis.isprintable():
        raise UsageProblem(f"--pretrain-gpu-peak {shown(text)} does not say on what basis; {form}")
    return rate, basis.strip()


def _ends(derivations: list[Derivation] | tuple[Derivation, ...], source: str, name: str | None) -> BaseCompute:
    # Of several that give the same figure, the first in the table says how it came about.
    kinds: dict[Fraction, str | None] = {}
    for derivation in derivations:
        kinds.setdefault(derivation.flops, derivation.kind)
    figures = sorted(kinds.items())
    (low, low_kind), (high, high_kind) = figures[0], figures[-1]
    between = tuple(figures[1:-1])
    return BaseCompute(low, high, low_kind, high_kind, source, name, f"Base compute: {source}.", between)


def _recorded(before: PolicyInputs, name: str | None) -> BaseCompute:
    source = before.pretrain_source
    return BaseCompute(
        before.pretrain_flops_low,
        before.pretrain_flops_high,
        before.pretrain_low_kind,
        before.pretrain_high_kind,
        source,
        name,
        None if source is None else f"Base compute: {source}.",
        before.pretrain_between,
    )


def _named_model(options: PolicyOptions, environment: Mapping[str, str]) -> BaseModel | None:
    """The model that --base-model names; beside a given compute, the name need not be in a table."""
    if options.base_model is None:
        if options.base_models is not None:
            raise UsageProblem("--base-models adds models for --base-model to find; name one with --base-model NAME")
        return None
    from ftprof.policy.base_model_table import read_own_models
    from ftprof.policy.base_models import find_base_model

    path = options.base_models if options.base_models is not None else environment.get(TABLE_VARIABLE)
    what = "--base-models" if options.base_models is not None else TABLE_VARIABLE
    own = read_own_models(path, what) if path else ()
    try:
        return find_base_model(options.base_model, own)
    except UsageProblem:
        if options.pretrain_flops is None or not options.base_model.isprintable():
            raise
        return None
