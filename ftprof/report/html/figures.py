"""The executed and the guidelines-basis figure with their intervals, and what makes the difference."""

from __future__ import annotations

from ftprof.policy.amount import Amount
from ftprof.policy.guidelines import Part
from ftprof.report.amounts import flop_text
from ftprof.report.html.elements import (
    NOTHING,
    Html,
    figure_with_exact,
    lines,
    paragraph,
    section,
    table,
    tag,
    together,
    words,
)
from ftprof.report.judged_run import JudgedRun
from ftprof.report.methodology import error_text


def figures_section(run: JudgedRun) -> Html:
    """Both figures, and the parts of the difference."""
    bound = run.record.method == "peak-bound"
    rows = [
        (_name("Executed", "all that the devices executed"), _value(run.executed, bound), _interval(run.executed)),
        (
            _name("Guidelines-basis", "less what Annex A.1 lets one deduct, plus generation"),
            _value(run.basis.amount, bound),
            _interval(run.basis.amount),
        ),
    ]
    return section(
        "figures",
        "The two figures",
        table("Floating-point operations; a multiply-add is two", ("Figure", "FLOP", "Interval"), rows, stack=True),
        paragraph(f"Error of the executed figure: {error_text(run)}."),
        _parts(run),
    )


def _name(name: str, meaning: str) -> Html:
    return lines((words(name), tag("small", words(meaning))))


def _value(amount: Amount, bound: bool) -> Html:
    if amount.value is None:
        return tag("b", words("nothing counted"))
    at_most = words("at most ") if bound else NOTHING
    return together(at_most, figure_with_exact(amount.value, flop_text(amount.value)))


def _interval(amount: Amount) -> Html:
    if amount.value is None:
        return words("none")
    if amount.low == amount.value == amount.high:
        return words("exact for what was counted")
    high = words("no upper end") if amount.high is None else figure_with_exact(amount.high, flop_text(amount.high))
    low = figure_with_exact(amount.low, flop_text(amount.low))
    return lines((together(words("from "), low), together(words("to "), high)))


def _parts(run: JudgedRun) -> Html:
    if not run.basis.parts:
        return paragraph("Nothing is deducted or added: both figures are the same.")
    return table(
        "What makes the difference",
        ("Part", "FLOP", "How it is known"),
        ((_part_name(part), _part_value(part), _part_basis(part)) for part in run.basis.parts),
        stack=True,
    )


def _part_name(part: Part) -> Html:
    verb = ("deducted" if part.sign < 0 else "added") if part.claimed else "not claimed, not in the figure"
    return lines((words(part.what), tag("small", words(verb))))


def _part_value(part: Part) -> Html:
    sign = words("\N{MINUS SIGN}" if part.sign < 0 else "+") if part.claimed else NOTHING
    spread = NOTHING if part.low == part.high else words(f"from {flop_text(part.low)} to {flop_text(part.high)}")
    return lines((together(sign, figure_with_exact(part.flops, flop_text(part.flops))), spread))


def _part_basis(part: Part) -> Html:
    return lines((tag("b", words(part.basis)), tag("small", words(part.source))))
