"""A run as a person reads it: the closing block of ``wrap`` and the text report."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from ftprof.policy.derivation import GPU_HOURS, PUBLISHED, REGULATORS_EXAMPLE, SIX_PD, STATED, THIRD_PARTY, times_apart
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.verdict import Verdict, difference_notice
from ftprof.quantity import two_figures
from ftprof.record.comparison import comparisons
from ftprof.record.elsewhere import interval_of_all
from ftprof.record.journal import UncountedWork
from ftprof.record.record import COUNTER_METHODS, Record
from ftprof.report.counters_text import coverage_line, nothing_more, precision_table, uncounted_line
from ftprof.report.plain import command_text
from ftprof.report.verdict_text import share_text

METHOD_MEANING = {
    "counters": "counters: hardware counters",
    "sampled": "sampled: hardware counters in part, the rest extrapolated",
    "gpm": "gpm, an estimate from the GPU's activity",
    "analytic": "analytic, an estimate: formulas on the operators that ran",
    "peak-bound": "peak-bound: an upper bound, time at peak rate",
    "given": "given: stated by the user",
}
_HOW = {"interrupted": " (interrupted: whether it ran is not known)"}  # work that has a formula all the same
_LABEL = 14
_WIDTH = 79
_LINES = 15
_KEPT = "\xa0"  # a blank at which no line is broken


def closing_block(
    record: Record, verdicts: Sequence[Verdict], where: Path, program: str = "ftprof", journals: Path | None = None
) -> list[str]:
    """At most 15 lines: what was counted, how, the verdicts, what was not counted, and what to run next.

    ``program`` is how the user can call ftprof in a shell, ``journals`` the folder where they are kept. Lines are cut
    to 79 columns, but for paths. What is incomplete gets the lines that the rest leaves free.
    """
    lines = _total_lines(record)
    if record.interval.value is not None:
        if record.counts:
            lines.append(_field("by precision", _shares(record.by_precision)))
        lines.append(_field("method", METHOD_MEANING[record.method]))
        lines.append(_field("coverage", coverage_text(record)))
    lines.append(_field("devices", devices_text(record)))
    lines += _guidelines_lines(record)
    lines += [_field("base model", text) for text in _base_compute(record)]
    lines += [_field(verdict.policy, _fitting_verdict(verdict)) for verdict in verdicts[:3]]
    difference = difference_notice(verdicts)
    if difference:
        lines.append(_field("", difference))
    codes = [run.exit_code for run in record.runs if run.exit_code]
    if codes:
        lines.append(_field("command", f"exit code {codes[0]}: this is what ran until then"))
    last = [f"  {'record':<{_LABEL}}{where}", f"  {'next':<{_LABEL}}{program} report {shlex.quote(str(where))}"]
    if journals is not None:
        last.insert(1, f"  {'journals':<{_LABEL}}{journals}")
    for dispensable in (
        "coverage",
        "devices",
        "by precision",
    ):  # they are in the report; what is missing has to be here
        if _LINES - len(lines) - len(last) < 2:
            lines = [line for line in lines if not line.startswith(f"  {dispensable}")]
    free = _LINES - len(lines) - len(last)
    label = "incomplete" if not record.complete else "note" if record.interval.value is not None else "why"
    lines += _fields(label, _fitting(record.reasons, free - 1))
    left = max(_LINES - len(lines) - len(last), 1)
    return lines + _fields("not counted", _wrap(uncounted_text(record), max_lines=left, placeholder=" ...")) + last


def report_text(record: Record, verdict_lines: Sequence[str]) -> str:
    """The whole record for a person, ``verdict_lines`` (from ``verdict_text``) first."""
    lines = [*verdict_lines, "", f"Method: {METHOD_MEANING[record.method]}"]
    lines += ["Coverage: " + coverage_text(record), "Devices: " + devices_text(record)]
    if record.precisions:
        lines += ["", "Precisions", *precision_table(record)]
    rows = "counter" if record.precisions else "operator"
    sections = [("precision", record.by_precision), (rows, record.by_operator)]
    if len(record.by_phase) > 1:
        sections.insert(1, ("phase", record.by_phase))
    for title, sums in sections:
        if sums or record.method == "analytic":
            lines += ["", f"By {title} (FLOPs)", *_table(sums)]
    lines += ["", "Processes"]
    lines += [
        f"  {process.identity}{_rank(process.rank)}: {process.flops} FLOPs in {process.windows} windows, "
        f"ended: {process.end or 'never'}"
        for process in record.processes
    ] or ["  none"]
    lines += _software(record)
    for run in record.runs:
        code = "unknown" if run.exit_code is None else str(run.exit_code)
        lines += [
            "",
            f"Command: {command_text(run.command)}",
            f"  on {run.host}, exit code {code}, ftprof {run.ftprof}",
        ]
    lines += [
        "",
        "Not counted",
        *(_uncounted_table(record) if record.method == "analytic" else [f"  {uncounted_text(record)}"]),
    ]
    lines += _cross_checks(record)
    if record.reasons:
        lines += ["", "Incomplete because" if not record.complete else "Note"]
        for reason in record.reasons:
            lines += textwrap.wrap(reason, 100, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(lines)


def coverage_text(record: Record) -> str:
    """Both shares of coverage, or why there are none."""
    if record.method == "analytic":
        return "not applicable: calls are counted, not time"
    if record.method in COUNTER_METHODS:
        return coverage_line(record)
    if any(process.method in COUNTER_METHODS for process in record.processes):
        return "none: no counter was read"
    return "not applicable: whole devices are watched"


def devices_text(record: Record) -> str:
    """The devices by name, and by how many processes."""
    devices: dict[str, dict[str, str]] = {}  # by name: what tells one from another, and what to call it
    for process in record.processes:
        for device in process.devices:
            key = str(device.get("uuid") or f"{process.identity.host} {device['device']}")
            devices.setdefault(str(device.get("name") or ""), {})[key] = str(device["device"])
    names = [_devices(name, list(dict.fromkeys(same.values())), len(same)) for name, same in devices.items()]
    count = len({process.identity for process in record.processes})  # one may have a journal of each method
    counted = len({process.identity for process in record.processes if process.flops})
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
        names = sorted(f"{work.name}{_HOW.get(work.kind, '')}" for work in unbounded)
        named = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
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
    return "; ".join(parts) or nothing_more(record)


def _devices(name: str, devices: list[str], count: int) -> str:
    listed = ", ".join(devices[:3]) + (", ..." if len(devices) > 3 else "")
    if not name:
        return listed
    return f"{listed} ({name})" if count == 1 else f"{count} x {name} ({listed})"


def _software(record: Record) -> list[str]:
    """The CUPTI and the driver that counted, or should have, each once."""
    found: dict[str, None] = {}
    for process in record.processes:
        software = process.software
        if process.method in COUNTER_METHODS and software.get("cupti"):
            where = ", ".join(str(software[key]) for key in ("cupti_origin", "cupti_path") if software.get(key))
            found[f"  CUPTI {software['cupti']} ({where}), driver {software.get('driver') or 'not known'}"] = None
    return ["", "CUPTI and driver", *found] if found else []


def _total_lines(record: Record) -> list[str]:
    interval = interval_of_all(record)
    low, value, high = interval.low, interval.value, interval.high
    if value is None:
        return ["ftprof: nothing was counted"]
    if record.method == "peak-bound":
        return [f"ftprof: at most {two_figures(Fraction(value))} FLOP executed ({value})"]
    total = f"ftprof: {two_figures(Fraction(value))} FLOP executed ({value})"
    if low == value == high:
        return [total]
    if value == 0:  # not that none were executed
        most = "and nothing bounds them" if high is None else f"and at most {two_figures(Fraction(high))} executed"
        return [f"ftprof: no FLOP were seen, {most}"]
    ends = f"[{low}, {'no upper end' if high is None else high}]"
    one = f"{total}, interval {ends}"
    return [one] if len(one) <= _WIDTH else [total, f"  {'interval':<{_LABEL}}{ends}"]


def _guidelines_lines(record: Record) -> list[str]:
    """The guidelines-basis figure, where anything is deducted or added."""
    basis = record.guidelines
    if basis is None or basis["flops"] is None or not any(part["claimed"] for part in basis["parts"]):
        return []
    names: dict[tuple[int, str], list[str]] = {}
    for part in basis["parts"]:
        if part["claimed"]:
            names.setdefault((part["sign"], part["basis"]), []).append(part["name"])
    parts = [f"{'less' if s < 0 else 'plus'} {', '.join(same)} ({how})" for (s, how), same in names.items()]
    return [_field("guidelines", f"{two_figures(Fraction(basis['flops']))} FLOP: {', '.join(parts)}")]


_SHORT_KINDS = {
    STATED: "stated",
    PUBLISHED: "published",
    THIRD_PARTY: "third party",
    REGULATORS_EXAMPLE: "Annex A.3",
    SIX_PD: "6PD",
    GPU_HOURS: "hardware",
}


def _base_compute(record: Record) -> list[str]:
    """One line on the base model's compute: who stated it, or the ends of several derivations and how far they are."""
    inputs = PolicyInputs.from_json(record.policy_inputs, "the record") if record.policy_inputs else PolicyInputs()
    low, high = inputs.pretrain_flops_low, inputs.pretrain_flops_high
    if low is None or high is None:
        return []
    if low == high:  # one figure: who stated it, such as a variable that was set long ago
        source = inputs.pretrain_source
        return [f"{two_figures(low)} FLOP ({source.removeprefix('given with ')})"] if source else []
    kinds = [f" ({_SHORT_KINDS[kind]})" if kind else "" for kind in inputs.base_kinds()]
    to = "to" if inputs.pretrain_between else "or"
    apart = times_apart(low, high)
    return [f"{two_figures(low)}{kinds[0]} {to} {two_figures(high)}{kinds[-1]}" + (f", {apart}" if apart else "")]


def short_verdict(verdict: Verdict) -> str:
    """Its outcome, the share of the threshold, and the scenario, in one line."""
    threshold = f"{two_figures(verdict.threshold_flops)} FLOP"
    share = f"threshold {threshold}" if verdict.ratio is None else share_text(verdict.ratio, threshold)
    return f"{verdict.verdict}: {share} (scenario {verdict.scenario_number}, {verdict.scenario})"


def _fitting_verdict(verdict: Verdict) -> str:
    """The same in the width of a line: the scenario's number tells it where there is no room for its name."""
    text = short_verdict(verdict)
    named = f" (scenario {verdict.scenario_number}, {verdict.scenario})"
    return text if text == _cut(text) else text.replace(named, f" (scenario {verdict.scenario_number})")


def _shares(sums: dict[str, int]) -> str:
    total = sum(sums.values())
    return ", ".join(f"{name} {_percent(flops, total)}" for name, flops in sums.items())


def _percent(part: int, total: int) -> str:
    if total == 0:
        return "0 %"
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
        some = ", ".join(
            name.partition("::")[2] for name in record.unwatched if "::_" not in name and not name.endswith("_")
        )
        text = f"{_number(len(record.unwatched), 'operator')} whose calls are not known (all in the record): {some}"
        lines += textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="    ", max_lines=3)
    return lines or [f"  {nothing_more(record)}"]


def _cross_checks(record: Record) -> list[str]:
    """What other methods give for the same run."""
    lines = ["", "Beside it"] if record.cross_checks else []
    for row in comparisons(record.interval, record.cross_checks):
        ratio = "" if row["ratio"] is None else f"{row['method']} gives {row['ratio']} times the figure. "
        if ratio or row["says"]:
            lines.append(f"  {ratio}{row['says'] + '.' if row['says'] else ''}".rstrip())
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


def _fitting(reasons: Sequence[str], most: int) -> list[str]:
    """The first reasons, as many as there are lines for; of the first at least the beginning."""
    for count in range(min(len(reasons), most), 0, -1):
        more = _more(len(reasons) - count)
        lines = [line for reason in reasons[: count - 1] for line in _wrap(reason)] + _wrap(reasons[count - 1] + more)
        if len(lines) <= most:
            return lines
    return _wrap(reasons[0], max_lines=most, placeholder=" ..." + _more(len(reasons) - 1)) if reasons else []


def _fields(label: str, lines: Sequence[str]) -> list[str]:
    return [f"  {'' if number else label:<{_LABEL}}{line}" for number, line in enumerate(lines)]


def _more(count: int) -> str:
    return f" (and{_KEPT}{count}{_KEPT}more)" if count else ""


def _wrap(text: str, **limits: Any) -> list[str]:
    lines = textwrap.wrap(text, _WIDTH - _LABEL - 2, break_long_words=False, break_on_hyphens=False, **limits)
    return [line.replace(_KEPT, " ") for line in lines]


def _field(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{_cut(text)}"


def _cut(text: str) -> str:
    return textwrap.shorten(text, _WIDTH - _LABEL - 2, placeholder=" ...")


def _number(count: int, what: str, plural: str = "s") -> str:
    return f"{count} {what}{'' if count == 1 else plural}"
