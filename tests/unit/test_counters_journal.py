"""Journals of hardware counters: what is written is read, what does not hold is refused, and never a wrong total."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_journal import HEADER, window

from ftprof.cli import main
from ftprof.errors import UntrustedInput
from ftprof.measure.analytic.hook import Journal as Writer
from ftprof.record import schemas
from ftprof.record.canonical import FIRST_HASH, canonical, chained_hash, digest
from ftprof.record.device_window import Device, DeviceWindow, Estimate
from ftprof.record.journal import read_journal
from ftprof.record.merge import merge_journals
from ftprof.record.record import load_record, save_record

Line = tuple[str, dict[str, Any]]

UUID = "GPU-00000000-0000-0000-0000-000000000001"
DEVICE = {
    "device": "cuda:0", "name": "NVIDIA H200", "uuid": UUID, "capability": "9.0", "chip": "GH100",
    "multiprocessors": 132, "clock_khz": 1_980_000,
}  # fmt: skip
CYCLES = {"name": "sm__cycles_active.sum", "precision": "", "kind": "cycles", "weight": 0}
INSTRUCTIONS = {"name": "smsp__thread_inst_executed.sum", "precision": "", "kind": "instructions", "weight": 0}
PATCHED = {"name": "smsp__sass_thread_inst_executed.sum", "precision": "", "kind": "instructions", "weight": 0}
BF16 = {"name": "sm__ops_path_tensor_src_bf16_dst_fp32.sum", "precision": "bf16", "kind": "floating", "weight": 1}
TF32 = {"name": "sm__ops_path_tensor_src_tf32_dst_fp32.sum", "precision": "tf32", "kind": "floating", "weight": 1}
FFMA = {
    "name": "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum", "precision": "fp32", "kind": "cuda-core",
    "weight": 2,
}  # fmt: skip
GROUPS = [
    {"role": "base", "metrics": [BF16, CYCLES]},
    {"role": "rotating", "metrics": [TF32, CYCLES]},
    {"role": "cuda-core", "metrics": [FFMA, PATCHED]},
    {"role": "link", "metrics": [INSTRUCTIONS, CYCLES]},
]
BASE_ONLY = GROUPS[:1]
HASH = "5" * 64


def context(number: int = 0, groups: list[dict[str, Any]] | None = None, **changes: Any) -> Line:
    content = {
        "context": number, "device": DEVICE, "groups": GROUPS if groups is None else groups, "unsupported": [],
        "seed": "7", "begin_us": 1000,
    }  # fmt: skip
    return "context", {**content, **changes}


def counts(flops: int, begin_us: int = 1000, end_us: int = 2000, **changes: Any) -> Line:
    content = {
        "context": 0, "group": 0, "stratum": 0, "begin_us": begin_us, "end_us": end_us, "counts": [str(flops), "2000"],
    }  # fmt: skip
    return "counts", {**content, **changes}


def gap(begin_us: int, end_us: int, code: int = 35, call: str = "cuptiRangeProfilerStart", **changes: Any) -> Line:
    reason = "CUPTI_ERROR_INSUFFICIENT_PRIVILEGES" if code == 35 else "CUPTI_ERROR"
    content = {
        "context": 0, "begin_us": begin_us, "end_us": end_us, "reason": reason, "call": call, "code": code,
        "remedy": "",
    }  # fmt: skip
    return "gap", {**content, **changes}


def gone(time_us: int = 3000, **changes: Any) -> Line:
    return "context-end", {"context": 0, "time_us": time_us, **changes}


def rollup(flops: list[int], begin_us: int = 1000, length_us: int = 1000, **changes: Any) -> Line:
    """Of windows of the base group, one after the other, in one stratum."""
    group = {
        "group": 0, "windows": len(flops), "time_us": length_us * len(flops),
        "sums": [str(sum(flops)), str(2000 * len(flops))],
        "squares": [str(sum(x * x for x in flops)), str(2000 * 2000 * len(flops))],
        "products": [str(sum(2000 * x for x in flops)), str(2000 * 2000 * len(flops))],
    }  # fmt: skip
    end_us = begin_us + length_us * len(flops)
    stratum = {"context": 0, "stratum": 0, "begin_us": begin_us, "end_us": end_us, "groups": [group]}
    content = {
        "replaces_head": HASH, "replaced_lines": len(flops) + 2, "first_us": begin_us, "last_us": end_us,
        "strata": [stratum],
    }  # fmt: skip
    return "rollup", {**content, **changes}


def uncounted(what: str = "a context of its own", device: str = "cuda:0") -> Line:
    return "uncounted", {"context": None, "device": device, "what": what}


def device_window(
    begin_us: int = 1000, end_us: int = 2000, method: str = "peak-bound", high: int | None = 10**12
) -> Line:
    device = Device(UUID, None, "NVIDIA H200", "9.0", 132, 1_980_000)
    part = {"tensor": Estimate(0, 1, 2)} if method == "gpm" else {}
    return "device-window", DeviceWindow(method, device, begin_us, end_us, Estimate(0, high, high), part).to_json()


def end(time_us: int = 5000, **changes: Any) -> Line:
    return "end", {"reason": "exit", "time_us": time_us, **changes}


SOFTWARE = {"cupti": "13.0", "cupti_path": "/x/libcupti.so.13", "cupti_origin": "CUDA toolkit", "cupti_warning": "",
            "driver": "13.0", "system": "Linux"}  # fmt: skip


def identity(pid: int, host: str = "h") -> dict[str, Any]:
    return {"host": host, "boot": "b" * 36, "pid": pid, "start_ticks": 11}


def counters_journal(folder: Path, *lines: Line, pid: int = 7, host: str = "h", **header: Any) -> Path:
    """As the injection library writes it."""
    folder.mkdir(exist_ok=True)
    writer = Writer(str(folder), identity(pid, host))
    base = {**HEADER, "method": "counters", "software": SOFTWARE, "devices": [], **identity(pid, host)}
    assert writer.write("header", **{**base, **header})
    for kind, content in lines:
        assert writer.write(kind, **content)
    writer.close()
    path = Path(writer.path)
    return path.rename(path.with_name(path.name.replace(".journal", "-counters.journal")))


def run_journal(
    folder: Path,
    *lines: Line,
    ended: bool = True,
    pid: int = 1,
    time_us: int = 500,
    exit_code: int = 0,
    **header: Any,
) -> Path:
    """As ``ftprof wrap`` writes it; the command ends at 6 ms."""
    folder.mkdir(exist_ok=True)
    writer = Writer(str(folder), identity(pid))
    base = {**HEADER, "method": "counters", "role": "run", "command": ["x"], "policy_inputs": {}, "time_us": time_us}
    assert writer.write("header", **{**base, "software": {"ftprof": "0.1.0"}, **identity(pid), **header})
    for kind, content in lines:
        assert writer.write(kind, **content)
    if ended:
        assert writer.write("end", reason="the command ended", time_us=6000, exit_code=exit_code)
    writer.close()
    return Path(writer.path)


def schema_of(path: Path) -> jsonschema.protocols.Validator:
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


JOURNAL_SCHEMA = schema_of(schemas.JOURNAL)
WHOLE: list[Line] = [
    context(groups=[]),
    context(),
    counts(100),
    counts(200, 2000, 3000),
    gap(3000, 4000),
    uncounted(),
    counts(7, 4000, 4100, group=2, counts=["7", "70"]),
    end(),
]
ROLLED_UP: list[Line] = [context(), gap(500, 1000), rollup([100, 200]), counts(300, 3000, 4000), end()]


# ---------------------------------------------------------------- what is written is read


def test_windows_gaps_and_what_was_not_seen_are_read(tmp_path: Path) -> None:
    journal = read_journal(counters_journal(tmp_path, *WHOLE))
    assert journal is not None
    (found,) = journal.contexts
    assert [group.role for group in found.groups] == ["base", "rotating", "cuda-core", "link"]
    assert (found.windows, journal.windows, journal.lines, journal.last_us) == (3, 3, 9, 5000)
    assert [sums.sums for stratum in found.tally.strata for _, sums in sorted(stratum.groups.items())] == [
        [300, 4000],
        [7, 70],
    ]
    assert [(part.begin_us, part.end_us, part.code) for part in found.gaps] == [(3000, 4000, 35)]
    assert journal.unseen == ["cuda:0: a context of its own"]
    assert journal.devices == [DEVICE]


def test_a_roll_up_gives_what_its_windows_gave(tmp_path: Path) -> None:
    singly = [context(), counts(100), counts(200, 2000, 3000), counts(300, 3000, 4000), end()]
    rolled = [line for line in ROLLED_UP if line[0] != "gap"]
    records = []
    for name, lines in (("a", singly), ("b", rolled)):
        run_journal(tmp_path / name)
        counters_journal(tmp_path / name, *lines)
        records.append(merge_journals(tmp_path / name))
    assert records[0].estimates == records[1].estimates
    assert records[0].interval == records[1].interval
    assert records[0].counts == records[1].counts
    assert records[0].interval.low >= 600


@pytest.mark.parametrize("lines", [WHOLE, ROLLED_UP])
def test_every_line_is_of_the_schema(tmp_path: Path, lines: list[Line]) -> None:
    paths = [counters_journal(tmp_path, *lines), run_journal(tmp_path, device_window(), device_window(method="gpm"))]
    for path in paths:
        for line in path.read_text().splitlines():
            JOURNAL_SCHEMA.validate(json.loads(line))


@pytest.mark.parametrize("ended", [True, False])
def test_activity_that_was_not_sampled_to_the_end_is_bounded_by_the_peak(tmp_path: Path, ended: bool) -> None:
    """Counters were refused, and ftprof itself was killed: the training went on."""
    run_journal(tmp_path, device_window(), device_window(method="gpm", high=10**6), ended=ended)
    counters_journal(tmp_path, context(), gap(1000, 5000), *([end()] if ended else []))
    merged = merge_journals(tmp_path, now_us=10_000_000)
    assert (merged.method, merged.interval.value) == ("gpm", 10**6)
    assert merged.interval.high is not None
    assert (merged.interval.high >= 10**13) is not ended


def test_a_context_that_was_destroyed_did_nothing_after_it(tmp_path: Path) -> None:
    """The program went on for an hour."""
    hour = 3_600_000_000
    highs = []
    for name, lines in (("alive", []), ("gone", [gone()])):
        run_journal(tmp_path / name)
        counters_journal(tmp_path / name, context(groups=BASE_ONLY), counts(10**9), *lines, end(hour))
        highs.append(merge_journals(tmp_path / name).interval.high)
    assert highs[0] is not None
    assert highs[1] is not None
    assert highs[0] > 10**18
    assert highs[1] < 10**14


def test_device_windows_are_read(tmp_path: Path) -> None:
    lines = [device_window(), device_window(2000, 3000, "gpm"), device_window(3000, 4000, high=None)]
    journal = read_journal(run_journal(tmp_path, *lines))
    assert journal is not None
    assert [found.to_json() for found in journal.device_windows] == [content for _, content in lines]


def test_a_program_that_replaced_another_numbers_its_contexts_anew(tmp_path: Path) -> None:
    program = {**HEADER, "method": "counters", "software": SOFTWARE, "devices": []}
    lines = [context(), counts(100), ("program", program), context(), counts(1, 3000, 4000), end()]
    journal = read_journal(counters_journal(tmp_path, *lines))
    assert journal is not None
    assert [found.tally.strata[0].groups[0].sums[0] for found in journal.contexts] == [100, 1]


# ---------------------------------------------------------------- what does not hold is refused

_BAD: list[Any] = [None, -1, 1.5, 2**53, "x", "-1", "01", "1e5", "٣", "9" * 61, [], ["x"], {}, True]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every part of a line."""
    if at:
        yield at
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*at, key))


def changed(content: Any, at: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    whole = copy.deepcopy(content)
    inner = whole
    for key in at[:-1]:
        inner = inner[key]
    change(inner, at[-1])
    return whole


def delete(inner: Any, key: Any) -> None:
    del inner[key]


def put(value: Any) -> Callable[[Any, Any], None]:
    def change(inner: Any, key: Any) -> None:
        inner[key] = value

    return change


def variants(line: Line) -> Iterator[tuple[str, Line]]:
    """One part of the line left out or of another form: all of them."""
    kind, content = line
    for at in places(content):
        yield f"{kind} without {at}", (kind, changed(content, at, delete))
        for bad in _BAD:
            yield f"{kind} with {at} = {bad!r:.20}", (kind, changed(content, at, put(bad)))


OF_EACH_KIND: dict[str, list[Line]] = {  # the last line of each
    "context": [context()],
    "counts": [context(), counts(100)],
    "gap": [context(), gap(1000, 2000)],
    "context-end": [context(), gone()],
    "rollup": [context(), rollup([100, 200])],
    "uncounted": [uncounted()],
    "peak-bound": [device_window()],
    "gpm": [device_window(method="gpm")],
}


def is_of_the_schema(line: Line) -> bool:
    kind, content = line
    return bool(JOURNAL_SCHEMA.is_valid({"kind": kind, "previous": HASH, "hash": HASH, **content}))


@pytest.mark.parametrize("kind", OF_EACH_KIND)
def test_a_line_of_another_form_is_refused(tmp_path: Path, kind: str) -> None:
    """Whatever the schema does not allow, the reader does not take."""
    *before, line = OF_EACH_KIND[kind]
    assert is_of_the_schema(line)
    refused = 0
    for name, variant in variants(line):
        path = counters_journal(tmp_path, *before, variant)
        try:
            read_journal(path)
        except UntrustedInput as error:
            refused += 1
            assert "\n" not in error.message, name
            assert f"line {len(before) + 2}" in error.message, name
        else:
            assert is_of_the_schema(variant), name
        path.unlink()
    assert refused > 5 * len(line[1])


WRONG = {
    "a window before its context": [counts(100)],
    "a gap before its context": [gap(1, 2)],
    "an end before its context": [gone()],
    "a context that ends twice": [context(), gone(), gone(4000)],
    "a roll-up before its context": [rollup([1])],
    "a window of a context without a plan": [context(groups=[]), counts(1)],
    "a window of a group that is not there": [context(), counts(1, group=4)],
    "a window with too few counts": [context(), counts(1, counts=["1"])],
    "a window with too many counts": [context(), counts(1, counts=["1", "2", "3"])],
    "a window that ends before it begins": [context(), counts(1, 2000, 1999)],
    "a gap that ends before it begins": [context(), gap(2000, 1999)],
    "a context that is planned twice": [context(), context()],
    "a context that is planned after its windows": [context(), counts(1), context(groups=[])],
    "a group without cycles": [context(groups=[{"role": "base", "metrics": [BF16]}])],
    "a group with cycles twice": [context(groups=[{"role": "base", "metrics": [CYCLES, CYCLES]}])],
    "a cuda-core group without instructions": [context(groups=[{"role": "cuda-core", "metrics": [FFMA, CYCLES]}])],
    "a kind that is none": [context(groups=[{"role": "base", "metrics": [{**BF16, "kind": "x"}, CYCLES]}])],
    "a role that is none": [context(groups=[{"role": "x", "metrics": [BF16, CYCLES]}])],
    "a roll-up with a group twice": [
        context(),
        rollup([1], strata=[{**rollup([1])[1]["strata"][0], "groups": rollup([1])[1]["strata"][0]["groups"] * 2}]),
    ],
    "a roll-up of no windows": [context(), rollup([])],
    "a stratum that ends before it begins": [
        context(),
        rollup([1], strata=[{**rollup([1])[1]["strata"][0], "begin_us": 9000}]),
    ],
    "squares that are too small": [
        context(),
        ("rollup", changed(rollup([9, 9])[1], ("strata", 0, "groups", 0, "squares", 0), put("161"))),
    ],
    "squares that are too large": [
        context(),
        ("rollup", changed(rollup([9, 9])[1], ("strata", 0, "groups", 0, "squares", 0), put("325"))),
    ],
    "a device window that ends before it begins": [device_window(2000, 1999)],
    "a device window whose low is above its high": [("device-window", {**device_window()[1], "low": str(10**13)})],
    "a second header": [("header", HEADER)],
    "a kind of line that is none": [("nonsense", {})],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_lines_that_do_not_fit_each_other_are_refused(
    tmp_path: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_journal(tmp_path / "run")
    counters_journal(tmp_path / "run", *WRONG[wrong])
    code, out, err = run(["merge", str(tmp_path / "run"), "-o", str(tmp_path / "record.json")], capsys)
    assert (code, out, len(err.splitlines())) == (1, "", 1), err
    assert "-counters.journal, line " in err
    assert not (tmp_path / "record.json").exists()


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


# ---------------------------------------------------------------- damage


def rechained(path: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Other lines, with a chain that holds again: what a faulty writer could leave."""
    previous, texts = FIRST_HASH, []
    for line in change([json.loads(text) for text in path.read_bytes().splitlines()]):
        line = {**line, "previous": previous}
        line["hash"] = previous = chained_hash(line)
        texts.append(canonical(line) + b"\n")
    path.write_bytes(b"".join(texts))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_lines_that_a_faulty_writer_left_never_end_in_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    """Left out, doubled, swapped or with a part of another form, in any journal of the run."""
    folder = fresh(tmp_path)
    run_path = run_journal(folder, device_window())
    path = data.draw(
        st.sampled_from([run_path, counters_journal(folder, *data.draw(st.sampled_from([WHOLE, ROLLED_UP])))])
    )

    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        at = data.draw(st.integers(0, len(lines) - 1))
        action = data.draw(st.sampled_from(["drop", "double", "swap", "delete a part", "change a part"]))
        if action == "drop":
            return lines[:at] + lines[at + 1 :]
        if action == "double":
            return lines[: at + 1] + lines[at:]
        if action == "swap":
            return lines[:at] + lines[at + 1 :][:1] + lines[at : at + 1] + lines[at + 2 :]
        where = data.draw(
            st.sampled_from([place for place in places(lines[at]) if place[0] not in ("hash", "previous")])
        )
        how = delete if action == "delete a part" else put(data.draw(st.sampled_from(_BAD)))
        return [*lines[:at], changed(lines[at], where, how), *lines[at + 1 :]]

    rechained(path, change)
    record = folder / "record.json"
    code, out, err = run(["merge", str(folder), "-o", str(record)], capsys)
    if code == 0:
        check_saved(record)
        assert run(["report", str(record)], capsys)[0] == 0
        assert run(["check", str(record)], capsys)[0] in (0, 3, 4, 5)
    else:
        assert (code, out, len(err.splitlines())) == (1, "", 1), err
        assert not record.exists()


def fresh(tmp_path: Path) -> Path:
    """A folder for each of hypothesis's examples, which share a test's own."""
    number = sum(1 for _ in tmp_path.iterdir())
    folder = tmp_path / str(number)
    folder.mkdir()
    return folder


RECORD_SCHEMA = schema_of(schemas.RECORD)


def check_saved(path: Path) -> None:
    content = json.loads(path.read_text())
    RECORD_SCHEMA.validate(content)
    assert load_record(path).to_json() == content


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_changed_byte_gives_a_wrong_total(tmp_path: Path, data: st.DataObject) -> None:
    """Any byte changed, put in or left out: an error, or a torn end and whole windows only."""
    lines = data.draw(st.sampled_from([WHOLE, ROLLED_UP]))
    path = counters_journal(fresh(tmp_path), *lines)
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).map(lambda value: bytes([value])))
    action = data.draw(st.sampled_from(["change", "insert", "delete", "truncate"]))
    damaged = {
        "change": original[:at] + byte + original[at + 1 :],
        "insert": original[:at] + byte + original[at:],
        "delete": original[:at] + original[at + 1 :],
        "truncate": original[:at],
    }[action]
    path.write_bytes(damaged)
    try:
        journal = read_journal(path)
    except UntrustedInput as error:
        assert "\n" not in error.message
        return
    if journal is None or damaged == original:
        return
    sums = [s.groups[0].sums[0] for found in journal.contexts for s in found.tally.strata if 0 in s.groups]
    assert sum(sums) in (0, 100, 300, 600)
    assert journal.end is None or action == "insert"
    assert journal.torn or action == "truncate"


# ---------------------------------------------------------------- records of counters


def measured(folder: Path, flops: int = 100, pid: int = 7, host: str = "h") -> Path:
    run_journal(folder, pid=1000 + pid)
    return counters_journal(folder, context(groups=BASE_ONLY), counts(flops), end(2000), pid=pid, host=host)


def test_a_record_of_counters_is_saved_and_loaded(tmp_path: Path) -> None:
    run_journal(tmp_path, device_window())
    counters_journal(tmp_path, *WHOLE)
    counters_journal(tmp_path, *ROLLED_UP, pid=8)
    record = merge_journals(tmp_path)
    save_record(record, tmp_path / "record.json", overwrite=False)
    check_saved(tmp_path / "record.json")
    assert len(record.estimates) == 6
    assert {row.precision for row in record.precisions} == {"bf16", "tf32", "fp32"}


def test_a_run_that_was_counted_all_the_time_is_exact(tmp_path: Path) -> None:
    measured(tmp_path)
    record = merge_journals(tmp_path)
    assert (record.method, record.interval.low, record.interval.value, record.interval.high) == (
        "counters",
        100,
        100,
        100,
    )
    assert (record.complete, record.reasons) == (True, ())


PARTS = ("flops", "measured", "low", "high")
SUMS: dict[str, list[tuple[Any, ...]]] = {  # each one alone, or together so that they fit each other
    "the value": [("flops",)],
    "the low end": [("low",)],
    "the total": [("flops",), ("low",), ("high",)],
    **{f"an estimate's {name}": [("estimates", 0, name)] for name in (*PARTS[:3], "over_rotation", "over_gaps")},
    "an estimate": [("estimates", 0, name) for name in PARTS],
    **{f"a precision's {name}": [("precisions", 0, name)] for name in (*PARTS[:3], "over_rotation", "over_gaps")},
    "a precision": [("precisions", 0, name) for name in PARTS],
    "a count": [("counts", 0, "flops")],
    "a count and its precision": [("counts", 0, "flops"), ("by_precision", "bf16")],
    "a process": [("processes", 0, "flops")],
    "a sum": [("by_precision", "bf16")],
}


@pytest.mark.parametrize("what", SUMS)
def test_a_record_whose_sums_do_not_hold_is_refused(tmp_path: Path, what: str) -> None:
    """Also where somebody made the digest fit."""
    measured(tmp_path)
    content = merge_journals(tmp_path).to_json()
    for at in SUMS[what]:
        content = changed(content, at, put("101"))
    content["digest"] = digest(content)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UntrustedInput, match="cannot be trusted"):
        load_record(path)


@pytest.mark.parametrize(
    ("at", "bad"),
    [
        (("precisions", 0, "kind"), "nonsense"),
        (("estimates", 0, "kind"), "nonsense"),
        (("precisions", 0, "coverage", "time"), "much"),
        (("precisions", 0, "coverage"), None),
        (("estimates",), None),
        (("precisions",), {}),
        (("cross_checks",), [5]),
        (("cross_checks",), [{"method": "gpm", "device": {}, "low": "0", "flops": "1", "high": None}]),
        (("cross_checks",), [{"method": "gpm", "device": None, "low": None, "flops": "1", "high": None}]),
        (("cross_checks",), [{"method": "gpm", "device": None, "low": "2", "flops": "1", "high": None}]),
        (("reasons",), "text"),
    ],
    ids=str,
)
def test_a_record_of_another_form_is_refused(
    tmp_path: Path, at: tuple[Any, ...], bad: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(tmp_path)
    content = changed(merge_journals(tmp_path).to_json(), at, put(bad))
    content["digest"] = digest(content)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    for command in ("report", "check"):
        code, out, err = run([command, str(path)], capsys)
        assert (code, out, len(err.splitlines())) == (1, "", 1), err


def test_records_of_counters_are_added(tmp_path: Path) -> None:
    parts = []
    for number in (1, 2, 3):
        measured(tmp_path / str(number), 10**number, pid=number)
        parts.append(tmp_path / f"{number}.json")
        save_record(merge_journals(tmp_path / str(number)), parts[-1], overwrite=False)
    whole = tmp_path / "whole.json"
    with pytest.raises(SystemExit) as ended:
        main(["merge", *map(str, parts), "-o", str(whole)])
    assert ended.value.code in (0, None)
    check_saved(whole)
    record = load_record(whole)
    assert (record.method, record.interval.low, record.interval.value, record.interval.high) == (
        "counters",
        *[1110] * 3,
    )
    assert [process.flops for process in record.processes] == [10, 100, 1000]
    assert [(row.precision, row.flops) for row in record.precisions] == [("bf16", 1110)]


def test_the_same_process_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = measured(tmp_path / "run")
    (tmp_path / "run" / "copy-counters.journal").write_bytes(path.read_bytes())
    code, out, err = run(["merge", str(tmp_path / "run"), "-o", str(tmp_path / "record.json")], capsys)
    assert (code, out) == (1, "")
    assert "process 7 on h is in copy-counters.journal and again in" in err
    (tmp_path / "run" / "copy-counters.journal").unlink()
    save_record(merge_journals(tmp_path / "run"), tmp_path / "one.json", overwrite=False)
    code, out, err = run(["merge", *[str(tmp_path / "one.json")] * 2, "-o", str(tmp_path / "record.json")], capsys)
    assert (code, out) == (1, "")
    assert "counts twice" in err


def test_a_process_may_have_an_analytic_journal_too(tmp_path: Path) -> None:
    """Operators' formulas stand beside the counters, and are not added to them."""
    measured(tmp_path)
    writer = Writer(str(tmp_path), identity(7))
    assert writer.write("header", **{**HEADER, **identity(7)})
    assert writer.write("window", **window(90))
    assert writer.write("end", reason="exit", time_us=20)
    writer.close()
    record = merge_journals(tmp_path)
    assert (record.method, record.interval.value) == ("counters", 100)
    assert sorted((process.method, process.flops) for process in record.processes) == [
        ("analytic", 90),
        ("counters", 100),
    ]
    assert [(check["method"], check["flops"]) for check in record.cross_checks] == [("analytic", "90")]
    save_record(record, tmp_path / "record.json", overwrite=False)
    check_saved(tmp_path / "record.json")


def test_an_analytic_journal_beside_counters_that_were_refused(tmp_path: Path) -> None:
    run_journal(tmp_path)
    counters_journal(tmp_path, context(groups=[]), gap(1000, 5000), end())
    writer = Writer(str(tmp_path), identity(7))
    assert writer.write("header", **{**HEADER, **identity(7)})
    assert writer.write("window", **window(90))
    writer.close()
    record = merge_journals(tmp_path)
    assert record.method == "peak-bound"
    save_record(record, tmp_path / "record.json", overwrite=False)
    check_saved(tmp_path / "record.json")


def test_an_operator_on_a_gpu_that_no_counter_saw_opens_the_interval(tmp_path: Path) -> None:
    measured(tmp_path)
    writer = Writer(str(tmp_path), identity(8))
    assert writer.write("header", **{**HEADER, **identity(8)})
    row = {"operator": "aten.mm", "precision": "fp32", "device": "cuda:0", "calls": "1", "flops": "90"}
    assert writer.write("window", **window(90, counts=[row]))
    assert writer.write("end", reason="exit", time_us=20)
    writer.close()
    record = merge_journals(tmp_path)
    assert (record.complete, record.interval.high) == (False, None)
    assert record.reasons == ("process 8 on h ran operators on cuda:0, but its counters were not read",)
