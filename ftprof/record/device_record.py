"""The record of a run of which only whole devices were watched."""

from __future__ import annotations

from collections.abc import Sequence

from ftprof.errors import UntrustedInput
from ftprof.record.device_use import added_uses, device_uses
from ftprof.record.device_window import NOTHING, DeviceTotal
from ftprof.record.estimate_rows import bounded_sum, sum_of_known
from ftprof.record.interval import Interval, unbounded
from ftprof.record.journal import Journal
from ftprof.record.parts import cross_checks, merged_inputs, process_record, run_device_totals, run_info, run_inputs
from ftprof.record.reasons import not_watched
from ftprof.record.record import Record
from ftprof.record.run_times import Span, at_once, run_times
from ftprof.record.timeline import Timeline, added

NO_DEVICE = "no GPU was seen in use by this run"


def device_record(
    runs: list[Journal], processes: list[Journal], lost: list[str], machines_missed: bool = False
) -> Record:
    """What NVML saw of whole devices; operators' formulas beside it.

    ``lost`` says why work may be missing, and ``machines_missed`` whether on machines that nobody watched.
    """
    totals = run_device_totals(runs)
    bounds = [total.estimate for total in totals if total.method == "peak-bound"]
    blind = _blind_hosts(runs, processes)
    lost = [*lost, *blind]
    unwatched = machines_missed or bool(blind) or bool(not_watched(runs))
    high = sum(bounds, NOTHING).high if bounds and not unwatched else None
    wanted = "gpm" if any(journal.header["method"] == "gpm" for journal in runs) else "peak-bound"
    method, interval = activity(totals, high) if wanted == "gpm" else ("peak-bound", Interval(0, high, high))
    if method == "gpm":
        lost = [*lost, *not_sampled(totals)]
    if unwatched:
        interval = unbounded(interval, method)
    reasons = lost if lost or interval.value is not None else [NO_DEVICE]
    return Record(
        method=method,
        interval=interval,
        complete=not lost,
        reasons=tuple(reasons),
        runs=tuple(run_info(journal) for journal in runs),
        processes=tuple(process_record(journal, journal.flops) for journal in processes),
        counts={},
        uncounted={},
        policy_inputs=run_inputs(runs)[0],
        cross_checks=tuple(cross_checks(runs, processes)),
        devices=device_uses(totals),
        timeline=_timeline(runs) if method == "gpm" else Timeline(),
    )


def _blind_hosts(runs: list[Journal], processes: list[Journal]) -> list[str]:
    """Processes whose operators ran on a GPU of a machine on which no GPU was watched: one sentence each."""
    watched = {journal.header["host"] for journal in runs if journal.device_windows}
    return [
        f"{journal.who} ran operators on {cell.device}, but no GPU was watched there"
        for journal in processes
        if journal.header["host"] not in watched
        for cell in [cell for cell in journal.counts if cell.device.startswith("cuda")][:1]
    ]


def add_device_records(records: Sequence[tuple[str, Record]]) -> Record:
    """Runs of which one method watched whole devices, added up: the ends of their intervals too.

    Raises ``UntrustedInput`` for two that watched one GPU at the same time: what it did would count twice.
    """
    _refuse_one_gpu_twice_at_once(records)
    intervals = [record.interval for _, record in records]
    method, high = records[0][1].method, bounded_sum([one.high for one in intervals])
    value = high if method == "peak-bound" else sum_of_known([one.value for one in intervals])
    return Record(
        method=method,
        interval=Interval(sum(one.low for one in intervals), value, high),
        complete=all(record.complete for _, record in records),
        reasons=tuple(f"{name}: {reason}" for name, record in records for reason in record.reasons),
        runs=tuple(run for _, record in records for run in record.runs),
        processes=tuple(process for _, record in records for process in record.processes),
        counts={},
        uncounted={},
        policy_inputs=merged_inputs(record for _, record in records),
        cross_checks=tuple(check for _, record in records for check in record.cross_checks),
        devices=added_uses((run_times(record), record.devices) for _, record in records),
        timeline=added(record.timeline for _, record in records),
    )


def _refuse_one_gpu_twice_at_once(records: Sequence[tuple[str, Record]]) -> None:
    seen: dict[tuple[str, int | None], list[tuple[Sequence[Span], str]]] = {}
    for name, record in records:
        times = run_times(record)
        for use in record.devices:
            others = seen.setdefault((use.uuid, use.gpu_instance), [])
            for other_times, other in others:
                if at_once(times, other_times):
                    raise UntrustedInput(
                        f"{other} and {name} both watched {use.uuid} at the same time, and what it did would count "
                        "twice; leave one of them out, or give both runs one --run-dir"
                    )
            others.append((times, name))


def _timeline(runs: list[Journal]) -> Timeline:
    timeline = Timeline()
    for window in (window for journal in runs for window in journal.device_windows):
        if window.method == "gpm" and window.estimate.flops:
            timeline.add(window.begin_us, window.end_us, window.estimate.flops)
    return timeline


def activity(totals: list[DeviceTotal], high: int | None) -> tuple[str, Interval]:
    """The GPUs' activity where NVML samples it, else the peak over their time, which is ``high``.

    Beside the activity of some GPUs the others' peak is in the high end. There is none where nothing bounds the run.
    """
    activity = [total.estimate for total in totals if total.method == "gpm"]
    if activity and all(estimate.flops is not None for estimate in activity):
        estimate = sum(activity, NOTHING)
        most = sum((total.estimate for total in _without_activity(totals)), estimate).high
        return "gpm", Interval(estimate.low, estimate.flops, None if high is None else most)
    return "peak-bound", Interval(0, high, high)


def not_sampled(totals: list[DeviceTotal]) -> list[str]:
    """A sentence for each GPU of which the activity is no figure."""
    return [
        f"NVML samples no activity of {total.device.name} ({total.device.uuid}): only its peak bounds what it did"
        for total in _without_activity(totals)
    ]


def _without_activity(totals: list[DeviceTotal]) -> list[DeviceTotal]:
    sampled = {total.device.key for total in totals if total.method == "gpm"}
    return [total for total in totals if total.method == "peak-bound" and total.device.key not in sampled]
