"""The page: one self-contained file in ASCII, so that no stream or server can get its encoding wrong."""

from __future__ import annotations

from pathlib import Path

from ftprof.quantity import two_figures
from ftprof.report.amounts import flop_text, moment_text
from ftprof.report.html.breakdown import breakdown_section
from ftprof.report.html.elements import NOTHING, Html, bullets, paragraph, tag, together, words
from ftprof.report.html.figures import figures_section
from ftprof.report.html.form import form_section
from ftprof.report.html.methods import coverage_section, methods_section, uncounted_section
from ftprof.report.html.provenance import provenance_section
from ftprof.report.html.timeline import timeline_section
from ftprof.report.html.verdicts import summary, verdicts_section
from ftprof.report.judged_run import JudgedRun
from ftprof.report.methodology import error_text
from ftprof.report.run_text import METHOD_MEANING
from ftprof.report.verdict_text import NOT_ADVICE

_MOST_REASONS = 20
# Nothing is fetched or run, whatever a record holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def html_report(run: JudgedRun) -> str:
    """The whole file."""
    style = Path(__file__).with_name("page.css").read_text(encoding="ascii")
    head = together(
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("title", Html(words(f"ftprof: {_headline(run)}").replace("<sup>", "^").replace("</sup>", ""))),
        Html(f"<style>\n{style}</style>"),
    )
    body = together(_header(run), tag("main", _main(run)), _footer())
    page = f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>'
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _header(run: JudgedRun) -> Html:
    record = run.record
    began = min((info.began_us for info in record.runs), default=None)
    when = "" if began is None else f", run of {moment_text(began)}"
    facts = [METHOD_MEANING[record.method]]
    if run.executed.value is not None:
        facts.append(error_text(run))
    return tag(
        "header",
        together(
            paragraph(f"ftprof, training compute{when}", class_="kicker"),
            tag("h1", words(_headline(run))),
            paragraph(f"{summary(run)}", class_="lead"),
            paragraph(f"Method {'; '.join(facts)}.", class_="source"),
            paragraph(NOT_ADVICE, class_="source"),
            _incomplete(run),
        ),
    )


def _headline(run: JudgedRun) -> str:
    value = run.executed.value
    if value is None:
        return "Nothing was counted"
    if run.record.method == "peak-bound":
        return f"At most {flop_text(value)} executed"
    return f"{two_figures(value)} FLOP executed"


def _incomplete(run: JudgedRun) -> Html:
    """Why not all of the run is in the record, loudly; a note where it is complete and something is to be said."""
    record = run.record
    if not record.reasons and record.complete:
        return NOTHING
    title = "To know" if record.complete else "This record is incomplete"
    reasons = record.reasons or ("no reason is recorded",)
    content = together(tag("h2", words(title)), bullets(reasons, _MOST_REASONS, "in the record"))
    return tag("aside", content, class_="note" if record.complete else "note alarm")


def _main(run: JudgedRun) -> Html:
    record = run.record
    return together(
        verdicts_section(run),
        figures_section(run),
        timeline_section(record),
        breakdown_section(record),
        methods_section(record),
        coverage_section(record),
        uncounted_section(record),
        form_section(run),
        provenance_section(run),
    )


def _footer() -> Html:
    return tag("footer", paragraph(NOT_ADVICE))
