"""What hardware counters saw and did not see, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ftprof.quantity import two_figures
from ftprof.record.elsewhere import elsewhere
from ftprof.record.estimate_rows import FLOATING, PrecisionRow
from ftprof.record.record import COUNTER_METHODS, Record

# By what a process's header says of the contexts that were looked for: those that nobody could see.
_UNSEEN = {
    "primary": "contexts that a program makes itself are seen with --subscribe only",
    "current": "contexts other than the current and the primary ones are not seen",
}
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
    blind = [row for row in rows if not row.time_share and not row.measured]
    zeros = [row for row in rows if not row.measured and row.time_share]
    parts = []
    if not rows and not record.complete:
        parts.append("everything")
    if blind:
        hint = "; wrap --cuda-core looks" if any(row.kind == "cuda-core" for row in blind) else ""
        parts.append(f"never looked for: {_names(blind)}{hint}")
    if zeros:
        parts.append(f"looked for and not seen: {_names(zeros)}")
    return "; ".join([*(parts or [nothing_more(record)]), *_unseen(record)])


def nothing_more(record: Record) -> str:
    """What a record says is not counted where it names nothing."""
    if others := elsewhere(record):
        return "; ".join(others)
    return "nothing that was seen" if record.complete else "what makes the record incomplete"


def _unseen(record: Record) -> list[str]:
    """What no counter of this run could have seen, whether it was there or not: that is told even of a complete run."""
    counted = [process for process in record.processes if process.method in COUNTER_METHODS]
    looked_for = dict.fromkeys(process.software.get("contexts") for process in counted)
    return [_UNSEEN[which] for which in looked_for if which in _UNSEEN]


def precision_table(record: Record) -> list[str]:
    """For each precision: the figure with its interval, its parts, and both coverages."""
    lines = []
    for row in record.precisions:
        shares = f"{percent(row.time_share)} of the time, {percent(row.cycles_share)} of SM-active cycles"
        high = "no upper end" if row.high is None else _figure(row.high)
        if row.flops:
            lines.append(f"  {name_of(row)}: {row.flops} FLOPs, interval [{_figure(row.low)}, {high}]")
            parts = f"{_figure(row.rotation)} over rotation, {_figure(row.gaps)} over gaps"
            lines.append(f"    {_figure(row.measured)} measured, {parts}; {shares}")
        else:
            limit = "nothing bounds it" if row.high is None else f"at most {high}"
            seen = f"none seen, {limit}; {shares}" if row.time_share else f"never looked for, {limit}"
            lines.append(f"  {name_of(row)}: {seen}")
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
