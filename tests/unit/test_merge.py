"""One record of journals or records: sums, reasons, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from report_records import HOUR_US, analytic, gpm, run_info
from test_counters_journal import device_window
from test_counters_journal import run_journal as watched_run
from test_journal import HEADER, window

from ftprof.errors import UntrustedInput
from ftprof.measure.analytic.hook import Journal as Writer
from ftprof.policy.claims import Claims
from ftprof.policy.inputs import PolicyInputs
from ftprof.record.interval import Interval, unbounded
from ftprof.record.launch import Launch
from ftprof.record.merge import merge_journals, merge_records
from ftprof.record.record import Record

INPUTS = {"pretrain_flops_low": "7", "pretrain_flops_high": "7"}


def journal(
    folder: Path,
    pid: int,
    *windows: dict[str, Any],
    end: bool = True,
    name: str = "",
    journals: Sequence[str] = (),
    **header: Any,
) -> Path:
    identity = {"host": "h", "boot": "b", "pid": pid, "start_ticks": 3}
    folder.mkdir(exist_ok=True)
    writer = Writer(str(folder), identity)
    writer.write("header", **{**HEADER, **identity, **header})
    for content in windows:
        writer.write("window", **content)
    if end:
        extra = {"exit_code": 0, "journals": list(journals)} if header.get("role") == "run" else {}
        writer.write("end", reason="exit", time_us=50, **extra)
    writer.close()
    return Path(writer.path).rename(folder / name) if name else Path(writer.path)


def run_journal(
    folder: Path, end: bool = True, pid: int = 1, inputs: dict[str, Any] = INPUTS, journals: Sequence[str] = ()
) -> Path:
    software = {"ftprof": "0.1.0"}
    whole = {"role": "run", "command": ["x"], "policy_inputs": inputs, "software": software}
    return journal(folder, pid, end=end, journals=journals, **whole)


def test_processes_are_added_exactly(tmp_path: Path) -> None:
    run_journal(tmp_path)
    journal(tmp_path, 2, window(2**64), window(1))
    journal(tmp_path, 3, window(5))
    merged = merge_journals(tmp_path)
    assert merged.interval.low == merged.interval.value == merged.interval.high == 2**64 + 6
    assert merged.complete
    assert merged.reasons == ()
    assert [process.flops for process in merged.processes] == [2**64 + 1, 5]
    assert merged.policy_inputs == INPUTS


def test_a_journal_that_was_there_at_the_run_s_end_is_missed(tmp_path: Path) -> None:
    paths = [journal(tmp_path, pid, window(5)) for pid in range(2, 8)]
    run_journal(tmp_path, journals=[path.name for path in paths])
    assert merge_journals(tmp_path).complete
    paths[1].unlink()
    merged = merge_journals(tmp_path)
    assert (merged.complete, merged.interval.low, merged.interval.high) == (False, 25, None)
    assert merged.reasons == (
        f"{paths[1].name}: gone from the run directory since the run ended; what it counted is missing",
    )
    for path in (path for path in paths if path.exists()):
        path.unlink()
    merged = merge_journals(tmp_path)
    assert (merged.complete, merged.interval.high) == (False, None)
    assert " and 2 more: gone from the run directory" in merged.reasons[0]


def test_the_journal_of_a_run_twice_is_refused(tmp_path: Path) -> None:
    path = run_journal(tmp_path)
    (tmp_path / "again.journal").write_bytes(path.read_bytes())
    with pytest.raises(UntrustedInput, match=r"process 1 on h is in .*again in"):
        merge_journals(tmp_path)


@pytest.mark.parametrize("rest", [b'{"kind":"win', bytes(100)])
def test_a_torn_line_of_the_run_s_own_journal_is_noted(tmp_path: Path, rest: bytes) -> None:
    path = run_journal(tmp_path)
    journal(tmp_path, 2, window(5))
    path.write_bytes(path.read_bytes() + rest)
    merged = merge_journals(tmp_path)
    assert (merged.complete, merged.interval.high) == (False, None)
    assert merged.reasons == ("the last line of the journal of the ftprof on h is torn and was left out",)


@pytest.mark.parametrize("missing", ["end", "run end", "run", "first line", "torn"])
def test_what_is_missing_opens_the_interval_and_is_named(tmp_path: Path, missing: str) -> None:
    if missing != "run":
        run_journal(tmp_path, end=missing != "run end")
    path = journal(tmp_path, 2, window(5), end=missing != "end")
    if missing == "torn":
        path.write_bytes(path.read_bytes() + b'{"half')
    if missing == "first line":
        (tmp_path / "killed.journal").write_bytes(b'{"ki')
    merged = merge_journals(tmp_path)
    assert (merged.complete, merged.interval.high, merged.interval.low) == (False, None, 5)
    assert len(merged.reasons) == 1


def test_a_problem_is_a_reason(tmp_path: Path) -> None:
    run_journal(tmp_path)
    identity = {"host": "h", "boot": "b", "pid": 4, "start_ticks": 3}
    writer = Writer(str(tmp_path), identity)
    writer.write("header", **{**HEADER, **identity})
    writer.write("problem", what="could not start", time_us=6)
    writer.write("end", reason="exit", time_us=7)
    merged = merge_journals(tmp_path)
    assert merged.reasons[0] == "process 4 on h: could not start"
    assert not merged.complete


def test_unbounded_work_opens_the_interval_of_a_complete_run(tmp_path: Path) -> None:
    run_journal(tmp_path)
    unbounded = [{"kind": "triton", "name": "kernel", "family": "unknown", "calls": "3"}]
    journal(tmp_path, 2, window(5, uncounted=unbounded))
    merged = merge_journals(tmp_path)
    assert (merged.complete, merged.interval.high) == (True, None)


def test_the_same_process_twice_is_refused(tmp_path: Path) -> None:
    run_journal(tmp_path)
    original = journal(tmp_path, 2, window(5))
    (tmp_path / "copy.journal").write_bytes(original.read_bytes())
    with pytest.raises(UntrustedInput, match="counts twice"):
        merge_journals(tmp_path)


def test_records_are_added_and_a_process_in_two_of_them_is_refused(tmp_path: Path) -> None:
    parts = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        run_journal(folder, pid=100 + number)
        journal(folder, number, window(10 * number))
        parts.append((str(number), merge_journals(folder)))
    both = merge_records(parts)
    assert (both.interval.value, len(both.processes), len(both.runs)) == (30, 2, 2)
    with pytest.raises(UntrustedInput, match="process 1 on h is in 1 and again in 3"):
        merge_records([*parts, ("3", parts[0][1])])


def _of(folder: Path, pid: int, *windows: dict[str, Any]) -> Record:
    run_journal(folder, pid=100 + pid)
    if windows:
        journal(folder, pid, *windows)
    return merge_journals(folder)


def test_records_of_different_methods_are_not_added(tmp_path: Path) -> None:
    analytic = _of(tmp_path / "analytic", 1, window(5))
    bound = replace(analytic, method="peak-bound", interval=Interval(0, 100, 100), counts={}, processes=())
    for parts in ((analytic, bound), (bound, analytic)):
        with pytest.raises(UntrustedInput, match=r"a was .* the method .*, b by .*; such figures are not added"):
            merge_records([("a", parts[0]), ("b", parts[1])])


@pytest.mark.parametrize("method", ["gpm", "peak-bound"])
def test_records_of_devices_are_added_with_their_bounds(tmp_path: Path, method: str) -> None:
    analytic = _of(tmp_path, 1, window(5))
    is_bound = method == "peak-bound"  # whose figure is its upper end
    interval = Interval(0, 100, 100) if is_bound else Interval(1, 10, 100)
    one = replace(analytic, method=method, interval=interval, counts={}, processes=())
    both = merge_records([("a", one), ("b", one)])
    assert (both.method, both.complete) == (method, True)
    assert both.interval == (Interval(0, 200, 200) if is_bound else Interval(2, 20, 200))
    other = replace(one, interval=unbounded(interval, method), complete=False, reasons=("why",))
    both = merge_records([("a", one), ("b", other)])
    assert both.interval == (Interval(0, None, None) if is_bound else Interval(2, 20, None))
    assert (both.complete, both.reasons) == (False, ("b: why",))


def test_one_gpu_watched_by_two_at_once_is_refused() -> None:
    """What it did is the whole GPU's: twice the low end could pass a threshold that nobody reached."""
    one = replace(gpm(), processes=())
    with pytest.raises(UntrustedInput, match=r"^a and b both watched GPU-.* at the same time"):
        merge_records([("a", one), ("b", one)])
    info = one.runs[0]
    assert info.ended_us is not None
    later = replace(info, run="later", began_us=info.ended_us, ended_us=2 * info.ended_us - info.began_us)
    both = merge_records([("a", one), ("b", replace(one, runs=(later,)))])
    assert both.interval.low == 2 * one.interval.low
    unended = replace(one, runs=(replace(info, run="unended", ended_us=None),))  # its devices were in use for so long
    with pytest.raises(UntrustedInput, match="at the same time"):
        merge_records([("a", one), ("b", unended)])
    hours = [(n * 10, n * 10 + 1) for n in range(3)]
    first, between, last = (
        (str(n), replace(one, runs=(replace(info, run=str(n), began_us=begin, ended_us=end),)))
        for n, (begin, end) in enumerate(hours)
    )
    outer = merge_records([first, last])
    assert merge_records([("outer", outer), between]).interval.low == 3 * one.interval.low


def test_a_part_in_which_nothing_was_counted_leaves_the_sum_open(tmp_path: Path) -> None:
    some, nothing = _of(tmp_path / "some", 1, window(5)), _of(tmp_path / "nothing", 2)
    assert nothing.interval.value is None
    both = merge_records([("some", some), ("nothing", nothing)])
    assert (both.interval, both.complete) == (Interval(5, 5, None), False)
    assert both.reasons[0].startswith("nothing: ")


def test_a_part_that_was_watched_and_did_nothing_is_a_zero(tmp_path: Path) -> None:
    some, idle = (
        _of(tmp_path / "some", 1, window(5)),
        _of(tmp_path / "idle", 2, {**window(0), "counts": [], "uncounted": []}),
    )
    assert (idle.interval.value, idle.reasons) == (None, ("torch was imported, but no operator ran",))
    assert merge_records([("some", some), ("idle", idle)]).interval == Interval(5, 5, 5)


def test_an_incomplete_part_makes_the_whole_incomplete(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for folder, pid in ((whole, 1), (torn, 2)):
        folder.mkdir()
        run_journal(folder, pid=100 + pid)
        journal(folder, pid, window(5), end=folder is whole)
    merged = merge_records([("whole", merge_journals(whole)), ("torn", merge_journals(torn))])
    assert (merged.complete, merged.interval.low, merged.interval.high) == (False, 10, None)
    assert merged.reasons[0].startswith("torn: process 2 on h was killed")


def test_parts_of_a_run_that_were_given_different_base_models_are_counted_all_the_same(tmp_path: Path) -> None:
    run_journal(tmp_path)
    run_journal(tmp_path, pid=9, inputs={"pretrain_flops_low": "8"})
    record = merge_journals(tmp_path)
    assert record.policy_inputs == {}
    assert "the run's parts were given different base models or base compute" in record.reasons[-1]


def test_how_the_base_compute_was_given_makes_no_difference(tmp_path: Path) -> None:
    for pid, source in ((8, "given with --pretrain-flops"), (9, "given in PRETRAIN_FLOPS")):
        run_journal(tmp_path, pid=pid, inputs={"pretrain_flops_low": "8", "pretrain_source": source})
    record = merge_journals(tmp_path)
    assert record.policy_inputs["pretrain_flops_low"] == "8"
    assert not [reason for reason in record.reasons if "base" in reason]


def test_a_folder_without_journals_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UntrustedInput, match="no journal"):
        merge_journals(tmp_path)


@pytest.mark.parametrize("method", ["counters", "gpm"])
def test_a_method_that_was_named_and_not_to_be_had_leaves_no_bound(tmp_path: Path, method: str) -> None:
    said = "problem", {"what": f"--method {method}: it is not to be had", "time_us": 600}
    watched_run(tmp_path / "without", device_window(), method=method)
    assert merge_journals(tmp_path / "without").interval.high is not None
    watched_run(tmp_path / "said", said, device_window(), method=method)
    record = merge_journals(tmp_path / "said")
    assert (record.complete, record.interval.high) == (False, None)
    assert any(f"--method {method}" in reason for reason in record.reasons)


def test_operators_from_the_first_phase_on_alone_are_no_whole_run(tmp_path: Path) -> None:
    """A machine with a driver, and a training that used no GPU: hundreds of steps may have come before."""
    run_journal(tmp_path, inputs={})
    journal(tmp_path, 2, window(100), software={**HEADER["software"], "operators": "counted from the first phase on"})
    record = merge_journals(tmp_path)
    assert (record.complete, record.interval.low, record.interval.high) == (False, 100, None)
    assert "from its first phase on only" in record.reasons[0]


def test_declared_generation_is_added_over_trainings_and_taken_once_for_the_parts_of_one(tmp_path: Path) -> None:
    def declaring(name: str, flops: str, launch: Launch | None = None, hour: int = 0) -> tuple[str, Record]:
        inputs = PolicyInputs(claims=Claims(generated_flops=Fraction(flops))).to_json()
        (process,) = analytic().processes
        own = replace(process, identity=replace(process.identity, host=name))
        run = run_info(run=name, launch=launch)
        assert run.ended_us is not None
        run = replace(run, began_us=run.began_us + hour * HOUR_US, ended_us=run.ended_us + hour * HOUR_US)
        return name, analytic(runs=(run,), policy_inputs=inputs, processes=(own,))

    def generated(*records: tuple[str, Record]) -> str:
        return str(merge_records(records).policy_inputs["claims"]["generated_flops"])

    assert generated(declaring("a", "20"), declaring("b", "30")) == "50"
    first, second = (Launch(True, "SLURM", "job 7 step 0", part, 2) for part in (0, 1))
    assert generated(declaring("a", "20", first), declaring("b", "20", second)) == "20"
    assert generated(declaring("a", "20", first), declaring("b", "20", second), declaring("c", "5")) == "25"
    # An address is no name of a start: the next training has it again.
    here = Launch(False, "torch", "127.0.0.1:29500", 0, 1)
    assert generated(declaring("a", "20", here), declaring("b", "20", here, hour=1000)) == "40"
