"""The record's form, its sums, and that a damaged one is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftprof.errors import UntrustedInput
from ftprof.record import schemas
from ftprof.record.canonical import digest
from ftprof.record.interval import NOTHING_COUNTED, Interval
from ftprof.record.journal import Cell, ProcessIdentity, UncountedWork
from ftprof.record.record import ProcessRecord, Record, RunInfo, load_record, save_record
from ftprof.record.timeline import Timeline


def process(pid: int, flops: int) -> ProcessRecord:
    return ProcessRecord(
        ProcessIdentity("host", "boot", pid, 9), "analytic", flops, 1, 5, 6, "exit", None, {"torch": "2.13"},
        ({"device": "cpu", "name": "x"},), f"{pid}.journal", 3, "0" * 64,
    )  # fmt: skip


def timeline(flops: int) -> Timeline:
    whole = Timeline()
    whole.add(5, 200_000, flops)
    return whole


def record(**changes: Any) -> Record:
    whole = Record(
        method="analytic",
        interval=Interval(300, 300, 300),
        complete=True,
        reasons=(),
        runs=(RunInfo("id", ("python", "x.py"), "host", 1, 2, 0, "0.1.0"),),
        processes=(process(1, 100), process(2, 200)),
        counts={Cell("aten.mm", "fp32", "cpu"): (1, 100), Cell("aten.bmm", "bf16", "cpu"): (2, 200)},
        uncounted={UncountedWork("operator", "aten::sum", None): 4},
        unwatched=("aten::add",),
        timeline=timeline(300),
    )
    return replace(whole, **changes)


def saved(folder: Path, content: Record) -> Path:
    path = folder / "record.json"
    save_record(content, path, overwrite=True)
    return path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    assert load_record(saved(tmp_path, record())) == record()
    gone: dict[str, Any] = {"processes": (), "counts": {}, "timeline": Timeline()}
    nothing = record(interval=NOTHING_COUNTED, reasons=("nothing was counted",), **gone)
    assert load_record(saved(tmp_path, nothing)) == nothing
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.json"]


def test_it_is_of_the_schema() -> None:
    schema = json.loads(schemas.RECORD.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(record().to_json(), schema)


def test_sums_are_sorted_by_size() -> None:
    assert list(record().by_precision.items()) == [("bf16", 200), ("fp32", 100)]
    assert list(record().by_operator) == ["aten.bmm", "aten.mm"]
    assert record().by_device == {"cpu": 300}


@pytest.mark.parametrize(
    "changes",
    [
        {"interval": Interval(300, 300, 301)},
        {"interval": Interval(299, 299, 299)},
        {"interval": Interval(300, None, None)},
        {"processes": (process(1, 100),)},
        {"counts": {Cell("aten.mm", "fp32", "cpu"): (1, 300), Cell("aten.bmm", "bf16", "cpu"): (2, 200)}},
        {"complete": False},
        {"uncounted": {UncountedWork("triton", "kernel", "unknown"): 1}},
        {"method": "guess"},
        {"timeline": timeline(299)},
    ],
)
def test_a_record_whose_sums_do_not_hold_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Also where somebody made the digest fit."""
    path = saved(tmp_path, record(**changes))
    with pytest.raises(UntrustedInput, match="cannot be trusted"):
        load_record(path)


@pytest.mark.parametrize("key", sorted(record().to_json()))
@pytest.mark.parametrize("value", [None, 5, "x", [], {}, [[]], True])
def test_any_field_of_another_form_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    content = {**record().to_json(), key: value}
    if content == record().to_json():
        return
    if key != "digest":
        content["digest"] = digest(content)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    # Null, true and empty values are allowed in some places; then the record still loads to the same total.
    try:
        assert load_record(path).interval.low == 300
    except UntrustedInput as error:
        assert "\n" not in error.message


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    content = record().to_json()
    del content["processes"]
    content["digest"] = digest(content)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UntrustedInput, match="processes is missing"):
        load_record(path)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_changed_byte_gives_a_wrong_total(tmp_path: Path, data: st.DataObject) -> None:
    original = json.dumps(record().to_json(), indent=1).encode()
    at = data.draw(st.integers(0, len(original) - 1))
    byte = bytes([data.draw(st.integers(0, 255))])
    damaged = data.draw(
        st.sampled_from(
            [original[:at] + byte + original[at + 1 :], original[:at] + byte + original[at:], original[:at]]
        )
    )
    path = tmp_path / "damaged.json"
    path.write_bytes(damaged)
    try:
        loaded = load_record(path)
    except UntrustedInput as error:
        assert "\n" not in error.message
    else:
        assert loaded == record()  # only white space differs


def test_a_deeply_nested_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 200_000)
    with pytest.raises(UntrustedInput):
        load_record(path)


def test_an_interval_is_ordered() -> None:
    for low, value, high in ((-1, 0, 1), (5, 4, 9), (5, 6, 5), (5, None, 4)):
        with pytest.raises(ValueError, match="interval"):
            Interval(low, value, high)
