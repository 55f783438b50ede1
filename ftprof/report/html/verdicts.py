"""The policies' verdicts, each with a plot of how far the compute is from the threshold."""

from __future__ import annotations

import math
from fractions import Fraction

from ftprof.policy.amount import GUIDELINES_BASIS, Amount
from ftprof.policy.policy import load_policy
from ftprof.policy.verdict import Verdict, difference_notice
from ftprof.quantity import to_json, two_figures
from ftprof.report.amounts import flop_text
from ftprof.report.html.elements import (
    Html,
    bullets,
    definitions,
    figure_with_exact,
    paragraph,
    section,
    tag,
    together,
    words,
)
from ftprof.report.judged_run import JudgedRun
from ftprof.report.verdict_text import share_text

_WIDTH, _AT = 1000, 800  # of the plot, and where the threshold lies in it
_LEAST_DECADES = 2
_MEANING = {
    "below": "below the threshold",
    "within-margin": "within the margin of the threshold",
    "above": "above the threshold",
    "undetermined": "undetermined",
}


def verdicts_section(run: JudgedRun) -> Html:
    """All verdicts, where they differ, and the notes."""
    difference = difference_notice(run.verdicts)
    told = f"Base compute: {run.inputs.pretrain_source}."  # beside the base model, below
    notes = [note for note in run.notes if note != told]
    return section(
        "verdicts",
        "Verdicts",
        *(_verdict(run, verdict) for verdict in run.verdicts),
        paragraph(difference, class_="strong") if difference else Html(""),
        definitions([("Base model", _base(run))]),
        bullets(notes, len(notes), ""),
    )


def summary(run: JudgedRun) -> str:
    """All verdicts in one sentence."""
    outcomes: dict[str, list[str]] = {}
    for verdict in run.verdicts:
        outcomes.setdefault(verdict.verdict, []).append(verdict.policy)
    parts = [f"{_MEANING[outcome]} of {' and '.join(policies)}" for outcome, policies in outcomes.items()]
    text = "; ".join(part.replace("undetermined of", "undetermined by") for part in parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _verdict(run: JudgedRun, verdict: Verdict) -> Html:
    policy = load_policy(verdict.policy)
    compared = run.basis.amount if verdict.flops_compared == GUIDELINES_BASIS else run.executed
    heading = together(
        tag("span", words(verdict.verdict), class_=f"outcome {verdict.verdict}"), Html(" "), words(policy.title)
    )
    share = "nothing counted" if verdict.ratio is None else share_text(verdict.ratio, "the threshold")
    facts = [
        ("Policy", words(f"{verdict.policy}, version {policy.version}")),
        ("Scenario", words(f"{verdict.scenario_number}, {verdict.scenario}")),
        ("Threshold", figure_with_exact(verdict.threshold_flops, flop_text(verdict.threshold_flops))),
        ("Compared", words(f"{verdict.flops_compared} FLOPs: {share}")),
    ]
    return tag(
        "article",
        together(
            tag("h3", heading),
            _plot(compared, verdict.threshold_flops),
            definitions(facts),
            paragraph(verdict.why),
            paragraph(f"Source: {verdict.source}.", class_="source"),
        ),
        class_="verdict",
    )


def _plot(amount: Amount, threshold: Fraction) -> Html:
    """The interval and the threshold on a logarithmic axis; nothing where there is no figure."""
    if amount.value is None:
        return Html("")
    decades = _decades(amount.value / threshold)
    low = _x(amount.low / threshold, decades)
    high = _WIDTH if amount.high is None else _x(amount.high / threshold, decades)
    value = _x(amount.value / threshold, decades)
    shapes = [
        f'<rect class="track" y="11" width="{_WIDTH}" height="2"/>',
        f'<rect class="range" x="{low}" y="6" width="{max(high - low, 0)}" height="12"/>',
        f'<rect class="value" x="{min(value, _WIDTH - 6)}" y="2" width="6" height="20"/>',
        f'<rect class="limit" x="{_AT - 1}" y="0" width="3" height="24"/>',
    ]
    end = "no upper end" if amount.high is None else flop_text(amount.high)
    span = f"{flop_text(amount.low)} to {end}, threshold {flop_text(threshold)}"
    title = f"Compute and threshold on a logarithmic axis: {span}"
    labels = together(tag("span", words(f"10^-{decades} of it")), tag("span", words("threshold"), class_="at"))
    drawing = tag(
        "svg",
        together(tag("title", words(_flat(title))), Html("".join(shapes))),
        class_="scale",
        viewBox=f"0 0 {_WIDTH} 24",
        preserveAspectRatio="none",
        role="img",
    )
    return tag("figure", together(drawing, tag("figcaption", labels)), class_="distance")


def _flat(text: str) -> str:
    """For a title, which has no raised digits."""
    return text.replace("10^", "10 to the power of ")


def _decades(ratio: Fraction) -> int:
    """How many powers of ten below the threshold the axis begins. Floats do for a drawing."""
    if ratio == 0:
        return _LEAST_DECADES
    return max(_LEAST_DECADES, math.ceil(-_log10(ratio)) + 1)


def _x(ratio: Fraction, decades: int) -> int:
    if ratio == 0:
        return 0
    return min(max(round(_AT + _AT * _log10(ratio) / decades), 0), _WIDTH)


def _log10(ratio: Fraction) -> float:
    return math.log10(ratio.numerator) - math.log10(ratio.denominator)


def _base(run: JudgedRun) -> Html:
    inputs = run.inputs
    low, high = inputs.pretrain_flops_low, inputs.pretrain_flops_high
    parts = [inputs.base_model or "not named"]
    if low is None or high is None:
        parts.append("compute not known")
    elif low == high:
        parts.append(f"{flop_text(low)} ({to_json(low)})")
    else:
        *others, last = (flops for flops in inputs.base_figures() if flops is not None)
        parts.append(" or ".join([*map(two_figures, others), flop_text(last)]))
    if inputs.pretrain_source:
        # What a table gave begins with the name and has the figures too.
        known = inputs.base_model and inputs.pretrain_source.startswith(f"{inputs.base_model}:")
        parts = [inputs.pretrain_source] if known else [*parts, inputs.pretrain_source]
    if inputs.systemic_risk is not None:
        parts.append("stated to have systemic risk" if inputs.systemic_risk else "stated to have no systemic risk")
    if not inputs.gpai:
        parts.append("stated to be no general-purpose model")
    return words("; ".join(parts))
