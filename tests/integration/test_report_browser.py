"""The HTML report in a real Chromium: on a phone, a tablet, a desk and on paper, light and dark.

Where no Chromium is installed these tests are skipped; .ci/run installs it. ``FTPROF_SCREENSHOTS`` names a folder for
the pictures.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_records import RECORDS, hostile, judged

from ftprof.report.html.page import html_report

pytest.importorskip("websocket", reason="websocket-client, which drives Chromium, is not installed")
from browser import NAMES, Page, browser, find_chromium

WIDTHS = (320, 768, 1280)
PAPER = 673  # the text's width on A4, in CSS pixels


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    program = find_chromium()
    if program is None:
        pytest.skip(f"no Chromium: none of {', '.join(NAMES)} is on PATH (Debian: apt-get install chromium)")
    with browser(program, tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


def opened(page: Page, name: str, folder: Path) -> Path:
    path = folder / f"{name}.html"
    path.write_text(html_report(judged((RECORDS | {"hostile": hostile})[name]())), encoding="utf-8")
    page.open(path)
    return path


@pytest.mark.parametrize("name", [*sorted(RECORDS), "hostile"])
def test_nothing_overflows_overlaps_or_is_too_small_and_nothing_is_fetched(
    page: Page, name: str, tmp_path: Path
) -> None:
    path = opened(page, name, tmp_path)
    for width in WIDTHS:
        for dark in (False, True):
            page.show(width, dark)
            assert page.faults() == [], (width, dark)
            folder = os.environ.get("FTPROF_SCREENSHOTS")
            if folder or name == "sampled":
                picture = page.screenshot()
                assert_shows_the_page(picture, width, page.evaluate("document.documentElement.scrollHeight"))
                scheme = "dark" if dark else "light"
                (Path(folder or tmp_path) / f"{name}-{width}-{scheme}.png").write_bytes(picture)
    page.show(PAPER, dark=True, media="print")
    assert page.faults() == []
    assert page.requests == [path.as_uri()]
    assert page.evaluate("document.scripts.length") == 0


def assert_shows_the_page(picture: bytes, width: int, height: int) -> None:
    """A PNG of the whole page, on which there is something: lines that all look alike take hardly any bytes."""
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", picture[16:24]) == (width, height)
    chunks, at = b"", 8
    while at < len(picture):
        length, kind = struct.unpack(">I4s", picture[at : at + 8])
        chunks += picture[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    assert len(set(zlib.decompress(chunks))) > 64  # of bytes: letters have smooth edges
    assert len(chunks) > width * height // 100


def test_light_and_dark_differ_and_paper_is_white(page: Page, tmp_path: Path) -> None:
    opened(page, "sampled", tmp_path)
    colours = []
    for dark, media in ((False, "screen"), (True, "screen"), (True, "print")):
        page.show(768, dark, media)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(252, 251, 248)", "rgb(23, 24, 26)", "rgb(255, 255, 255)"]


def test_it_prints_on_pages(page: Page, tmp_path: Path) -> None:
    opened(page, "sampled", tmp_path)
    page.show(1280)
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20


def test_on_a_phone_each_figure_keeps_the_name_of_its_column(page: Page, tmp_path: Path) -> None:
    opened(page, "sampled", tmp_path)
    page.show(320)
    cell = "document.querySelector('.stack td')"
    assert page.evaluate(f"getComputedStyle({cell}, '::before').content") == '"FLOP"'
    assert page.evaluate(f"{cell}.closest('table').getAttribute('role')") == "table"
    page.show(1280)
    assert page.evaluate(f"getComputedStyle({cell}, '::before').content") == "none"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<div style="width:2000px">wide</div>', "the page is 2000 px wide"),
        ('<div style="position:absolute; left:-50px">gone</div>', "outside of the screen"),
        ('<div style="width:20px; overflow:hidden; white-space:nowrap">a long text</div>', "clipped"),
        ('<p style="font-size:9px">small</p>', "too small, 9px"),
        ('<p style="color:#999">pale</p>', "too little contrast, 2.85"),
        ('<p>one line</p><p style="margin-top:-30px">another</p>', "overlap"),
        ('<svg role="img"></svg>', "a drawing without a title"),
        ("<script>console.error(1)</script>", "console: error"),
        ("<script>throw 1</script>", "exception"),
        ('<img alt="" src="missing.png">', "log: Failed to load"),
    ],
)
def test_the_search_finds_each_fault(page: Page, body: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "faulty.html"
    path.write_text(f'<!DOCTYPE html><html lang="en"><body style="margin:0; background:#fff">{body}</body></html>')
    page.open(path)
    page.show(768)
    assert any(found.startswith(fault) for found in page.faults()), page.faults()
