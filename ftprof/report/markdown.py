"""A record as Markdown for a model card: one short table, without headings, so that it fits under any of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftprof.policy.verdict import Verdict, difference_notice
from ftprof.quantity import to_json
from ftprof.record.elsewhere import elsewhere
from ftprof.report.amounts import clock_text, energy_text, first_of, flop_text
from ftprof.report.documentation_form import BY_YOU, WORDING, documentation_form
from ftprof.report.judged_run import JudgedRun
from ftprof.report.methodology import error_text
from ftprof.report.plain import plain
from ftprof.report.run_text import METHOD_MEANING, coverage_text, uncounted_text
from ftprof.report.run_use import run_use
from ftprof.report.verdict_text import NOT_ADVICE, base_text, share_text

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&@]|:(?=[/\w])|^[-+=])")
_BEFORE_DOT = re.compile(r"(?i)(^\d+(?=[.)](?:\s|$))|www(?=\.))")
_MOST_REASONS = 5


def markdown_report(run: JudgedRun) -> str:
    """The table, what makes the record incomplete, and the Model Documentation Form's fields."""
    lines = ["**Training compute, counted by ftprof**", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in _rows(run)), ""]
    if not run.record.complete or elsewhere(run.record):
        title = "To know" if run.record.complete else "This record is incomplete"
        lines += [f"**{title}:**", "", *_reasons(run), ""]
    lines += [escape(NOT_ADVICE), ""]
    lines += ["**For the EU Model Documentation Form**", "", escape(WORDING), ""]
    lines += ["| field | for | answer |", "|---|---|---|", *_form(run)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, also in a table: no markup, HTML, link, mention or formula comes of it."""
    return _BEFORE_DOT.sub(r"\1\\", _SPECIAL.sub(r"\\\1", plain(text).strip()))


def _rows(run: JudgedRun) -> Iterator[tuple[str, str]]:
    record, use = run.record, run_use(run.record)
    yield "executed", _executed(run)
    yield "guidelines-basis", _basis(run)
    yield "method", escape(METHOD_MEANING[record.method])
    yield "coverage", escape(coverage_text(record))
    for verdict in run.verdicts:
        yield escape(verdict.policy), _verdict(verdict)
    if difference := difference_notice(run.verdicts):
        yield "policies", escape(difference)
    yield (
        "base model",
        escape(
            base_text(run.inputs) if run.inputs.base_figures() != (None,) else run.inputs.base_model or "not stated"
        ),
    )
    if run.inputs.pretrain_source is not None:
        yield "its compute is", escape(run.inputs.pretrain_source)
    kinds = [f"{kind.count:,} x {kind.name}, {clock_text(kind.time_us)}" for kind in use.types]
    yield "hardware", escape(first_of(kinds, 6) or "no GPU was seen in use")
    if use.wall_us is not None:
        yield "wall-clock time", escape(clock_text(use.wall_us))
    yield "energy of the GPUs", escape("N/A" if not use.energy_mj else energy_text(use.energy_mj))
    yield "not counted", escape(uncounted_text(record))
    yield "record", f"SHA-256 {run.digest}"


def _executed(run: JudgedRun) -> str:
    value = run.executed.value
    if value is None:
        return "**nothing was counted**"
    if run.record.method == "peak-bound":
        return f"at most **{escape(flop_text(value))}** ({value})"
    interval = ""
    if not run.executed.low == value == run.executed.high:
        high = "no upper end" if run.executed.high is None else to_json(run.executed.high)
        interval = f", interval [{to_json(run.executed.low)}, {high}], {error_text(run)}"
    return f"**{escape(flop_text(value))}** {escape(f'({to_json(value)}){interval}')}"


def _basis(run: JudgedRun) -> str:
    value = run.basis.amount.value
    if value is None:
        return "**nothing was counted**"
    if not run.basis_differs:
        return "the same: nothing is deducted or added"
    parts = [
        f"{'less' if part.sign < 0 else 'plus'} {flop_text(part.flops)} {part.name} ({part.basis})"
        for part in run.basis.parts
        if part.claimed
    ]
    return f"**{escape(flop_text(value))}**{escape(': ' + ', '.join(parts))}"


def _verdict(verdict: Verdict) -> str:
    threshold = flop_text(verdict.threshold_flops)
    share = f"threshold {threshold}" if verdict.ratio is None else share_text(verdict.ratio, threshold)
    text = f": {share}, {verdict.flops_compared} FLOPs, scenario {verdict.scenario_number} ({verdict.scenario})"
    return f"**{escape(verdict.verdict)}**{escape(text)}"


def _reasons(run: JudgedRun) -> Iterator[str]:
    for reason in run.record.reasons[:_MOST_REASONS]:
        yield f"- {escape(reason)}"
    if len(run.record.reasons) > _MOST_REASONS:
        yield f"- and {len(run.record.reasons) - _MOST_REASONS:,} more, in the record"


def _form(run: JudgedRun) -> Iterator[str]:
    for field in documentation_form(run):
        answer = "<br>".join(escape(line) for line in field.lines)
        yield f"| {escape(field.name)} | {escape(', '.join(field.readers))} | {answer} |"
    for name in BY_YOU:
        yield f"| {escape(name)} | | to be filled in by you |"
