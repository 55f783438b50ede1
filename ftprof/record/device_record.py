"""The record of a run of which only whole devices were watched."""

from __future__ import annotations

from ftprof.record.device_use import device_uses
from ftprof.record.device_window import NOTHING, DeviceTotal
from ftprof.record.interval import Interval
from ftprof.record.journal import Journal
from ftprof.record.parts import cross_checks, process_record, run_device_totals, run_info, run_inputs
from ftprof.record.record import Record
from ftprof.record.timeline import Timeline

NO_DEVICE = "no GPU was seen in use by this run"


def device_record(runs: list[Journal], processes: list[Journal], lost: list[str]) -> Record:
    """What NVML saw of whole devices; operators' formulas beside it."""
    totals = run_device_totals(runs)
    bounds = [total.estimate for total in totals if total.method == "peak-bound"]
    high = sum(bounds, NOTHING).high if bounds else None
    wanted = "gpm" if any(journal.header["method"] == "gpm" for journal in runs) else "peak-bound"
    method, interval = activity(totals, high) if wanted == "gpm" else ("peak-bound", Interval(0, high, high))
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


def _timeline(runs: list[Journal]) -> Timeline:
    timeline = Timeline()
    for window in (window for journal in runs for window in journal.device_windows):
        if window.method == "gpm" and window.estimate.flops:
            timeline.add(window.begin_us, window.end_us, window.estimate.flops)
    return timeline


def activity(totals: list[DeviceTotal], high: int | None) -> tuple[str, Interval]:
    """The GPUs' activity where NVML samples it on all of them, else the peak over their time."""
    activity = [total.estimate for total in totals if total.method == "gpm"]
    if activity and all(estimate.flops is not None for estimate in activity):
        estimate = sum(activity, NOTHING)
        return "gpm", Interval(estimate.low, estimate.flops, estimate.high)
    return "peak-bound", Interval(0, high, high)
