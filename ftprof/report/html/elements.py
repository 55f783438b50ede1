"""Pieces of HTML. Only what this module escapes becomes ``Html``, so text of a record cannot become markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from html import escape
from typing import NewType

from ftprof.quantity import to_json
from ftprof.report.plain import plain

Html = NewType("Html", str)
NOTHING = Html("")
_POWER = re.compile(r"10\^(-?)(\d+)")
_MINUS = "&#8722;"


def words(text: str) -> Html:
    """Text as text, with powers of ten raised."""
    return Html(_POWER.sub(_raised, escape(plain(text))))


def together(*parts: Html) -> Html:
    """One after the other."""
    return Html("".join(parts))


def tag(name: str, content: Html, **attributes: str) -> Html:
    """An element; ``_`` in an attribute's name stands for ``-``, and one at its end is dropped."""
    pairs = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{pairs}>{content}</{name}>")


def paragraph(text: str, **attributes: str) -> Html:
    """A paragraph of text."""
    return tag("p", words(text), **attributes)


def section(identity: str, title: str, *content: Html) -> Html:
    """A part of the page with its heading; nothing where it has no content."""
    if not any(content):
        return NOTHING
    heading = tag("h2", words(title), id=identity)
    return tag("section", together(heading, *content), aria_labelledby=identity)


def exact(quantity: Fraction | int) -> Html:
    """A number in full. Its digits stand in groups of three that are no text, so that it can be copied."""
    text = to_json(Fraction(quantity))
    halves = [together(*(tag("span", Html(group)) for group in _groups(half))) for half in text.split("/")]
    return tag("data", Html("/".join(halves)), class_="exact", value=text)


def figure_with_exact(quantity: Fraction | int, short: str) -> Html:
    """A rounded figure, and below it the number in full where that is another."""
    if short in (str(quantity), f"{quantity} FLOP"):
        return tag("b", words(short))
    return together(tag("b", words(short)), Html("<br>"), exact(quantity))


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Html]], stack: bool = False) -> Html:
    """A table whose first column names its rows; nothing where there is no row.

    On a narrow screen the cells of a ``stack`` lie below each other, each with its column's name. Roles are written
    out, since a browser forgets that such a thing is a table.
    """
    body = [_row(heads, cells) for cells in rows]
    if not body:
        return NOTHING
    columns = (tag("th", words(text), scope="col", role="columnheader") for text in heads)
    head = tag("thead", tag("tr", together(*columns), role="row"), role="rowgroup")
    content = together(tag("caption", words(caption)), head, tag("tbody", together(*body), role="rowgroup"))
    return tag("table", content, role="table", class_="stack" if stack else "plain")


def sentence(text: str, **attributes: str) -> Html:
    """A paragraph of one sentence. Its first word gets a capital unless it is a name with digits, such as bf16."""
    first = text.partition(" ")[0].rstrip(",;:")
    return paragraph(f"{text[:1].upper()}{text[1:]}." if first.isalpha() else f"{text}.", **attributes)


def definitions(pairs: Iterable[tuple[str, Html]], **attributes: str) -> Html:
    """Names with what they mean."""
    items = [tag("div", together(tag("dt", words(name)), tag("dd", value))) for name, value in pairs]
    return tag("dl", together(*items), **attributes) if items else NOTHING


def bullets(items: Sequence[str], most: int, rest: str) -> Html:
    """The first items as a list; ``rest`` says where the others are."""
    shown = [tag("li", words(item)) for item in items[:most]]
    if len(items) > most:
        shown.append(tag("li", words(f"and {len(items) - most:,} more, {rest}")))
    return tag("ul", together(*shown)) if shown else NOTHING


def bar(part: int, whole: int) -> Html:
    """A share as a bar. It says nothing that the text beside it does not say."""
    width = part * 1000 // whole if whole else 0
    shape = f'<rect class="track" width="1000" height="1"/><rect class="fill" width="{width}" height="1"/>'
    return tag("svg", Html(shape), class_="bar", viewBox="0 0 1000 1", preserveAspectRatio="none", aria_hidden="true")


def lines(parts: Iterable[Html]) -> Html:
    """Pieces of text, each on a line of its own."""
    return Html("<br>".join(part for part in parts if part))


def _row(heads: Sequence[str], cells: Sequence[Html]) -> Html:
    first, *rest = cells
    others = (tag("td", cell, role="cell", data_head=plain(head)) for head, cell in zip(heads[1:], rest, strict=True))
    return tag("tr", together(tag("th", first, scope="row", role="rowheader"), *others), role="row")


def _groups(digits: str) -> list[str]:
    first = len(digits) % 3 or 3
    return [digits[:first], *(digits[at : at + 3] for at in range(first, len(digits), 3))]


def _raised(match: re.Match[str]) -> str:
    return f"10<sup>{_MINUS if match[1] else ''}{match[2]}</sup>"
