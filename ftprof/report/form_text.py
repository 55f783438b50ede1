"""The Model Documentation Form's fields as text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ftprof.report.documentation_form import BY_YOU, WORDING, FormField
from ftprof.report.verdict_text import WIDTH


def form_text(fields: Sequence[FormField]) -> str:
    """The section of the text report."""
    lines = ["For the EU Model Documentation Form", *_wrapped(WORDING, "  ", "  ")]
    for field in fields:
        lines.append(f"  {field.name} (for the {' and the '.join(field.readers)})")
        for line in field.lines:
            lines += _wrapped(line, "    ", "      ")
    lines.append("  To be filled in by you")
    for line in BY_YOU:
        lines += _wrapped(line, "    ", "      ")
    return "\n".join(lines)


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
