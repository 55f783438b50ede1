"""The answer of ``ftprof estimate`` as text: one screen."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from ftprof.quantity import two_figures
from ftprof.report.verdict_text import NOT_ADVICE, WIDTH, exact_and_short, share_text

if TYPE_CHECKING:
    from ftprof.estimate.chip import MachineUse
    from ftprof.estimate.estimate import Estimate
    from ftprof.estimate.method_estimate import MethodEstimate
    from ftprof.estimate.threshold_distance import ThresholdDistance

_LABEL = 11


def estimate_text(answer: Estimate) -> str:
    """The chosen method first, the figures of others beside it, then the table of methods and policies."""
    from ftprof.estimate.estimate import CONVENTION

    chosen = answer.chosen
    lines = [
        *_field("Fine-tune", _fine_tune(answer)),
        *_field("Workload", _workload(answer)),
        *_field("Executed", exact_and_short(Fraction(chosen.executed))),
        *_field("", _parts(chosen)),
        *_field("Guidelines", f"{exact_and_short(Fraction(chosen.guidelines_basis))}, without recomputed activations"),
    ]
    for figure in chosen.references:
        lines += _field(figure.name, f"{two_figures(Fraction(figure.flops))} FLOP, {figure.source}")
    lines += ["", *_table(answer), ""]
    if answer.machine:
        lines += [*_machine(answer.machine), ""]
    lines += _wrapped(f"Assumed: {'; '.join([*answer.workload.assumptions, CONVENTION])}.")
    for note in answer.notes:
        lines += _wrapped(f"Note: {note}")
    return "\n".join([*lines, NOT_ADVICE])


def _fine_tune(answer: Estimate) -> str:
    chosen = answer.chosen
    parts = [
        answer.model_type,
        chosen.method.describe(),
        f"{chosen.parameters:,} parameters, {chosen.trainable:,} trained",
        f"attention {chosen.attention_kind}",
    ]
    return "; ".join([*parts, *(["activations recomputed"] if answer.checkpointing else [])])


def _workload(answer: Estimate) -> str:
    workload = answer.workload
    padding = "unknown" if workload.padding is None else f"{workload.padding:,}"
    shapes = " + ".join(f"{shape.steps:,} of {shape.batch} x {shape.length}" for shape in workload.shapes)
    return f"{workload.positions:,} tokens, {padding} of them padding; {workload.steps:,} steps: {shapes}"


def _parts(chosen: MethodEstimate) -> str:
    def share(flops: int) -> str:
        return share_text(Fraction(flops, chosen.executed), "it") if chosen.executed else "none"

    parts = [f"forward {two_figures(Fraction(chosen.forward))}", f"backward {two_figures(Fraction(chosen.backward))}"]
    if chosen.recomputed:
        parts.append(f"forward recomputed {two_figures(Fraction(chosen.recomputed))}")
    if chosen.attention:
        parts.append(f"attention is {share(chosen.attention)} (scores computed again: {share(chosen.scores_again)})")
    return f"{two_figures(chosen.executed_a_token)} FLOP a token; {', '.join(parts)}"


def _table(answer: Estimate) -> list[str]:
    rows = [("method", "policy", "FLOP", "threshold", "share of it", "verdict", "most tokens below it")]
    for found in answer.distances:
        verdict = found.verdict
        rows.append(
            (
                found.method,
                verdict.policy,
                two_figures(Fraction(found.flops_compared)),
                two_figures(verdict.threshold_flops),
                "-" if verdict.ratio is None else share_text(verdict.ratio, "").removesuffix(" of ").strip(),
                verdict.verdict,
                _most_tokens(found),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[0] = min(widths[0], _METHOD_WIDTH)
    lines, before = [], ""
    for row in rows:
        first = "" if row[0] == before else textwrap.shorten(row[0], _METHOD_WIDTH, placeholder=" ...")
        cells = [first.ljust(widths[0]), *(cell.ljust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
        before = row[0]
    return lines


def _most_tokens(found: ThresholdDistance) -> str:
    if found.largest_tokens is not None:
        return f"{found.largest_tokens:,}"
    return "none" if found.is_above else "not bounded"


_METHOD_WIDTH = 34


def _machine(uses: Sequence[MachineUse]) -> list[str]:
    use = uses[0]
    chip, energy = use.chip, use.energy_kwh
    drawn = "energy unknown (power not known)"
    if energy is not None:
        drawn = f"{_hours(energy)} kWh at the GPUs' highest board power of {chip.power_w} W"
    text = (
        f"{_hours(use.gpu_hours)} GPU-hours at {share_text(use.utilization, 'its peak')} of "
        f"{two_figures(chip.peak)} FLOP/s ({chip.basis}); {drawn}; {chip.source}"
    )
    return _field(chip.name, text)


def _hours(amount: Fraction) -> str:
    """Three significant figures: more than the utilisation has."""
    if amount >= 100:
        return f"{round(amount):,}"
    return f"{float(amount):.3g}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _field(label: str, text: str) -> list[str]:
    first = f"{label:<{_LABEL}} "
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=" " * (_LABEL + 1), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
