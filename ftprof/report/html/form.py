"""The fields of the EU Model Documentation Form."""

from __future__ import annotations

from ftprof.report.documentation_form import BY_YOU, WORDING, FormField, documentation_form
from ftprof.report.html.elements import Html, bullets, paragraph, section, tag, together, words
from ftprof.report.judged_run import JudgedRun


def form_section(run: JudgedRun) -> Html:
    """What the record can fill in, and what only the provider can."""
    return section(
        "form",
        "For the EU Model Documentation Form",
        paragraph(WORDING, class_="source"),
        *(_field(field) for field in documentation_form(run)),
        tag("h3", words("To be filled in by you")),
        bullets(BY_YOU, len(BY_YOU), ""),
    )


def _field(field: FormField) -> Html:
    readers = tag("small", words(f"for the {' and the '.join(field.readers)}"))
    heading = tag("h3", together(words(field.name), Html(" "), readers))
    answer = together(*(paragraph(line) for line in field.lines))
    return tag("div", together(heading, answer), class_="field" if field.known else "field open")
