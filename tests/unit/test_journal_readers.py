"""Many journals are read by several processes, and lines are verified by cutting bytes: as the plain way does it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_counters_journal import ROLLED_UP, WHOLE, context, counters_journal, counts, end, run_journal

from ftprof.errors import FtprofError
from ftprof.record import journal_readers
from ftprof.record.canonical import canonical, chained_hash, indented, is_hash_of_line
from ftprof.record.fields import parse_count, parse_counts
from ftprof.record.journal import BrokenJournal, parse_journal
from ftprof.record.merge import merge_journals
from ftprof.record.record import record_bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run_journal(run)
    for pid in range(7, 20):
        counters_journal(run, *(WHOLE if pid % 2 else ROLLED_UP), pid=pid)
    (run / "none.journal").write_bytes(b'{"ki')
    return run


def read_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_readers, "_MANY", 1)
    monkeypatch.setattr(journal_readers, "_CHUNK", 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})


def test_the_record_does_not_hang_on_who_read_the_journals(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = record_bytes(merge_journals(folder, 1).to_json())
    read_by_others(monkeypatch)
    monkeypatch.setattr(journal_readers, "parse_journal", None)  # so that nothing is read here
    assert record_bytes(merge_journals(folder, 1).to_json()) == here


def test_an_impossible_rate_is_refused_whoever_read_its_windows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hour_us = 3_600_000_000
    burst, quiet = counts(10**16, 1000, 1_001_000), counts(1000, 2_000_000, hour_us, stratum=1)
    counters_journal(folder, context(), burst, quiet, end(hour_us), pid=20)
    here = merge_journals(folder, 1)
    assert any("such a rate is impossible" in reason for reason in here.reasons)
    read_by_others(monkeypatch)
    assert merge_journals(folder, 1) == here


def test_the_first_broken_journal_is_named_whoever_read_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in sorted(folder.glob("*-counters.journal"))[5::4]:
        path.write_bytes(path.read_bytes().replace(b'"100"', b'"101"', 1))
    with pytest.raises(BrokenJournal) as here:
        merge_journals(folder, 1)
    read_by_others(monkeypatch)
    with pytest.raises(BrokenJournal) as others:
        merge_journals(folder, 1)
    assert (others.value.message, others.value.line) == (here.value.message, here.value.line)


def test_a_reader_that_dies_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_by_others(monkeypatch)
    monkeypatch.setattr(journal_readers, "_PROGRAM", "import os; os._exit(9)  # {}")
    with pytest.raises(FtprofError, match="read journals ended"):
        merge_journals(folder, 1)


HASHES = st.sampled_from(["0" * 64, "a" * 64, "x", "", 'a"', "é" * 64, None, 5])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | HASHES,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["hash", "kind"]), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text() | st.sampled_from(["hash", "a", "z"]), JSON), st.booleans())
def test_a_lines_hash_is_verified_as_if_it_was_written_anew(content: dict[str, Any], right: bool) -> None:
    line = {**content, "kind": "end", "previous": "0" * 64}
    line.setdefault("hash", "b" * 64)
    if right:
        line["hash"] = chained_hash(line)
    assert is_hash_of_line(canonical(line), line) == (chained_hash(line) == line["hash"])


def test_a_hash_that_is_inside_a_line_too_is_no_way_around() -> None:
    line = {"a": {"hash": "b" * 64, "z": 1}, "hash": "b" * 64, "kind": "end", "previous": "0" * 64}
    assert not is_hash_of_line(canonical(line), line)
    line["hash"] = chained_hash(line)
    line["a"] = {"hash": line["hash"], "z": 1}
    assert not is_hash_of_line(canonical(line), line)


@given(JSON)
def test_a_record_is_written_as_json_writes_it(content: Any) -> None:
    assert indented(content) == json.dumps(content, indent=1, ensure_ascii=True)


NUMBERS = st.sampled_from(
    [
        "0",
        "7",
        "00",
        "-0",
        "-1",
        "+1",
        " 1",
        "1_0",
        "1.0",
        "1e5",
        "",
        "٣",
        "9" * 60,
        "9" * 61,
        None,
        True,
        5,
        1.0,
        [],
        {},
    ]
)


@given(st.lists(NUMBERS | st.integers(0, 10**60).map(str)))
def test_many_counts_are_read_as_each_alone(values: list[Any]) -> None:
    def alone() -> list[int] | None:
        try:
            return [parse_count(value) for value in values]
        except ValueError:
            return None

    def together() -> list[int] | None:
        try:
            return parse_counts(values)
        except (TypeError, ValueError):
            return None

    assert together() == alone()


def test_what_is_not_ascii_is_no_line(tmp_path: Path) -> None:
    path = run_journal(tmp_path)
    for damage in (b"\xff", b"\xef\xbb\xbf", "é".encode()):
        with pytest.raises(BrokenJournal) as error:
            parse_journal(path, damage + path.read_bytes())
        assert error.value.line == 1
