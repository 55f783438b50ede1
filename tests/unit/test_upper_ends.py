"""An upper end stands only where all that may have run is bounded, and the reports say the same of it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from test_counters_journal import (
    BASE_ONLY,
    DEVICE,
    UUID,
    Line,
    context,
    counters_journal,
    counts,
    device_window,
    end,
    gap,
    identity,
    run_journal,
)
from test_journal import HEADER, MM, window

from ftprof.measure.analytic.hook import Journal as Writer
from ftprof.policy.choice import PolicyOptions, judge_record, read_policy_options
from ftprof.record.device_window import Device, DeviceWindow, Estimate
from ftprof.record.interval import Interval
from ftprof.record.merge import NOTHING_TO_DO, merge_journals, merge_records
from ftprof.record.reasons import NOT_COUNTED, NOT_IN_THIS_RUN
from ftprof.record.record import Record

S = 1_000_000
H200 = Device(UUID, None, "NVIDIA H200", "9.0", 132, 1_980_000)
LAUNCH = {
    "shared": True, "launcher": None, "id": None, "part": None, "parts": None, "unit": "rank", "hosts": [],
    "attempt": 0, "job": None, "instance_type": None, "model_package_group": None,
}  # fmt: skip
TRITON = {"kind": "kernel", "name": "triton_kernel", "family": "matmul", "calls": "1000"}


def operators(folder: Path, pid: int, *windows: dict[str, Any], ended: bool = True, **header: Any) -> None:
    """A process's journal of operators."""
    folder.mkdir(exist_ok=True)
    host = header.get("host", "h")
    writer = Writer(str(folder), identity(pid, host))
    assert writer.write("header", **{**HEADER, **identity(pid, host), **header})
    for content in windows:
        assert writer.write("window", **content)
    if ended:
        assert writer.write("end", reason="exit", time_us=100 * S)
    writer.close()


def ran(flops: int, phase: str = "train", device: str = "cuda:0", **changes: Any) -> dict[str, Any]:
    row = {**MM, "precision": "bf16", "device": device, "calls": "1", "flops": str(flops)}
    return {**window(1), "counts": [row if phase == "train" else {**row, "phase": phase}], **changes}


def watched(method: str, end_us: int = 100 * S, **estimate: int) -> Line:
    bound = H200.bound_over(0, end_us) or 0
    one = Estimate(estimate.get("low", 0), estimate.get("flops", bound), estimate.get("high", bound))
    classes = {"tensor": one} if method == "gpm" else {}
    return "device-window", DeviceWindow(method, H200, 0, end_us, one, classes).to_json()


def verdicts(record: Record, **options: str) -> dict[str, str]:
    _, found = judge_record(record, read_policy_options(PolicyOptions(**options), environment={}))
    return {verdict.policy: verdict.verdict for verdict in found}


def basis(record: Record) -> Any:
    judged, _ = judge_record(record, read_policy_options(PolicyOptions(), environment={}))
    assert judged.guidelines is not None
    return judged.guidelines


# ---------------------------------------------------------------- a phase's share of what counters gave


def counted_run(folder: Path, *windows: dict[str, Any]) -> Record:
    """One hundred seconds in which counters gave 10^17, and operators beside them."""
    begin = 10 * S
    run_journal(folder)
    parts = [
        counts(10**16, begin + i * 10 * S, begin + (i + 1) * 10 * S, counts=[str(10**16), "2000"], stratum=i)
        for i in range(10)
    ]
    counters_journal(folder, context(groups=BASE_ONLY, begin_us=begin), *parts, end(begin + 100 * S))
    software = {"python": "3.11", "torch": "2.13"}
    moved = [{**content, "begin_us": begin, "end_us": begin + 100 * S} for content in windows]
    operators(folder, 7, *moved, software=software, time_us=begin)
    return merge_journals(folder)


def test_training_without_a_formula_is_not_deducted_with_the_evaluation_that_has_one(tmp_path: Path) -> None:
    record = counted_run(tmp_path, {**ran(1), "counts": [], "uncounted": [TRITON]}, ran(10**16, "evaluate"))
    assert Fraction(basis(record)["high"]) == record.interval.high
    assert verdicts(record, pretrain_flops="1e17")["ec-2025"] == "within-margin"


def test_what_gpus_counted_is_shared_out_by_what_ran_on_gpus(tmp_path: Path) -> None:
    record = counted_run(tmp_path / "mixed", ran(10**17), ran(10**17, "evaluate", "cpu"))
    assert Fraction(basis(record)["flops"]) == record.interval.value
    both = counted_run(tmp_path / "gpu", ran(3 * 10**16), ran(10**16, "evaluate"))
    assert Fraction(basis(both)["high"]) < (both.interval.high or 0) * Fraction(9, 10)
    alone = counted_run(tmp_path / "cpu", ran(10**17, "evaluate", "cpu"))
    assert Fraction(basis(alone)["high"]) == alone.interval.high


@pytest.mark.parametrize("killed", [False, True])
def test_nobody_knows_what_no_hook_saw_of_a_gpus_activity(tmp_path: Path, killed: bool) -> None:
    """A trainer in C++, or one that was killed, and an evaluation in torch."""
    run_journal(tmp_path, watched("peak-bound"), watched("gpm", low=9 * 10**16, flops=10**17), method="gpm")
    operators(tmp_path, 20, ran(10**16, "evaluate"))
    if killed:
        operators(tmp_path, 21, ended=False)
    record = merge_journals(tmp_path)
    assert record.method == "gpm"
    assert Fraction(basis(record)["high"]) == record.interval.high


# ---------------------------------------------------------------- machines and GPUs that nobody watched


@pytest.mark.parametrize("method", ["gpm", "peak-bound"])
@pytest.mark.parametrize("lost", ["ranks", "unread", "gone"])
def test_a_machine_that_nobody_watched_leaves_no_upper_end(tmp_path: Path, method: str, lost: str) -> None:
    lines = [device_window(), *([device_window(method="gpm", high=10**11)] if method == "gpm" else [])]
    path = run_journal(tmp_path, *lines, method=method, launch=LAUNCH, ended=lost != "gone")
    if lost == "ranks":
        operators(tmp_path, 20, ran(5, device="cpu"), rank={"rank": 0, "world_size": 2})
    elif lost == "unread":
        (tmp_path / "other-run.journal").write_bytes(b'{"torn')
    else:
        path.unlink()
        writer = Writer(str(tmp_path), identity(1))
        base = {**HEADER, "role": "run", "command": ["x"], "policy_inputs": {}, "software": {"ftprof": "0.1.0"}}
        assert writer.write("header", **{**base, **identity(1), "method": method, "launch": LAUNCH})
        for kind, content in lines:
            assert writer.write(kind, **content)
        assert writer.write("end", reason="x", time_us=6000, exit_code=0, journals=["other-run.journal"])
        writer.close()
    record = merge_journals(tmp_path)
    assert (record.method, record.interval.high, record.complete) == (method, None, False)
    assert record.interval.value == (10**11 if method == "gpm" else None)
    assert set(verdicts(record).values()) == {"undetermined"}


def test_formulas_of_a_machine_whose_gpus_nobody_watched_are_named(tmp_path: Path) -> None:
    lines = [watched("peak-bound"), watched("gpm", low=9, flops=10, high=11)]
    run_journal(tmp_path, *lines, method="gpm", launch=LAUNCH)
    run_journal(tmp_path, pid=2, method="analytic", launch=LAUNCH)
    operators(tmp_path, 20, ran(1, device="cpu"), ran(10**23), host="other")
    record = merge_journals(tmp_path)
    assert (record.method, record.interval.high, record.complete) == ("gpm", None, False)
    assert any("ran operators on cuda:0, but no GPU was watched there" in reason for reason in record.reasons)
    assert set(verdicts(record).values()) == {"undetermined"}


def test_a_refused_context_on_a_gpu_that_nobody_watched_is_bounded_by_its_peak(tmp_path: Path) -> None:
    run_journal(tmp_path, watched("peak-bound"), watched("gpm", flops=10**15), time_us=0)
    counters_journal(tmp_path, context(begin_us=0), gap(0, 100 * S), end(100 * S))
    other = {**DEVICE, "uuid": UUID[:-1] + "2"}
    counters_journal(tmp_path, context(begin_us=0, device=other), gap(0, 100 * S), end(100 * S), pid=8, host="h2")
    record = merge_journals(tmp_path)
    assert record.method == "gpm"
    assert record.interval.high is not None
    assert record.interval.high >= 2 * (H200.bound_over(0, 100 * S) or 0)


def test_a_whole_gpus_activity_may_be_more_than_one_short_context_can(tmp_path: Path) -> None:
    """ftprof was killed; another process kept the GPU busy."""
    busy = 9 * 10**14
    run_journal(tmp_path, watched("peak-bound", S), watched("gpm", S, flops=busy), time_us=0, ended=False)
    counters_journal(tmp_path, context(begin_us=900_000), gap(900_000, 950_000), end(950_000))
    record = merge_journals(tmp_path, now_us=S)
    assert (record.method, record.interval.value) == ("gpm", busy)
    assert record.interval.high == H200.bound_over(0, S)


# ---------------------------------------------------------------- the same figure everywhere


def test_zeros_add_up_to_zero_and_unknowns_to_none(tmp_path: Path) -> None:
    counters_journal(tmp_path, context(groups=BASE_ONLY), counts(0), end(2000))
    run_journal(tmp_path)
    zero = replace(merge_journals(tmp_path), interval=Interval(0, 0, 0), complete=True, reasons=(), processes=())
    assert merge_records([("a", zero), ("b", zero)]).interval == Interval(0, 0, 0)
    unknown = replace(zero, interval=Interval(0, None, None))
    assert merge_records([("a", unknown), ("b", unknown)]).interval == Interval(0, None, None)


def test_operators_on_empty_tensors_had_nothing_to_do(tmp_path: Path) -> None:
    run_journal(tmp_path, method="analytic")
    operators(tmp_path, 20, ran(0))
    record = merge_journals(tmp_path)
    assert record.interval == Interval(0, None, None)
    assert record.reasons == (NOTHING_TO_DO,)


def test_a_process_that_no_hook_saw_is_not_said_to_be_none(tmp_path: Path) -> None:
    run_journal(tmp_path, method="analytic")
    (tmp_path / "failures.txt").write_text(f"process 7 (python -I x.py) {NOT_COUNTED}: Python ran in isolated mode\n")
    record = merge_journals(tmp_path)
    assert record.reasons == (f"process 7 (python -I x.py) {NOT_COUNTED}: Python ran in isolated mode",)
    assert record.interval == Interval(0, None, None)


def test_a_run_inside_another_one_is_all_that_its_outer_record_says(tmp_path: Path) -> None:
    run_journal(tmp_path, method="analytic")
    said = f"it wrapped a run of its own (record inner.json), {NOT_IN_THIS_RUN}"
    (tmp_path / "failures.txt").write_text(f"process 7 on h: {said}\n")
    record = merge_journals(tmp_path)
    assert record.reasons == (f"process 7 on h: {said}",)
    assert record.interval == Interval(0, None, None)
