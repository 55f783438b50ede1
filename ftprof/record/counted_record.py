"""The record of a run whose GPUs' counters were read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ftprof.record.counted import counted
from ftprof.record.device_record import activity, not_sampled
from ftprof.record.device_use import added_uses, device_uses
from ftprof.record.device_window import DeviceTotal
from ftprof.record.estimate_rows import FLOATING, EstimateRow, added_precisions, sum_of_known
from ftprof.record.interval import NOTHING_COUNTED, Interval
from ftprof.record.journal import Cell, Journal
from ftprof.record.parts import cross_checks, merged_inputs, process_record, run_device_totals, run_info, run_inputs
from ftprof.record.reasons import SEE_MORE, killed_commands, runs_not_ended, runs_torn
from ftprof.record.reasons_of_time import contexts_gone, ends_lost, time_lost
from ftprof.record.record import Record
from ftprof.record.run_times import run_times
from ftprof.record.timeline import added

NO_CONTEXT = f"was used, but no CUDA context on it was counted; {SEE_MORE}"


def counted_record(runs: list[Journal], processes: list[Journal], lost: list[str], now_us: int) -> Record:
    """Counters have the first word; what operators' formulas gave stands beside.

    ``lost`` is what nothing bounds. ``now_us`` bounds the time of processes whose end nobody saw.
    """
    meters = [journal for journal in processes if journal.header["method"] == "counters"]
    others = [journal for journal in processes if journal.header["method"] != "counters"]
    unfinished = runs_not_ended(runs)
    end_us = max([journal.last_us for journal in [*runs, *processes]] + [now_us] * bool(unfinished))
    result = counted(meters, end_us)
    uncounted = _uncounted_devices(runs, meters)
    if result.impossible:
        return _refused(runs, processes, [*lost, *result.impossible], now_us if unfinished else None)
    unbounded = lost + _unbounded(meters, others)
    bounded = [
        *killed_commands(runs),
        *unfinished,
        *runs_torn(runs),
        *(f"{one.device.name} {NO_CONTEXT}" for one in uncounted),
    ]
    bounded += time_lost(meters, end_us) + ends_lost(meters, end_us)
    high = None if unbounded else result.high
    for device in uncounted:
        # Nobody knows what it did after NVML's last look.
        known = high is not None and device.estimate.high is not None and not unfinished
        high = high + device.estimate.high if known else None  # type: ignore[operator]
    method, interval = result.total.method, Interval(result.total.low, result.total.value, high)
    if not result.windows:
        method, sampled = activity(run_device_totals(runs), high)
        interval = sampled
        if method == "gpm":
            high = _upper_end(sampled.high, high, bool(unfinished), _is_all_watched(runs, meters))
            interval = Interval(sampled.low, sampled.value, high)
            bounded += not_sampled(run_device_totals(runs))
    flops_of = {journal.path: flops for journal, flops in zip(meters, result.flops_of, strict=True)}
    beside = {journal.identity: (journal, flops_of[journal.path]) for journal in meters} if others else {}
    return Record(
        method=method,
        interval=interval,
        complete=not unbounded and not bounded,
        reasons=tuple(unbounded + bounded + contexts_gone(meters)),
        runs=tuple(run_info(journal) for journal in runs),
        processes=tuple(process_record(journal, flops_of.get(journal.path, journal.flops)) for journal in processes),
        counts=_cells(result.rows),
        uncounted={},
        policy_inputs=run_inputs(runs)[0],
        estimates=result.rows,
        precisions=result.precisions,
        cross_checks=tuple(cross_checks(runs, others, beside)),
        devices=device_uses(run_device_totals(runs)),
        timeline=added(journal.timeline for journal in meters),
        until_us=now_us if unfinished else None,
    )


def _is_all_watched(runs: list[Journal], meters: list[Journal]) -> bool:
    """Whether NVML saw each GPU on which there was a context."""
    watched = [total.device for total in run_device_totals(runs)]
    uuids = {context.device["uuid"] for journal in meters for context in journal.contexts}
    return all(any(device.is_one_of({uuid}) for device in watched) for uuid in uuids)


def _upper_end(sampled: int | None, contexts: int | None, unfinished: bool, watched: bool) -> int | None:
    """The upper end where no counter was read: by NVML's samples, and by the peak of all contexts' time.

    The peak is needed too where NVML did not look to the end, or not at each GPU of theirs.
    """
    if sampled is None or contexts is None:
        return None
    if not watched:
        return sampled + contexts
    return max(sampled, contexts) if unfinished else sampled


def _refused(runs: list[Journal], processes: list[Journal], reasons: list[str], until_us: int | None) -> Record:
    """Nothing is taken from counters that cannot be right; other methods stand beside."""
    others = [journal for journal in processes if journal.header["method"] != "counters"]
    return Record(
        method="counters",
        interval=NOTHING_COUNTED,
        complete=False,
        reasons=tuple(reasons),
        runs=tuple(run_info(journal) for journal in runs),
        processes=tuple(process_record(j, j.flops if j in others else 0) for j in processes),
        counts={},
        uncounted={},
        policy_inputs=run_inputs(runs)[0],
        cross_checks=tuple(cross_checks(runs, others)),
        devices=device_uses(run_device_totals(runs)),
        until_us=until_us,
    )


def _cells(rows: Iterable[EstimateRow]) -> dict[Cell, tuple[int, int]]:
    cells: dict[Cell, tuple[int, int]] = {}
    for row in rows:
        if row.kind in FLOATING and row.flops:
            cell = Cell(row.metric, row.precision, row.device)
            windows, flops = cells.get(cell, (0, 0))
            cells[cell] = (windows + row.windows, flops + row.flops)
    return cells


def _unbounded(meters: list[Journal], others: list[Journal]) -> list[str]:
    reasons = [f"{journal.who}: {what}" for journal in [*meters, *others] for what in journal.problems]
    reasons += [f"{journal.who}: {what}" for journal in meters for what in journal.unseen]
    reasons += [
        f"{journal.who} was killed or is still running, before it had said on which GPU it counts"
        for journal in meters
        if journal.end is None and not journal.contexts
    ]
    return reasons + _blind_processes(meters, others)


def _blind_processes(meters: list[Journal], others: list[Journal]) -> list[str]:
    """Processes whose operators ran on a GPU although none of their contexts was counted."""
    seen = {journal.identity for journal in meters if journal.contexts}
    return [
        f"{journal.who} ran operators on {cell.device}, but its counters were not read"
        for journal in others
        if journal.identity not in seen
        for cell in [cell for cell in journal.counts if cell.device.startswith("cuda")][:1]
    ]


def _uncounted_devices(runs: list[Journal], meters: list[Journal]) -> list[DeviceTotal]:
    """GPUs that the run used, as NVML saw, and on which no context was counted: all that they did is bounded."""
    seen = {context.device["uuid"] for journal in meters for context in journal.contexts}
    bounds = [total for total in run_device_totals(runs) if total.method == "peak-bound"]
    return [total for total in bounds if not total.device.is_one_of(seen)]


def add_counted_records(records: Sequence[tuple[str, Record]]) -> Record:
    """Runs that counters counted, added up: the ends of their intervals too, which errs to the safe side."""
    counts: dict[Cell, tuple[int, int]] = {}
    for _, record in records:
        for cell, (windows, flops) in record.counts.items():
            old = counts.get(cell, (0, 0))
            counts[cell] = (old[0] + windows, old[1] + flops)
    highs = [record.interval.high for _, record in records]
    rows = tuple(row for _, record in records for row in record.estimates)
    return Record(
        method="sampled" if any(record.method == "sampled" for _, record in records) else "counters",
        interval=Interval(
            sum(record.interval.low for _, record in records),
            sum_of_known([record.interval.value for _, record in records]),
            None if None in highs else sum(high for high in highs if high is not None),
        ),
        complete=all(record.complete for _, record in records),
        reasons=tuple(f"{name}: {reason}" for name, record in records for reason in record.reasons),
        runs=tuple(run for _, record in records for run in record.runs),
        processes=tuple(process for _, record in records for process in record.processes),
        counts=counts,
        uncounted={},
        policy_inputs=merged_inputs(record for _, record in records),
        estimates=rows,
        precisions=tuple(added_precisions(row for _, record in records for row in record.precisions)),
        cross_checks=tuple(check for _, record in records for check in record.cross_checks),
        devices=added_uses((run_times(record), record.devices) for _, record in records),
        timeline=added(record.timeline for _, record in records),
    )
