"""The record of a run that counters counted: sums, the bound over lost time, and why it is incomplete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_counters_journal import (
    BASE_ONLY,
    BF16,
    CYCLES,
    DEVICE,
    FFMA,
    PATCHED,
    Line,
    check_saved,
    context,
    counters_journal,
    counts,
    device_window,
    end,
    fresh,
    gap,
    measured,
    run_journal,
    uncounted,
)

from ftprof.record.merge import merge_journals
from ftprof.record.record import Record, save_record

PEAK = 132 * 1_980_000_000 * (16384 + 512)  # of the device, operations a second
BF16_PEAK = 132 * 1_980_000_000 * 8192  # sparse
OTHER = {**DEVICE, "device": "cuda:1", "uuid": "GPU-2"}
UNKNOWN = {**DEVICE, "capability": "42.0", "uuid": "GPU-3"}


def over(peak: int, time_us: int) -> int:
    return -(-peak * time_us // 1_000_000)


def one(flops: int = 100, *more: Line, **changes: Any) -> list[Line]:
    """A context of bf16 alone, counted from 1 to 2 ms."""
    return [context(groups=BASE_ONLY, **changes), counts(flops), *more]


def merged(folder: Path, now_us: int | None = None) -> Record:
    """The record, after a look at whether it can be saved and read again."""
    record = merge_journals(folder, now_us)
    save_record(record, folder / "record.json", overwrite=True)
    check_saved(folder / "record.json")
    return record


def figures(record: Record) -> tuple[int, int | None, int | None]:
    return record.interval.low, record.interval.value, record.interval.high


# ---------------------------------------------------------------- processes that were killed


def test_the_time_after_a_killed_process_s_last_window_is_bounded_by_the_peak(tmp_path: Path) -> None:
    """The command ended at 6 ms. Nothing is extrapolated to that time: nobody knows that it was alive."""
    run_journal(tmp_path)
    counters_journal(tmp_path, *one())
    record = merged(tmp_path)
    assert figures(record) == (100, 100, 100 + over(PEAK, 4000))
    assert (record.complete, record.method) == (False, "counters")
    assert record.reasons == (
        "process 7 on h was killed or is still running: the 4 ms after its last window are not counted, and bounded by "
        "the peak",
    )
    (row,) = record.precisions
    assert (row.flops, row.low, row.high) == (100, 100, 100 + over(BF16_PEAK, 4000))
    assert [(e.low, e.high) for e in record.estimates] == [(100, 100 + over(BF16_PEAK, 4000))]


def test_a_gap_before_the_kill_is_no_window(tmp_path: Path) -> None:
    run_journal(tmp_path)
    counters_journal(tmp_path, *one(100, gap(2000, 3000)))
    assert "the 3 ms after its last window" in merged(tmp_path).reasons[-1]


def test_where_ftprof_was_killed_too_the_time_is_bounded_by_that_of_the_merge(tmp_path: Path) -> None:
    run_journal(tmp_path, ended=False)
    counters_journal(tmp_path, *one())
    record = merged(tmp_path, now_us=9000)
    assert figures(record) == (100, 100, 100 + over(PEAK, 7000))
    assert record.reasons[0] == "the ftprof that wrapped the run on h was killed or is still running"
    assert "the 7 ms after its last window" in record.reasons[1]
    assert merged(tmp_path, now_us=10).interval.high == 100  # a clock that was set back
    assert (merge_journals(tmp_path).interval.high or 0) > 10**24  # by default it is the time of the merge


def test_where_ftprof_alone_was_killed_nothing_is_lost(tmp_path: Path) -> None:
    run_journal(tmp_path, ended=False)
    counters_journal(tmp_path, *one(), end(2000))
    record = merged(tmp_path)
    assert (figures(record), record.complete) == ((100, 100, 100), False)


def test_a_command_that_died_of_a_signal_is_bounded(tmp_path: Path) -> None:
    death = "problem", {"what": "the command died of signal 9", "time_us": 5000}
    run_journal(tmp_path, death)
    counters_journal(tmp_path, *one())
    record = merged(tmp_path)
    assert record.interval.high == 100 + over(PEAK, 4000)
    assert record.reasons[0] == "the command died of signal 9 on h"


def test_a_torn_line_is_a_reason(tmp_path: Path) -> None:
    run_journal(tmp_path)
    path = counters_journal(tmp_path, *one())
    path.write_bytes(path.read_bytes() + b'{"half')
    record = merged(tmp_path)
    assert record.reasons[-1] == "process 7 on h: the last line of its journal is torn and was left out"
    assert record.interval.high == 100 + over(PEAK, 4000)


def test_each_moment_of_a_device_is_bounded_once(tmp_path: Path) -> None:
    """Two processes on one GPU and one on another, all killed."""
    run_journal(tmp_path)
    counters_journal(tmp_path, *one(), pid=7)
    counters_journal(tmp_path, *one(), pid=8)
    counters_journal(tmp_path, *one(device=OTHER), pid=9)
    record = merged(tmp_path)
    assert record.interval.high == 300 + 2 * over(PEAK, 4000)
    assert len(record.reasons) == 3


def test_an_unknown_chip_is_bounded_by_nothing(tmp_path: Path) -> None:
    run_journal(tmp_path)
    counters_journal(tmp_path, *one(device=UNKNOWN))
    record = merged(tmp_path)
    assert (figures(record), record.precisions[0].high) == ((100, 100, None), None)


def test_an_unknown_chip_that_was_counted_to_the_end_needs_no_bound(tmp_path: Path) -> None:
    run_journal(tmp_path)
    counters_journal(tmp_path, *one(device=UNKNOWN), end(2000))
    assert figures(merged(tmp_path)) == (100, 100, 100)


# ---------------------------------------------------------------- contexts that came and went


def test_a_context_that_is_gone_is_not_extrapolated_to_its_process_s_end(tmp_path: Path) -> None:
    run_journal(tmp_path, time_us=1)
    counters_journal(tmp_path, *one(), end(902_000))
    record = merged(tmp_path)
    assert figures(record) == (100, 100, 100 + over(PEAK, 900_000))
    assert record.complete
    assert record.reasons == (
        "cuda:0 of process 7 on h was not counted in the process's last 900 ms: its context was gone by then, or the "
        "peak bounds it",
    )


def test_a_context_that_nothing_was_counted_on_is_bounded_once_for_each_device(tmp_path: Path) -> None:
    run_journal(tmp_path)
    refused = [context(groups=[]), gap(1000, 5000), end()]
    counters_journal(tmp_path, *one(device=OTHER), end(2000), pid=6)
    counters_journal(tmp_path, *refused, pid=7)
    counters_journal(tmp_path, *refused, pid=8)
    record = merged(tmp_path)
    assert figures(record) == (100, 100, 100 + over(PEAK, 4000))
    # Which operations they were is not known, so each precision may have been all of them.
    assert record.precisions[0].high == 100 + over(PEAK, 4000)
    assert record.reasons == (
        "only administrators may read the counters here: 8 ms not counted on cuda:0 of 2 processes "
        "(cuptiRangeProfilerStart: error 35, CUPTI_ERROR_INSUFFICIENT_PRIVILEGES); let everybody read them with the "
        "module option NVreg_RestrictProfilingToAdminUsers=0 (https://developer.nvidia.com/ERR_NVGPUCTRPERM), or run "
        "as root; a container needs --cap-add=SYS_ADMIN, or with driver 565 and later PERFMON",
    )


def test_where_nothing_was_counted_all_the_time_is_told_and_not_the_gap_s_alone(tmp_path: Path) -> None:
    run_journal(tmp_path)
    counters_journal(tmp_path, context(groups=[]), gap(1000, 1000), end())
    assert "read the counters here: 4 ms not counted on" in merged(tmp_path).reasons[0]


def test_a_run_of_which_nothing_was_counted_is_a_bound(tmp_path: Path) -> None:
    run_journal(tmp_path)
    counters_journal(tmp_path, context(), gap(1000, 5000), end())
    record = merged(tmp_path)
    assert (record.method, figures(record)) == ("peak-bound", (0, over(PEAK, 4000), over(PEAK, 4000)))
    assert (record.complete, record.precisions, record.counts) == (False, (), {})


def test_a_process_that_ended_before_its_counters_were_ready(tmp_path: Path) -> None:
    run_journal(tmp_path)
    counters_journal(tmp_path, context(groups=[]), end(2500))
    record = merged(tmp_path)
    assert figures(record) == (0, over(PEAK, 1500), over(PEAK, 1500))
    assert record.reasons == (
        "the counters were not ready before the process ended: 2 ms not counted on cuda:0 of process 7 on h",
    )


def test_a_gap_is_bounded_by_the_device_s_peak_and_not_by_each_metric_s(tmp_path: Path) -> None:
    run_journal(tmp_path)
    sources = ("bf16_dst_fp32", "fp16", "fp8")
    metrics = [{**BF16, "name": f"sm__ops_path_tensor_src_{name}.sum", "precision": name} for name in sources]
    groups = [{"role": "base", "metrics": [*metrics, CYCLES]}]
    lines = [context(groups=groups), counts(0, counts=["100", "100", "100", "2000"]), gap(2000, 5000), end()]
    counters_journal(tmp_path, *lines)
    record = merged(tmp_path)
    assert record.interval.high == over(PEAK, 4000)
    assert sum(row.high or 0 for row in record.precisions) > over(PEAK, 4000)


def test_counts_just_above_the_published_peak_are_not_capped_by_it(tmp_path: Path) -> None:
    """A clock may be boosted a little above what the driver calls its highest."""
    run_journal(tmp_path)
    much = over(PEAK, 4000) * 104 // 100
    counters_journal(tmp_path, context(), counts(much), gap(2000, 5000), end(5000))
    record = merged(tmp_path)
    assert record.interval.low >= much
    assert (record.interval.high or 0) > (record.interval.value or 0)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_rate_that_is_impossible_is_refused(tmp_path: Path, parts: int) -> None:
    """Of one process, or of several on the same GPU together. What other methods say stays."""
    much = over(PEAK, 4000) * 106 // 100
    run_journal(tmp_path, device_window(begin_us=1000, end_us=5000))
    for pid in range(parts):
        counters_journal(tmp_path, context(), counts(-(-much // parts), 1000, 5000), end(5000), pid=10 + pid)
    record = merged(tmp_path)
    assert (figures(record), record.complete, record.method) == ((0, None, None), False, "counters")
    assert "such a rate is impossible, and the figures of counters are refused" in record.reasons[0]
    assert [row["method"] for row in record.cross_checks] == ["peak-bound"]
    assert record.timeline.steps == {}
    assert record.processes[0].flops == 0


def test_a_rate_that_is_impossible_in_some_windows_is_refused_in_a_long_run_too(tmp_path: Path) -> None:
    """Which on the average of its time would pass."""
    run_journal(tmp_path)
    second, hour = 1_000_000, 3_600_000_000
    quiet = counts(1000, 2 * second, hour, stratum=1)
    for pid, share, refused in ((10, 100, False), (11, 110, True)):
        burst = counts(over(PEAK, second) * share // 100, 1000, 1000 + second)
        counters_journal(tmp_path, context(), burst, quiet, end(hour), pid=pid)
        record = merged(tmp_path)
        assert (record.interval.value is None) == refused
    assert "windows of 1020 ms" in record.reasons[0]
    assert "such a rate is impossible, and the figures of counters are refused" in record.reasons[0]


def test_a_metric_that_no_pass_counts_is_bounded_and_named(tmp_path: Path) -> None:
    run_journal(tmp_path)
    counters_journal(tmp_path, *one(unsupported=["sm__ops_path_tensor_src_fp4_dst_fp32"]), end(2000))
    record = merged(tmp_path)
    assert (figures(record), record.complete) == ((100, 100, over(PEAK, 1000)), False)
    assert record.reasons == (
        "no single pass of this chip counts sm__ops_path_tensor_src_fp4_dst_fp32, which is bounded by the peak: 1 ms "
        "not counted on cuda:0 of process 7 on h",
    )


@pytest.mark.parametrize(
    "name",
    [
        "sm__ops_path_tensor_src_int8",
        "sm__ops_path_tensor_src_fp8_sparsity_on",
        "smsp__sass_thread_inst_executed.sum",
        "smsp__thread_inst_executed.sum",
        "sm__cycles_active.sum",
    ],
)
def test_a_metric_that_is_not_in_the_total_may_be_missing(tmp_path: Path, name: str) -> None:
    run_journal(tmp_path)
    counters_journal(tmp_path, *one(unsupported=[name]), end(2000))
    assert merged(tmp_path).complete


# ---------------------------------------------------------------- what nothing bounds


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("process", "process 7 on h: the counters' watcher gave up"),
        ("unseen", "process 7 on h: cuda:0: a context of its own"),
        ("run", "ftprof on h: process 9 outlived the command: what it did then is not counted"),
        ("no run", "the journal of the ftprof that wrapped the run is missing"),
        ("failures", "process 5: the counters meter cannot write its journal: no space left (errno 28)"),
        ("no first line", "h-b-9-9-counters.journal: killed before its first line was written"),
        ("no context", "process 9 on h was killed or is still running, before it had said on which GPU it counts"),
    ],
)
def test_what_nothing_bounds_opens_the_interval(tmp_path: Path, where: str, reason: str) -> None:
    problem = ("problem", {"what": reason.partition(": ")[2], "time_us": 1})
    if where != "no run":
        run_journal(tmp_path, *([problem] if where == "run" else []))
    more = {"process": [problem], "unseen": [uncounted()]}.get(where, [])
    counters_journal(tmp_path, *one(100, *more), end(2000))
    if where == "failures":
        (tmp_path / "failures.txt").write_text(reason + "\n")
    if where == "no first line":
        (tmp_path / "h-b-9-9-counters.journal").write_text('{"ki')
    if where == "no context":
        counters_journal(tmp_path, pid=9)
    record = merged(tmp_path)
    assert (figures(record), record.complete) == ((100, 100, None), False)
    assert record.reasons == (reason,)


def test_a_gpu_that_nvml_saw_in_use_and_no_context_was_counted_on(tmp_path: Path) -> None:
    line = device_window(1000, 4000, high=777)[1]
    run_journal(tmp_path, ("device-window", {**line, "device": {**line["device"], "uuid": "GPU-other"}}))
    counters_journal(tmp_path, *one(), end(2000))
    record = merged(tmp_path)
    assert (figures(record), record.complete) == ((100, 100, 877), False)
    assert record.reasons[0].startswith("NVIDIA H200 was used, but no CUDA context on it was counted")


@pytest.mark.parametrize("seen", ["GPU-7", "MIG-7", "MIG-8"])
def test_a_context_on_an_instance_is_one_of_the_divided_gpu(tmp_path: Path, seen: str) -> None:
    """The driver tells the instance's UUID, with either prefix; NVML the GPU's, and what its instances are."""
    line = device_window(1000, 4000, high=777)[1]
    device = {**line["device"], "gpu_instance": 1, "instances": ["MIG-7", "MIG-9"]}
    run_journal(tmp_path, ("device-window", {**line, "device": device}))
    counters_journal(tmp_path, *one(device={**DEVICE, "uuid": seen}), end(2000))
    record = merged(tmp_path)
    known = seen != "MIG-8"
    assert (figures(record), record.complete) == ((100, 100, 100 if known else 877), known)


# ---------------------------------------------------------------- nothing executed


def test_a_command_that_used_no_gpu(tmp_path: Path) -> None:
    run_journal(tmp_path)
    record = merged(tmp_path)
    assert (record.method, figures(record), record.complete) == ("counters", (0, None, None), True)
    assert record.reasons == ("no GPU was seen in use by this run",)


@pytest.mark.parametrize("line", [("problem", {"what": "the watcher gave up", "time_us": 1}), uncounted("no", "")])
def test_a_watcher_that_saw_no_context_and_says_why(tmp_path: Path, line: Line) -> None:
    """Never the word that no GPU was used, and never the analytic method's words."""
    run_journal(tmp_path)
    counters_journal(tmp_path, line, end())
    record = merged(tmp_path)
    assert (record.method, figures(record), record.complete) == ("counters", (0, None, None), False)
    assert record.reasons == (f"process 7 on h: {line[1]['what']}",)


def test_a_gpu_that_executed_nothing(tmp_path: Path) -> None:
    run_journal(tmp_path)
    counters_journal(tmp_path, *one(0), end(2000))
    record = merged(tmp_path)
    assert (record.method, figures(record), record.complete) == ("counters", (0, 0, 0), True)


# ---------------------------------------------------------------- sums


def test_processes_with_the_same_number_in_two_boots_are_two(tmp_path: Path) -> None:
    measured(tmp_path, 100)
    path = counters_journal(tmp_path / "b", *one(20), end(2000), boot="c" * 36)
    path.rename(tmp_path / "other-counters.journal")
    record = merged(tmp_path)
    assert figures(record) == (120, 120, 120)
    assert sorted(process.flops for process in record.processes) == [20, 100]


def test_weights_are_applied_once(tmp_path: Path) -> None:
    run_journal(tmp_path)
    groups = [
        {"role": "base", "metrics": [BF16, CYCLES]},
        {"role": "cuda-core", "metrics": [FFMA, PATCHED]},
    ]
    patched = counts(0, 2000, 2100, group=1, counts=["5", "50"])
    counters_journal(tmp_path, context(groups=groups), counts(7), patched, end(2100))
    record = merged(tmp_path)
    assert {row.precision: row.measured for row in record.precisions} == {"bf16": 7, "fp32": 10}
    assert record.interval.low == 17


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_windows_of_any_processes_add_up(tmp_path: Path, data: st.DataObject) -> None:
    folder = fresh(tmp_path)
    run_journal(folder)
    # Together they stay under the GPU's peak.
    windows = st.lists(st.tuples(st.integers(0, PEAK // 10**7), st.integers(1, 500), st.integers(0, 50)), max_size=8)
    total = 0
    for pid in range(data.draw(st.integers(1, 4))):
        lines, at_us = list[Line]([context(groups=BASE_ONLY)]), 1000
        drawn: Sequence[tuple[int, int, int]] = data.draw(windows)
        for flops, length_us, pause_us in drawn:
            lines.append(counts(flops, at_us, at_us + length_us))
            at_us += length_us + pause_us
            total += flops
        if data.draw(st.booleans()):
            lines.append(gap(at_us, at_us + data.draw(st.integers(0, 1000))))
        if data.draw(st.booleans()):
            lines.append(end(at_us + data.draw(st.integers(0, 3000))))
        counters_journal(folder, *lines, pid=10 + pid)
    record = merged(folder)
    if record.method == "peak-bound":
        assert total == 0
        return
    assert sum(row.measured for row in record.precisions) == total
    assert total <= record.interval.low <= (record.interval.value or 0) <= (record.interval.high or 0)
    assert sum(process.flops for process in record.processes) == record.interval.value


# ---------------------------------------------------------------- reasons


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            gap(2000, 302_000, 26),
            "another profiler holds the counters, such as DCGM: 300 ms not counted on cuda:0 of process 7 on h "
            "(cuptiRangeProfilerStart: error 26, CUPTI_ERROR); dcgmi profile --pause (and --resume afterwards), or end "
            "the other profiler",
        ),
        (
            gap(2000, 2_002_000, 4, "cuCtxSetCurrent", reason="CUDA_ERROR_DEINITIALIZED"),
            "the driver is shutting down: 2.0 s not counted on cuda:0 of process 7 on h (cuCtxSetCurrent: error 4, "
            "CUDA_ERROR_DEINITIALIZED); nothing to do: the program ended or reset its GPU",
        ),
        (
            gap(2000, 2000, 0, "find CUPTI", reason="no libcupti under /x", remedy="pip install 'ftprof[cupti]'"),
            "no CUPTI was found, on cuda:0 of process 7 on h (find CUPTI: no libcupti under "
            "/x); pip install 'ftprof[cupti]'",
        ),
        (
            gap(2000, 7_200_002_000, 4711, "cuptiNew", reason="CUPTI_ERROR_NEW"),
            "cupti error 4711, which ftprof does not know: 2.0 h not counted on cuda:0 of process 7 on h (cuptiNew: "
            "error 4711, CUPTI_ERROR_NEW); run 'ftprof doctor', and report it if that finds nothing",
        ),
        (
            gap(2000, 4000, 0, "cuptiRangeProfilerStop", reason="not all passes were submitted"),
            "not all passes were submitted: 2 ms not counted on cuda:0 of process 7 on h (cuptiRangeProfilerStop)",
        ),
    ],
)
def test_a_gap_is_told_in_one_sentence(tmp_path: Path, line: Line, reason: str) -> None:
    run_journal(tmp_path)
    counters_journal(tmp_path, *one(100, line), end(line[1]["end_us"]))
    assert merged(tmp_path).reasons == (reason,)


def test_the_same_reason_is_told_once(tmp_path: Path) -> None:
    run_journal(tmp_path)
    gaps = [gap(2000 + 10_000 * n, 3000 + 10_000 * n, 26) for n in range(5)]
    devices = [{**DEVICE, "device": f"cuda:{n}", "uuid": f"GPU-{n}"} for n in range(5)]
    for pid, device in enumerate(devices):
        counters_journal(tmp_path, *one(100, *gaps, device=device), end(50_000), pid=10 + pid)
    reasons = merged(tmp_path).reasons
    assert len(reasons) == 1
    assert "25 ms not counted on cuda:0, cuda:1, cuda:2, ... of 5 processes" in reasons[0]
