"""What other methods give beside the record's own figure, coverage, and what was not counted."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from ftprof.quantity import two_figures
from ftprof.record.comparison import comparisons
from ftprof.record.elsewhere import interval_of_all
from ftprof.record.estimate_rows import PrecisionRow
from ftprof.record.record import Record
from ftprof.report.amounts import flop_text, two_digits
from ftprof.report.counters_text import name_of, percent
from ftprof.report.html.elements import (
    NOTHING,
    Html,
    exact,
    lines,
    paragraph,
    section,
    sentence,
    table,
    tag,
    together,
    words,
)
from ftprof.report.run_text import METHOD_MEANING, coverage_text, uncounted_text

_MOST_ROWS = 16
_MOST_NAMES = 40


def methods_section(record: Record) -> Html:
    """The method, and the others with their ratio and a sentence."""
    rows = [_own(record), *(_other(row) for row in comparisons(record.interval, record.cross_checks))]
    alone = paragraph("No other method counted the same run.") if len(rows) == 1 else NOTHING
    return section(
        "methods",
        "Methods side by side",
        table("Figures of the same run", ("Method", "FLOP", "Beside the figure"), rows, stack=True),
        alone,
    )


def coverage_section(record: Record) -> Html:
    """Both shares of coverage of each precision."""
    return section(
        "coverage",
        "Coverage",
        sentence(coverage_text(record)),
        table(
            "What hardware counters saw of each precision",
            ("Precision", "Operations", "Counted in"),
            (_precision(row) for row in record.precisions),
            stack=True,
        ),
    )


def uncounted_section(record: Record) -> Html:
    """What did work and is not in the figure."""
    works = sorted(record.uncounted.items(), key=lambda item: (item[0].family is None, -item[1], item[0].name))
    rows = [
        (
            words(work.name),
            words(work.kind if work.family is None else f"{work.kind}: nothing bounds it ({work.family})"),
            exact(calls),
        )
        for work, calls in works[:_MOST_ROWS]
    ]
    if len(works) > _MOST_ROWS:
        others = works[_MOST_ROWS:]
        rows.append(
            (words(f"{len(others):,} others"), words("in the record"), exact(sum(calls for _, calls in others)))
        )
    return section(
        "uncounted",
        "What was not counted",
        sentence(uncounted_text(record)),
        table("Work without a figure", ("Work", "Kind", "Calls"), rows, stack=True),
        _unwatched(record),
    )


def _unwatched(record: Record) -> Html:
    names = [name.partition("::")[2] or name for name in record.unwatched]
    if not names:
        return NOTHING
    more = f" and {len(names) - _MOST_NAMES:,} more, in the record" if len(names) > _MOST_NAMES else ""
    return paragraph(
        f"Operators whose calls were not watched, and which have no formula: {', '.join(names[:_MOST_NAMES])}{more}."
    )


def _own(record: Record) -> tuple[Html, Html, Html]:
    interval = interval_of_all(record)
    low, value, high = (None if n is None else str(n) for n in (interval.low, interval.value, interval.high))
    row = {"low": low, "flops": value, "high": high}
    return words(METHOD_MEANING[record.method]), _span(row), words("the record's own figure")


def _other(row: dict[str, Any]) -> tuple[Html, Html, Html]:
    agrees = {True: "agrees", False: "does not agree", None: ""}[row["agrees"]]
    ratio = "" if row["ratio"] is None else f"{two_digits(Fraction(row['ratio']))} times the figure"
    first = ", ".join(part for part in (ratio, agrees) if part) or "not comparable"
    says = NOTHING if not row["says"] else words(f"{row['says']}.")
    return words(METHOD_MEANING[row["method"]]), _span(row), lines((tag("b", words(first)), says))


def _span(row: dict[str, Any]) -> Html:
    value = words("no figure") if row["flops"] is None else words(flop_text(int(row["flops"])))
    high = "no upper end" if row["high"] is None else flop_text(int(row["high"]))
    spread = NOTHING
    if not row["low"] == row["flops"] == row["high"]:
        spread = tag("small", words(f"{flop_text(int(row['low']))} to {high}"))
    return lines((tag("b", value), spread))


def _precision(row: PrecisionRow) -> tuple[Html, Html, Html]:
    if not row.flops:
        seen = "none seen" if row.time_share else "never looked for"
        bound = "nothing bounds it" if row.high is None else f"at most {flop_text(row.high)}"
        operations = lines((words(seen), tag("small", words(bound))))
    else:
        high = "no upper end" if row.high is None else flop_text(row.high)
        parts = (
            f"{two_figures(Fraction(row.measured))} measured, {two_figures(Fraction(row.rotation))} over rotation, "
            f"{two_figures(Fraction(row.gaps))} over gaps"
        )
        operations = lines(
            (
                exact(row.flops),
                tag("small", words(f"{flop_text(row.low)} to {high}")),
                tag("small", words(parts)),
            )
        )
    shares = lines(
        (words(f"{percent(row.time_share)} of the time"), words(f"{percent(row.cycles_share)} of SM-active cycles"))
    )
    return together(words(name_of(row))), operations, shares
