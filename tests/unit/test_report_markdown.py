"""The Markdown report: it fits a model card, and nothing out of a record becomes markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_records import RECORDS, judged, killed, nothing, peak_bound, sampled
from test_report_html import HOSTILE, hostile_record

from ftprof.policy.inputs import PolicyInputs
from ftprof.quantity import TIMES
from ftprof.report.markdown import escape, markdown_report
from ftprof.report.plain import plain

markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py, which renders it, is not installed")

BLOCKS = {"paragraph", "table", "thead", "tbody", "tr", "th", "td", "bullet_list", "list_item", "inline"}
INLINE = {"text", "strong_open", "strong_close", "text_special", "softbreak"}


def tokens(text: str) -> Iterator[Any]:
    """As GitHub and Hugging Face read it: with tables, links that make themselves, and HTML."""
    reader = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for token in reader.parse(text):
        yield token
        yield from token.children or ()


def shown(text: str) -> str:
    """What a reader sees."""
    return "".join(token.content for token in tokens(text) if token.type in ("text", "text_special"))


def check_markup(text: str) -> None:
    for token in tokens(text):
        if token.type == "html_inline":
            assert token.content == "<br>", token
        else:
            assert token.type in INLINE or re.sub("_(open|close)$", "", token.type) in BLOCKS, token


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_it_fits_under_any_heading(name: str) -> None:
    run = judged(RECORDS[name]())
    text = markdown_report(run)
    check_markup(text)
    assert [token.type for token in tokens(text)].count("table_open") == 2
    seen = shown(text)
    assert run.digest in seen
    for verdict in run.verdicts:
        assert f"{verdict.verdict}: " in seen
        assert verdict.policy in seen
    assert "not legal advice" in seen
    if run.executed.value is not None:
        assert f"({run.executed.value}" in seen
    assert ("This record is incomplete" in seen) == (not run.record.complete)
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (3, 4) for line in text.splitlines() if line.startswith("|"))


def test_the_figures_and_what_was_used() -> None:
    seen = shown(markdown_report(judged(sampled()))).replace(TIMES, "x")
    for words in (
        "2.4x10^19 FLOP (24000000000000000000), interval [23600000000000000000, 24409000000000000000]",
        "1.7x10^19 FLOP: less 4.4x10^18 FLOP recompute (estimated), less 2.2x10^18 FLOP evaluate (estimated)",
        "8 x NVIDIA H200, 16 h",
        "0.0091 MWh",
        "never looked for: fp16",
        "Llama-2-7B",
        "its compute is",
    ):
        assert words in seen, words
    apart = PolicyInputs(Fraction(10**22), Fraction(10**23), "table", "Llama-3.2-1B", None).to_json()
    base = shown(markdown_report(judged(replace(sampled(), policy_inputs=apart)))).replace(TIMES, "x")
    assert "1.0x10^22" in base
    assert "1.0x10^23" in base
    assert "10 times apart" in base
    assert "its compute istable" in base
    assert "**nothing was counted**" in markdown_report(judged(nothing()))
    assert "at most **" in markdown_report(judged(peak_bound()))
    assert "N/A" in shown(markdown_report(judged(killed())))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_text_of_a_record_becomes_markup(data: st.DataObject) -> None:
    check_markup(markdown_report(judged(hostile_record(lambda: data.draw(HOSTILE)))))


NASTY = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="\\`*_{}[]()<>#+-.!|~$&@^:= 1aw/", max_size=20),
    st.sampled_from(
        ["1. x", "- x", "+ x", "# x", "> x", "===", "---", "~~x~~", "![a](b)", "<b>", "&amp;", "a|b", "`x`"]
    ),
)


@settings(max_examples=500, deadline=None)
@given(NASTY)
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    once = escape(text)
    for whole in (once, f"| a |\n|---|\n| {once} |\n"):
        check_markup(whole)
        expected = re.sub(" +", " ", plain(text).strip())
        found = re.sub(" +", " ", shown(whole))
        assert found == (expected if whole == once else f"a{expected}")


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("https://x.example", r"https\://x.example"),
        ("see www.x.example", r"see www\.x.example"),
        ("me@x.example", r"me\@x.example"),
        ("$a$", r"\$a\$"),
        (":smile:", r"\:smile:"),
        ("sm__ops", r"sm\_\_ops"),
    ],
)
def test_what_other_dialects_would_make_of_it(text: str, markdown: str) -> None:
    """GitHub's links that make themselves, mentions, formulas and pictures."""
    assert escape(text) == markdown
