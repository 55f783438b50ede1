"""The journal's reader: a torn last line is dropped, anything else that does not hold is an error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftprof.errors import UntrustedInput
from ftprof.measure.analytic.hook import SCHEMA as WRITER_SCHEMA
from ftprof.measure.analytic.hook import Journal as Writer
from ftprof.measure.analytic.hook import canonical as hook_canonical
from ftprof.record import schemas
from ftprof.record.canonical import canonical
from ftprof.record.journal import JOURNAL_SCHEMA, Cell, UncountedWork, read_journal

HEADER: dict[str, Any] = {
    "schema": JOURNAL_SCHEMA, "run": "r", "role": "process", "method": "analytic", "host": "h", "boot": "b" * 36,
    "pid": 7, "start_ticks": 11, "parent_pid": 1, "time_us": 5, "rank": None,
    "software": {"python": "3.11", "torch": "2.13"}, "devices": [{"device": "cpu", "name": "x"}], "unwatched": [],
}  # fmt: skip
IDENTITY = {"host": "h", "boot": "b" * 36, "pid": 7, "start_ticks": 11}


MM = {"operator": "aten.mm", "precision": "fp32", "device": "cpu"}


def window(flops: int, calls: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "method": "analytic", "begin_us": 5, "end_us": 9, "devices": [],
        "counts": [{**MM, "calls": str(calls), "flops": str(flops)}],
        "uncounted": [{"kind": "operator", "name": "aten::sum", "family": None, "calls": "2"}], **changes,
    }  # fmt: skip


def write(folder: Path, flops: list[int], end: bool = True) -> Path:
    journal = Writer(str(folder), IDENTITY)
    assert journal.write("header", **HEADER)
    for count in flops:
        assert journal.write("window", **window(count))
    if end:
        assert journal.write("end", reason="exit", time_us=20)
    journal.close()
    return Path(journal.path)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    journal = read_journal(write(tmp_path, [10, 2**70]))
    assert journal is not None
    assert journal.flops == 10 + 2**70
    assert journal.counts == {Cell("aten.mm", "fp32", "cpu"): (2, 10 + 2**70)}
    assert journal.uncounted == {UncountedWork("operator", "aten::sum", None): 4}
    assert (journal.windows, journal.lines, journal.torn) == (2, 4, False)
    assert journal.end is not None


def test_the_hook_and_the_reader_share_one_form() -> None:
    line = {"b": [1, "é", None, True], "a": {"z": "1", "y": -5}}
    assert canonical(line) == hook_canonical(line) == b'{"a":{"y":-5,"z":"1"},"b":[1,"\\u00e9",null,true]}'
    assert WRITER_SCHEMA == JOURNAL_SCHEMA


def test_every_line_is_of_the_schema(tmp_path: Path) -> None:
    schema = json.loads(schemas.JOURNAL.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for line in write(tmp_path, [1, 2]).read_text().splitlines():
        jsonschema.validate(json.loads(line), schema)


def test_a_process_that_replaced_its_program_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path, [3], end=False)
    again = Writer(str(tmp_path), IDENTITY)
    assert again.continues
    assert again.write("program", **HEADER)
    assert again.write("window", **window(4))
    journal = read_journal(path)
    assert journal is not None
    assert (journal.flops, len(journal.programs), journal.end) == (7, 1, None)


def test_a_window_after_the_end_means_that_it_did_not_end(tmp_path: Path) -> None:
    path = write(tmp_path, [3])
    again = Writer(str(tmp_path), IDENTITY)
    again.write("window", **window(4))
    journal = read_journal(path)
    assert journal is not None
    assert (journal.flops, journal.end) == (7, None)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_dropped_and_noted(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, [5, 6])
    path.write_bytes(path.read_bytes()[:-cut])
    journal = read_journal(path)
    assert journal is not None
    assert (journal.torn, journal.end, journal.flops) == (True, None, 11)


def test_a_first_line_that_was_never_whole(tmp_path: Path) -> None:
    path = write(tmp_path, [5])
    path.write_bytes(path.read_bytes()[:20])
    assert read_journal(path) is None
    path.write_bytes(b"")
    assert read_journal(path) is None


@pytest.mark.parametrize(
    "change",
    [
        {"counts": [{**MM, "calls": "1", "flops": 5}]},
        {"counts": [{**MM, "calls": "1", "flops": "-5"}]},
        {"counts": [{**MM, "calls": "1", "flops": "1e5"}]},
        {"counts": [{**MM, "calls": "1", "flops": "٣"}]},
        {"counts": [{**MM, "calls": "1", "flops": "05"}]},
        {"counts": [{"operator": "aten.mm"}]},
        {"counts": {"a": 1}},
        {"uncounted": None},
        {"end_us": "9"},
    ],
)
def test_a_line_of_another_form_is_an_error(tmp_path: Path, change: dict[str, Any]) -> None:
    journal = Writer(str(tmp_path), IDENTITY)
    journal.write("header", **HEADER)
    journal.write("window", **window(1, **change))
    with pytest.raises(UntrustedInput, match="line 2"):
        read_journal(Path(journal.path))


@pytest.mark.parametrize("kind", ["header", "nonsense"])
def test_a_line_of_a_wrong_kind_is_an_error(tmp_path: Path, kind: str) -> None:
    journal = Writer(str(tmp_path), IDENTITY)
    journal.write("header", **HEADER)
    journal.write(kind, **HEADER)
    with pytest.raises(UntrustedInput, match="line 2"):
        read_journal(Path(journal.path))


@pytest.mark.parametrize("value", [None, 7, [], ["window"], {}, True])
@pytest.mark.parametrize("key", ["kind", "counts", "uncounted", "devices", "begin_us", "end_us", "a row", "previous"])
def test_a_forged_line_whose_hash_fits_is_an_error(tmp_path: Path, key: str, value: Any) -> None:
    """Whatever stands where something else should: one who can write a line can hash it too."""
    path = write(tmp_path, [], end=False)
    (header,) = path.read_bytes().splitlines(keepends=True)
    line = {"kind": "window", "previous": json.loads(header)["hash"], **window(5)}
    line |= {"counts": [value]} if key == "a row" else {key: value}
    line["hash"] = hashlib.sha256(canonical(line)).hexdigest()
    path.write_bytes(header + canonical(line) + b"\n")
    if (value == [] and key in ("counts", "uncounted", "devices")) or (value == 7 and key.endswith("_us")):
        assert read_journal(path) is not None
        return
    with pytest.raises(UntrustedInput, match="line 2"):
        read_journal(path)


def test_lines_left_out_swapped_or_of_another_journal_break_the_chain(tmp_path: Path) -> None:
    path = write(tmp_path, [1, 2, 3])
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged in (
        lines[:1] + lines[2:],
        [lines[0], lines[2], lines[1], *lines[3:]],
        lines[1:],
        lines[:2] + lines[1:],
    ):
        path.write_bytes(b"".join(damaged))
        with pytest.raises(UntrustedInput):
            read_journal(path)


def test_a_disk_that_is_full_leaves_a_whole_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    journal = Writer(str(tmp_path), IDENTITY)
    journal.write("header", **HEADER)
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, text: real(file, text[: len(text) // 2]))
    assert not journal.write("window", **window(5))
    monkeypatch.setattr(os, "write", real)
    assert journal.write("window", **window(7))
    read = read_journal(Path(journal.path))
    assert read is not None
    assert (read.flops, read.torn) == (7, False)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_changed_byte_gives_a_wrong_total(tmp_path: Path, data: st.DataObject) -> None:
    """Any one byte changed, put in or left out: an error, or a torn end and only whole windows."""
    original = b"".join(write_bytes(tmp_path))
    at = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).map(lambda value: bytes([value])))
    action = data.draw(st.sampled_from(["change", "insert", "delete", "truncate"]))
    damaged = {
        "change": original[:at] + byte + original[at + 1 :],
        "insert": original[:at] + byte + original[at:],
        "delete": original[:at] + original[at + 1 :],
        "truncate": original[:at],
    }[action]
    path = tmp_path / "damaged.journal"
    path.write_bytes(damaged)
    try:
        journal = read_journal(path)
    except UntrustedInput as error:
        assert "\n" not in error.message
        return
    if journal is None or damaged == original:
        return
    assert journal.flops in (0, 100, 300, 600)
    assert journal.end is None or journal.flops == 600
    assert journal.torn or action == "truncate"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=400))
def test_noise_is_an_error_and_never_a_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "noise.journal"
    path.write_bytes(content)
    try:
        assert read_journal(path) is None
    except UntrustedInput:
        assert b"\n" in content


_BYTES: list[bytes] = []


def write_bytes(folder: Path) -> list[bytes]:
    if not _BYTES:
        _BYTES.append(write(folder, [100, 200, 300]).read_bytes())
    return _BYTES
