"""A run as a person reads it: the closing block of ``wrap`` and the text report."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from ftprof.policy.verdict import Verdict, difference_notice
from ftprof.quantity import two_figures
from ftprof.record.journal import UncountedWork
from ftprof.record.record import COUNTER_METHODS, Record
from ftprof.report.counters_text import coverage_line, precision_table, uncounted_line
from ftprof.report.verdict_text import share_text

METHOD_MEANING = {
    "counters": "counters: hardware counters",
    "sampled": "sampled: hardware counters in part, the rest extrapolated",
    "gpm": "gpm, an estimate from the GPU's activity",
    "analytic": "analytic, an estimate: formulas on the operators that ran",
    "peak-bound": "peak-bound: an upper bound, time at peak rate",
    "given": "given: stated by the user",
}
_LABEL = 14
_WIDTH = 79


def closing_block(record: Record, verdicts: Sequence[Verdict], where: Path, program: str = "ftprof") -> list[str]:
    """At most 15 lines: what was counted, how, the verdicts, what was not counted, and what to run next.

    ``program`` is how the user can call ftprof. Lines are cut to 79 columns, but for the total and for paths.
    """
    lines = [f"ftprof: {_total(record)}"]
    if record.interval.value is not None:
        if record.counts:
            lines.append(_field("by precision", _shares(record.by_precision)))
        lines.append(_field("method", METHOD_MEANING[record.method]))
        lines.append(_field("coverage", coverage_text(record)))
    lines.append(_field("devices", devices_text(record)))
    lines += [_field(verdict.policy, _verdict(verdict)) for verdict in verdicts[:3]]
    difference = difference_notice(verdicts)
    if difference:
        lines.append(_field("", difference))
    codes = [run.exit_code for run in record.runs if run.exit_code]
    if codes:
        lines.append(_field("command", f"exit code {codes[0]}: this is what ran until then"))
    if record.reasons:
        lines.append(_field("" if record.complete else "incomplete", _first(record.reasons)))
    lines.append(_field("not counted", uncounted_text(record)))
    lines.append(f"  {'record':<{_LABEL}}{where}")
    lines.append(f"  {'next':<{_LABEL}}{program} report {where}")
    return lines


def report_text(record: Record, verdict_lines: Sequence[str]) -> str:
    """The whole record for a person, ``verdict_lines`` (from ``verdict_text``) first."""
    lines = [*verdict_lines, "", f"Method: {METHOD_MEANING[record.method]}"]
    lines += ["Coverage: " + coverage_text(record), "Devices: " + devices_text(record)]
    if record.precisions:
        lines += ["", "Precisions", *precision_table(record)]
    rows = "counter" if record.precisions else "operator"
    for title, sums in (("precision", record.by_precision), (rows, record.by_operator)):
        lines += ["", f"By {title} (FLOPs)", *_table(sums)]
    lines += ["", "Processes"]
    lines += [
        f"  {process.identity}{_rank(process.rank)}: {process.flops} FLOPs in {process.windows} windows, "
        f"ended: {process.end or 'never'}"
        for process in record.processes
    ] or ["  none"]
    for run in record.runs:
        code = "unknown" if run.exit_code is None else str(run.exit_code)
        lines += ["", f"Command: {' '.join(run.command)}", f"  on {run.host}, exit code {code}, ftprof {run.ftprof}"]
    lines += [
        "",
        "Not counted",
        *(_uncounted_table(record) if not record.precisions else [f"  {uncounted_text(record)}"]),
    ]
    lines += _cross_checks(record)
    if record.reasons:
        lines += ["", "Incomplete because" if not record.complete else "Note"]
        lines += [f"  {reason}" for reason in record.reasons]
    return "\n".join(lines)


def coverage_text(record: Record) -> str:
    """Both shares of coverage, or why there are none."""
    if record.method == "analytic":
        return "not applicable: calls are counted, not time"
    if record.method in COUNTER_METHODS:
        return coverage_line(record)
    return "not applicable: whole devices are watched"


def devices_text(record: Record) -> str:
    """The devices by name, and by how many processes."""
    names: dict[str, None] = {}
    for process in record.processes:
        for device in process.devices:
            names[f"{device['device']} ({device['name']})" if device.get("name") else str(device["device"])] = None
    count = len(record.processes)
    counted = sum(1 for process in record.processes if process.flops)
    some = f" ({counted} counted work)" if 0 < counted < count else ""
    return f"{', '.join(names) or 'none'}; {_number(count, 'process', 'es')}{some}"


def uncounted_text(record: Record) -> str:
    """One line on what did work and is not in the figure, the unbounded first."""
    if record.method in COUNTER_METHODS:
        return uncounted_line(record)
    unbounded = [work for work in record.uncounted if work.family]
    bounded_calls = sum(calls for work, calls in record.uncounted.items() if not work.family)
    parts = []
    if unbounded:
        named = ", ".join(sorted(work.name for work in unbounded)[:3]) + (", ..." if len(unbounded) > 3 else "")
        parts.append(f"{named}: so the total has no upper end")
    small = []
    if bounded := len(record.uncounted) - len(unbounded):
        small.append(f"{_number(bounded, 'operator')} ({_number(bounded_calls, 'call')})")
    if record.unwatched:
        small.append(f"{_number(len(record.unwatched), 'operator')} (calls not known)")
    if small:
        parts.append("no formula: " + ", ".join(small))
    if record.method in ("gpm", "peak-bound"):
        parts.append(
            "operations: they are estimated from the time" if record.method == "gpm" else "operations: only time"
        )
    return "; ".join(parts) or "nothing that was seen"


def _total(record: Record) -> str:
    value = record.interval.value
    if value is None:
        return "nothing was counted"
    if record.method == "peak-bound":
        return f"at most {two_figures(Fraction(value))} FLOP executed ({value})"
    low, high = record.interval.low, record.interval.high
    interval = "" if low == value == high else f", interval [{low}, {'no upper end' if high is None else high}]"
    return f"{two_figures(Fraction(value))} FLOP executed ({value}){interval}"


def _verdict(verdict: Verdict) -> str:
    threshold = f"{two_figures(verdict.threshold_flops)} FLOP"
    share = f"threshold {threshold}" if verdict.ratio is None else share_text(verdict.ratio, threshold)
    return f"{verdict.verdict}: {share} (scenario {verdict.scenario_number}, {verdict.scenario})"


def _shares(sums: dict[str, int]) -> str:
    total = sum(sums.values())
    return ", ".join(f"{name} {_percent(flops, total)}" for name, flops in sums.items())


def _percent(part: int, total: int) -> str:
    tenths = (part * 2000 // total + 1) // 2
    return "<0.1 %" if tenths == 0 and part else f"{tenths // 10}.{tenths % 10} %".replace(".0 %", " %")


def _table(sums: dict[str, int]) -> list[str]:
    if not sums:
        return ["  none"]
    total, width = sum(sums.values()), max(len(str(flops)) for flops in sums.values())
    name_width = max(len(name) for name in sums)
    return [f"  {name:<{name_width}}  {flops:>{width}}  {_percent(flops, total)}" for name, flops in sums.items()]


def _uncounted_table(record: Record) -> list[str]:
    def order(item: tuple[UncountedWork, int]) -> tuple[bool, int, str]:
        return (item[0].family is None, -item[1], item[0].name)

    lines = [
        f"  {work.name} ({work.kind}{', ' + work.family + ' family: open above' if work.family else ''}): {calls} calls"
        for work, calls in sorted(record.uncounted.items(), key=order)
    ]
    if record.unwatched:
        some = ", ".join(name.partition("::")[2] for name in record.unwatched if "::_" not in name and name[-1] != "_")
        text = f"{_number(len(record.unwatched), 'operator')} whose calls are not known (all in the record): {some}"
        lines += textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="    ", max_lines=3)
    return lines or ["  nothing that was seen"]


def _cross_checks(record: Record) -> list[str]:
    """What other methods give for the same run."""
    lines = ["", "Beside it"] if record.cross_checks else []
    for check in record.cross_checks:
        device = f" on {check['device']['name']}" if check["device"] else ""
        high = "no upper end" if check["high"] is None else two_figures(Fraction(check["high"]))
        figure = "" if check["flops"] is None else f" {two_figures(Fraction(check['flops']))} FLOP,"
        lines.append(f"  {check['method']}{device}:{figure} between {two_figures(Fraction(check['low']))} and {high}")
    return lines


def _rank(rank: dict[str, int] | None) -> str:
    if not rank or "rank" not in rank:
        return ""
    return f" (rank {rank['rank']}" + (f" of {rank['world_size']})" if "world_size" in rank else ")")


def _first(reasons: Sequence[str]) -> str:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return (reasons[0] if reasons else "no reason recorded") + more


def _field(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{_cut(text)}"


def _cut(text: str) -> str:
    return textwrap.shorten(text, _WIDTH - _LABEL - 2, placeholder=" ...")


def _number(count: int, what: str, plural: str = "s") -> str:
    return f"{count} {what}{'' if count == 1 else plural}"
