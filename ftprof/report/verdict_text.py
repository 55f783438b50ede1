"""Verdicts as a person reads them in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from fractions import Fraction

from ftprof.policy.amount import Amount
from ftprof.policy.derivation import basis_text, times_apart
from ftprof.policy.guidelines import GuidelinesBasis
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.verdict import Verdict, difference_notice
from ftprof.quantity import to_json, two_figures

WIDTH = 100
NOT_ADVICE = "Indicative, case by case (Guidelines, paragraphs 9 and 62-63 of July 2025); not legal advice."

_LABEL = 11
_NEITHER = (
    "compute neither known nor estimated; try first --pretrain-params N --pretrain-tokens D (6PD), or "
    "--pretrain-gpu-hours H --pretrain-gpu-peak X --pretrain-utilization U; a figure or a name is stated with "
    "--pretrain-flops or --base-model"
)


def verdict_text(
    amount: Amount,
    basis: GuidelinesBasis,
    complete: bool,
    inputs: PolicyInputs,
    verdicts: Sequence[Verdict],
    notes: Sequence[str],
) -> str:
    """The whole answer: both figures, the base model, each policy's verdict, where they differ, and notes."""
    lines = [*_amount_lines(amount, complete), *_basis_lines(basis), *_field("Base model", base_text(inputs))]
    for verdict in verdicts:
        lines += ["", *verdict_lines(verdict)]
    difference = difference_notice(verdicts)
    if difference:
        lines += ["", *textwrap.wrap(difference, WIDTH)]
    lines.append("")
    for note in notes:
        lines += textwrap.wrap(f"Note: {note}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join([*lines, NOT_ADVICE])


def verdict_lines(verdict: Verdict) -> list[str]:
    """One policy's verdict: the word first, then scenario, threshold, ratio, why and source."""
    threshold = exact_and_short(verdict.threshold_flops)
    if verdict.ratio is not None:
        threshold += f"; the compute is {share_text(verdict.ratio, 'it')}"
    return [
        f"{verdict.policy}: {verdict.verdict}",
        *_field("  scenario", f"{verdict.scenario} ({verdict.scenario_number}), {verdict.flops_compared} FLOPs"),
        *_field("  threshold", threshold),
        *_field("  why", verdict.why),
        *_field("  source", verdict.source),
    ]


def exact_and_short(flops: Fraction) -> str:
    """Two significant figures beside the exact number: ``4.0x10^22 FLOP (40000000000000000000000)``."""
    short, exact = two_figures(flops), to_json(flops)
    return f"{short} FLOP" if short == exact else f"{short} FLOP ({exact})"


def share_text(ratio: Fraction, of: str) -> str:
    """The part that ``ratio`` is of something; a rounded 100 % is never shown for what is not exactly that."""
    if ratio == 0:
        return f"0 % of {of}"
    if ratio < Fraction(1, 1000):
        return f"{two_figures(ratio)} of {of}"
    if ratio >= 100:
        return f"{two_figures(ratio)} times {of}"
    percent = ratio * 100
    if percent < 10:
        return f"{_decimal(percent, 1 if percent >= 1 else 2)} % of {of}"
    if ratio != 1 and _decimal(percent, 0) == "100":
        return f"just {'over' if ratio > 1 else 'under'} 100 % of {of}"
    return f"{_decimal(percent, 0)} % of {of}"


def _decimal(number: Fraction, places: int) -> str:
    """The number rounded half up to so many decimals."""
    scaled = str((number * 10**places + Fraction(1, 2)).__floor__()).rjust(places + 1, "0")
    return f"{scaled[:-places]}.{scaled[-places:]}" if places else scaled


def _amount_lines(amount: Amount, complete: bool) -> list[str]:
    value = "nothing counted" if amount.value is None else exact_and_short(amount.value)
    lines = _field("Compute", f"{value}, method {amount.method}")
    if not amount.low == amount.value == amount.high:
        high = "unbounded" if amount.high is None else exact_and_short(amount.high)
        lines += _field("Interval", f"from {exact_and_short(amount.low)} to {high}")
    if not complete:
        lines += _field("Incomplete", "; ".join(amount.reasons) or "no reason recorded")
    return lines


def _basis_lines(basis: GuidelinesBasis) -> list[str]:
    """The guidelines-basis figure and its parts, where it is another one than the executed."""
    if not basis.parts:
        return []
    value = basis.amount.value
    lines = _field(
        "Guidelines", "nothing counted" if value is None else f"{exact_and_short(value)} on guidelines-basis"
    )
    for part in basis.parts:
        verb = ("less" if part.sign < 0 else "plus") if part.claimed else "not claimed:"
        size = exact_and_short(part.flops)
        spread = "" if part.low == part.high else f", {two_figures(part.low)} to {two_figures(part.high)}"
        lines += _field("", f"{verb} {size} {part.name}, {part.basis}{spread}: {part.what} ({part.source})")
    return lines


def base_text(inputs: PolicyInputs) -> str:
    """The base model's name, its compute by each derivation, how far these are apart, and what was stated of it."""
    known = [flops for flops in inputs.base_figures() if flops is not None]
    parts = [inputs.base_model] if inputs.base_model else []
    figures = [
        f"{exact_and_short(flops)} ({basis_text(kind)})"
        for flops, kind in zip(known, inputs.base_kinds(), strict=False)
    ]
    parts.append(" or ".join(figures) or _NEITHER)
    if len(known) > 1 and (apart := times_apart(known[0], known[-1])):
        parts.append(f"{apart}, more than the Guidelines' 30 % margin of error (paragraph 123 of July 2025)")
    if inputs.systemic_risk is not None:
        parts.append("stated to have systemic risk" if inputs.systemic_risk else "stated to have no systemic risk")
    if not inputs.gpai:
        parts.append("stated to be no general-purpose model")
    return ", ".join(parts)


def _field(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"{label:<{_LABEL}} ",
        subsequent_indent=" " * (_LABEL + 1),
        break_long_words=False,
        break_on_hyphens=False,
    )
