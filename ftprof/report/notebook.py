"""A result as a small HTML table, which is what a notebook shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from html import escape

from ftprof.policy.verdict import Verdict
from ftprof.quantity import two_figures
from ftprof.record.elsewhere import interval_of_all
from ftprof.record.reasons import GOES_ON
from ftprof.record.record import Record
from ftprof.report.run_text import METHOD_MEANING, short_verdict, uncounted_text

_MOST_REASONS = 5
_LONGEST = 300


def html_table(record: Record, verdicts: Sequence[Verdict]) -> str:
    """Total, interval, precisions, method, verdicts and what is not in them. No script, no style of its own."""
    rows = [("FLOP", _total(record)), ("interval", _interval(record))]
    if record.by_precision:
        rows.append(("by precision", ", ".join(f"{name} {flops}" for name, flops in record.by_precision.items())))
    rows.append(("method", METHOD_MEANING[record.method]))
    rows += [(verdict.policy, short_verdict(verdict)) for verdict in verdicts]
    rows.append(("not counted", uncounted_text(record)))
    label = "note" if record.complete else "so far" if _goes_on(record) else "incomplete"
    rows += [(label, reason) for reason in record.reasons[:_MOST_REASONS]]
    if len(record.reasons) > _MOST_REASONS:
        rows.append((label, f"and {len(record.reasons) - _MOST_REASONS} more"))
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(_cut(text))}</td></tr>" for name, text in rows)
    return f"<table><caption>ftprof</caption><tbody>{cells}</tbody></table>"


def _total(record: Record) -> str:
    value = record.interval.value
    if value is None:
        return "nothing counted so far" if _goes_on(record) else "nothing could be counted"
    return f"{two_figures(Fraction(value))} ({value})"


def _goes_on(record: Record) -> bool:
    return any(GOES_ON in reason for reason in record.reasons)


def _interval(record: Record) -> str:
    interval = interval_of_all(record)
    return f"{interval.low} to {'no upper end' if interval.high is None else interval.high}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
