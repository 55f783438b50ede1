"""What hardware counters saw and did not see, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ftprof.quantity import two_figures
from ftprof.record.counted import FLOATING, PrecisionRow
from ftprof.record.record import Record

_KINDS = {"floating": "", "cuda-core": " on CUDA cores", "integer": " (integer operations)", "sparse": " (sparse part)"}


def coverage_line(record: Record) -> str:
    """Both shares for the precision with the most operations."""
    rows = [row for row in record.precisions if row.kind in FLOATING]
    if not rows:
        return "none: no window was counted"
    row = max(rows, key=lambda row: (row.flops, row.time_share))
    return f"{name_of(row)}: {percent(row.time_share)} of the time, {percent(row.cycles_share)} of SM-active cycles"


def uncounted_line(record: Record) -> str:
    """What no window looked for, and what was looked for and not seen. Both are limited in the interval."""
    rows = [row for row in record.precisions if row.kind in FLOATING]
    blind = [row for row in rows if not row.time_share]
    zeros = [row for row in rows if row.upper_limit is not None and row.time_share]
    parts = []
    if not rows:
        parts.append("everything: see the reasons")
    if blind:
        parts.append(f"no window for {_names(blind)}")
    if zeros:
        parts.append(f"only zeros seen of {_names(zeros)}")
    return "; ".join(parts) or "nothing that was seen"


def precision_table(record: Record) -> list[str]:
    """One line for each precision: the figure, its parts, its interval, both coverages."""
    lines = []
    for row in record.precisions:
        if row.flops:
            extrapolated = f", {_figure(row.rotation)} over rotation, {_figure(row.gaps)} over gaps"
            figure = f"{row.flops} FLOPs ({_figure(row.measured)} measured{extrapolated})"
        else:
            limit = "not known" if row.upper_limit is None else _figure(row.upper_limit)
            figure = f"nothing seen, upper limit {limit}"
        interval = f"[{_figure(row.low)}, {'no upper end' if row.high is None else _figure(row.high)}]"
        shares = f"{percent(row.time_share)} of the time, {percent(row.cycles_share)} of SM-active cycles"
        lines += [f"  {name_of(row)}: {figure}", f"    interval {interval}; {shares}"]
    return lines


def name_of(row: PrecisionRow) -> str:
    """The precision, and which units computed in it where these are not the tensor cores."""
    return row.precision + _KINDS[row.kind]


def percent(share: Fraction) -> str:
    """A share in per cent, rounded down: a coverage is never overstated."""
    tenths = share.numerator * 1000 // share.denominator
    return f"{tenths // 10}.{tenths % 10} %"


def _names(rows: Sequence[PrecisionRow]) -> str:
    tensor = [row.precision for row in rows if row.kind == "floating"]
    cores = [row.precision for row in rows if row.kind == "cuda-core"]
    return ", ".join(tensor + ([f"CUDA cores ({', '.join(cores)})"] if cores else []))


def _figure(number: int) -> str:
    return two_figures(Fraction(number)) if number else "0"
