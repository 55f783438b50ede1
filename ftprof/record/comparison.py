"""What other methods give for the same run beside the record's own figure: a ratio, and a sentence where they disagree.

Figures of whole devices are added over devices first: the record's own is of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from ftprof.quantity import ratio_text
from ftprof.record.interval import Interval

_MOST_NAMES = 4
CUT = "a process in which operators were counted was killed: what it did last is in the figure and not in this one"
PARTIAL = "operators were counted from the first phase on only: their shares are used, not their total"
_LESS = {
    "analytic": "The formulas give less than was executed: the hardware also does what pads a tile, activations are "
    "recomputed inside compiled code, or an operator has no formula",
    "gpm": "The activity gives less than was counted: it is sampled, and its peak is that of dense products",
}
_MORE = {
    "analytic": "The formulas give more than was executed: kernels skip blocks that a causal mask hides, padding "
    "tokens or zeros, which a formula counts in full",
    "gpm": "The activity gives more than was counted: other processes may have used the GPU, and a busy unit need not "
    "do work at every clock",
}


def comparisons(own: Interval, checks: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row for each other method, for the record."""
    by_method: dict[str, list[dict[str, Any]]] = {}
    for check in checks:
        by_method.setdefault(check["method"], []).append(check)
    for method, rows in by_method.items():
        yield _row(own, method, _added(rows), _why_not_comparable(rows), _without_formula(rows))


def _why_not_comparable(rows: list[dict[str, Any]]) -> str | None:
    if any(row.get("partial") for row in rows):
        return PARTIAL
    return CUT if any(row.get("cut") for row in rows) else None


def _without_formula(rows: list[dict[str, Any]]) -> str:
    names = sorted({name for row in rows for name in row.get("unbounded", ())})
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f". Without a formula here: {', '.join(names[:_MOST_NAMES])}{more}" if names else ""


def _row(own: Interval, method: str, other: Interval, why_not: str | None, without_formula: str) -> dict[str, Any]:
    value, agrees, says, ratio = own.value, None, why_not, None
    comparable = not why_not and value and other.value is not None and method != "peak-bound"
    if comparable and value and other.value is not None:
        ratio = Fraction(other.value, value)
        agrees = not _apart(own, other)
        if not agrees:
            says = (_LESS if other.value < value else _MORE)[method] + without_formula
    elif method == "peak-bound" and value and other.high is not None:
        agrees = own.low <= other.high
        ratio = Fraction(other.high, value)
        if not agrees:
            says = "The figure is more than the GPUs can have done in that time"
    return {
        "method": method,
        "low": str(other.low),
        "flops": None if other.value is None else str(other.value),
        "high": None if other.high is None else str(other.high),
        "ratio": None if ratio is None else ratio_text(ratio),
        "agrees": agrees,
        "says": says,
    }


def _apart(own: Interval, other: Interval) -> bool:
    """Whether two intervals have nothing in common. An open end reaches to what was counted, not further."""
    mine = own.low, max(own.value or 0, own.low) if own.high is None else own.high
    its = other.low, max(other.value or 0, other.low) if other.high is None else other.high
    return mine[1] < its[0] or its[1] < mine[0]


def _added(rows: Iterable[dict[str, Any]]) -> Interval:
    low, value, high = 0, 0, 0
    unknown, unbounded = False, False
    for row in rows:
        low += int(row["low"])
        unknown, unbounded = unknown or row["flops"] is None, unbounded or row["high"] is None
        value += int(row["flops"] or 0)
        high += int(row["high"] or 0)
    return Interval(low, None if unknown else value, None if unbounded else high)
