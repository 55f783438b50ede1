"""The HTML report: its structure, its figures, and that nothing out of a record becomes markup."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_records import (
    BF16,
    HOUR_US,
    RECORDS,
    analytic,
    check,
    declared,
    judged,
    many,
    process,
    run_info,
    sampled,
    timeline,
)

from ftprof.policy.inputs import PolicyInputs
from ftprof.record.device_use import DeviceUse
from ftprof.record.interval import Interval
from ftprof.record.journal import Cell, UncountedWork
from ftprof.record.record import Record
from ftprof.record.timeline import Timeline
from ftprof.report.html.page import html_report
from ftprof.report.plain import plain
from ftprof.report.verdict_text import NOT_ADVICE

VOID = {"meta", "br", "rect", "path"}
TAGS = VOID | {
    "html", "head", "title", "style", "body", "header", "main", "footer", "section", "article", "aside", "div", "p",
    "h1", "h2", "h3", "ul", "li", "dl", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td", "figure",
    "figcaption", "svg", "desc", "span", "b", "small", "sup", "code", "data",
}  # fmt: skip
ATTRIBUTES = {
    "charset", "name", "content", "http-equiv", "lang", "class", "id", "aria-labelledby", "aria-hidden", "scope",
    "role", "data-head", "value", "viewbox", "preserveaspectratio", "width", "height", "x", "y", "d",
}  # fmt: skip


class Tree(HTMLParser):
    """A strict reader: every element is one of ours, and is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.pieces: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        assert {name for name, _ in attrs} <= ATTRIBUTES, attrs
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"rect", "path"}, tag
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(record: Record) -> Tree:
    return Tree(html_report(judged(record)))


@pytest.fixture(params=sorted(RECORDS))
def record(request: pytest.FixtureRequest) -> Record:
    return RECORDS[request.param]()


def test_it_is_one_accessible_file_that_asks_for_nothing(record: Record) -> None:
    page = html_report(judged(record))
    assert page.isascii()
    assert not re.search(r"(?i)\b(src|href|srcset)=|url\(|@import|<script|<[^>]* on[a-z]+=", page)
    tree = Tree(page)
    assert tree.all("html") == [{"lang": "en"}]
    assert [tag for tag, _ in tree.elements].count("h1") == 1
    levels = [int(tag[1]) for tag, _ in tree.elements if re.fullmatch("h[1-6]", tag)]
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert all("scope" in head for head in tree.all("th"))
    names = [attributes["id"] for _, attributes in tree.elements if "id" in attributes]
    assert len(set(names)) == len(names)
    assert {a["aria-labelledby"] for _, a in tree.elements if "aria-labelledby" in a} <= set(names)
    titles = [tag for tag, _ in tree.elements].count("title") - 1
    assert titles == sum(1 for drawing in tree.all("svg") if drawing.get("role") == "img")
    assert all("role" in drawing or drawing.get("aria-hidden") == "true" for drawing in tree.all("svg"))
    assert tree.text.count(NOT_ADVICE) == 2


def test_it_holds_the_figures_verdicts_and_the_digest(record: Record) -> None:
    run = judged(record)
    tree = Tree(html_report(run))
    values = {data["value"] for data in tree.all("data")}
    for verdict in run.verdicts:
        assert str(verdict.threshold_flops) in values
        assert verdict.policy in tree.text
        assert verdict.source in tree.text
    amounts = [run.executed, run.basis.amount] if run.executed.value is not None else []
    for amount in amounts:
        assert str(amount.value) in values
        if not amount.low == amount.value == amount.high and amount.low:
            assert str(amount.low) in values
    for part in run.basis.parts:
        assert str(part.flops) in values
        assert part.source in tree.text
    assert record.to_json()["digest"] in tree.text
    assert all(reason in tree.text for reason in record.reasons[:20])
    assert ("This record is incomplete" in tree.text) == (not record.complete)


def test_exact_numbers_can_be_copied() -> None:
    tree = page_of(sampled())
    assert "24000000000000000000" in tree.text  # the groups of its digits are no text


def test_each_part_of_the_difference_says_how_it_is_known() -> None:
    assert "estimated" in page_of(sampled()).text
    text = page_of(declared()).text
    for words in ("deducted", "added", "not claimed, not in the figure", "measured", "declared", "paragraph 122"):
        assert words in text, words


def test_what_other_methods_give_stands_beside() -> None:
    text = page_of(sampled()).text
    assert "0.88 times the figure" in text
    assert "their shares are used, not their total" in text
    assert "looked for" in text


def test_a_big_run_is_summarised() -> None:
    small, big = (html_report(judged(many(count))) for count in (200, 2000))
    assert len(big) < 1.1 * len(small)
    text = Tree(big).text
    assert "1,984 others" in text  # processes
    assert "1,988 others" in text  # devices
    assert "250 hosts: node-0000 (8)" in text
    assert "and 480 more, in the record" in text  # reasons


def test_the_drawing_is_the_timeline() -> None:
    work = Timeline()
    for flops, step in ((4, 0), (1, 1), (2, 3)):
        work.add(step << 16, (step + 1) << 16, flops)
    record = analytic(
        interval=Interval(7, 7, 7), counts={Cell("aten.mm", "bf16", "cpu"): (1, 7)}, timeline=work,
        processes=(process(1, 7, "analytic"),),
    )  # fmt: skip
    page = html_report(judged(record))
    assert 'd="M0 1000V0H1V750H2V1000H3V500H4V1000Z"' in page
    assert 'd="M0 563H4"' in page  # the mean: 7 in 4 steps, of at most 4
    # 4 operations in 65,536 microseconds
    assert "61 FLOP/s in the busiest step" in Tree(page).text
    assert "does not tell how the work lies in time" in page_of(replace(sampled(), timeline=Timeline())).text


@pytest.mark.parametrize(
    ("low", "value", "high"), [(0, 0, 0), (0, 1, None), (1, 1, 1), (0, 10**59, 10**59), (10**40, 10**41, None)]
)
def test_the_plot_takes_any_distance_from_the_threshold(low: int, value: int, high: int | None) -> None:
    gpu = {"name": "x", "uuid": "GPU-1", "gpu_instance": None}
    rows = ({**check("gpm", value, low, high), "device": gpu},)
    tree = page_of(
        replace(RECORDS["gpm"](), interval=Interval(low, value, high), cross_checks=rows, timeline=Timeline())
    )
    boxes = [box for box in tree.all("rect") if box["class"] in ("range", "value", "limit")]
    assert len(boxes) == 6
    assert all(int(box.get("x", 0)) >= 0 and int(box.get("x", 0)) + int(box["width"]) <= 1000 for box in boxes)


HOSTILE = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'-->", "</style><style>*{}", "&lt;b&gt;",
            "</title>", "]]>", "\ud800", "\u202egnp.exe", "\x00\x1b[2J", "{{7*7}}", "10^99", "\r\n\n\t", "javascript:1",
        ]
    ),
)  # fmt: skip


def hostile_record(text: Callable[[], str]) -> Record:
    """Every text that a record can hold comes from elsewhere."""
    base = analytic()
    cells = {Cell(text() + "a", text(), text(), phase): amounts for (_, amounts), phase in zip(
        base.counts.items(), ("train", "recompute", "evaluate", "generate"), strict=True)}  # fmt: skip
    odd = process(
        1, 100 * 10**15, "analytic", host=text(), end=text(), journal=text(), journal_head=text(),
        software={"torch": text(), "python": text(), "system": text(), "driver": [text()], "cupti": text()},
        devices=({"device": text(), "name": text(), "uuid": text()},),
    )  # fmt: skip
    inputs = PolicyInputs(Fraction(10**23), Fraction(10**23), text(), text())
    return replace(
        base, counts=cells, processes=(odd,), reasons=(text(), text()), unwatched=(text(), text()),
        uncounted={UncountedWork(text(), text(), None): 3},
        runs=(run_info(text(), run=text(), command=(text(), text()), ftprof=text(), head=text()),),
        policy_inputs=inputs.to_json(), timeline=timeline(100 * 10**15),
        devices=(DeviceUse(text(), None, text(), HOUR_US, 7), DeviceUse(text(), 3, text(), HOUR_US, None)),
    )  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_text_of_a_record_becomes_markup(data: st.DataObject) -> None:
    drawn: list[str] = []

    def text() -> str:
        drawn.append(data.draw(HOSTILE))
        return drawn[-1]

    record = hostile_record(text)
    page = html_report(judged(record))
    assert page.isascii()
    tree = Tree(page)  # which refuses whatever is not ours
    for shown in (record.runs[0].command[0], record.runs[0].host, record.devices[0].name, record.reasons[0]):
        assert re.sub(r"10\^(-?)", "10", plain(shown)).replace("-", "\N{MINUS SIGN}") in tree.text.replace(
            "-", "\N{MINUS SIGN}"
        )


def test_software_of_any_form_is_shown() -> None:
    odd: Any = {"torch": {"a": [1]}, "cupti": 13}
    record = analytic(processes=(process(1, 100 * 10**15, "analytic", software=odd),))
    assert json.loads(json.dumps(record.to_json()))["processes"][0]["software"] == odd
    assert "{'a': [1]}" in page_of(record).text


def test_names_of_counters_are_shown() -> None:
    assert BF16 in page_of(sampled()).text
