"""Makes one record of a run's journals, or of several records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftprof.errors import UntrustedInput
from ftprof.record.counted import FLOATING, EstimateRow, added_precisions, counted
from ftprof.record.device_window import NOTHING, DeviceTotal, device_totals
from ftprof.record.interval import Interval
from ftprof.record.journal import JOURNALS, Cell, Journal, ProcessIdentity, UncountedWork, read_journal
from ftprof.record.record import COUNTER_METHODS, ProcessRecord, Record, RunInfo

NO_PROCESS = "no Python process that imports torch was seen"
NO_FORMULA = "what ran has no formula (see 'not counted')"
SEE_MORE = "--subscribe sees contexts that a program makes itself"
NO_DEVICE = "no GPU was seen in use by this run"
NO_WORK = "torch was imported, but no operator ran"


def merge_journals(folder: Path) -> Record:
    """The record of a run directory.

    Raises ``UntrustedInput`` where the folder holds no journal, where one does not verify, or where two journals
    are of the same process.
    """
    try:
        paths = sorted(folder.glob(JOURNALS))
    except OSError as error:
        raise UntrustedInput(f"run directory {folder} cannot be read: {error.strerror}") from error
    if not paths:
        raise UntrustedInput(f"run directory {folder} holds no journal; is it the --run-dir of a run?")
    journals = [(path, read_journal(path)) for path in paths]
    read = [journal for _, journal in journals if journal is not None]
    runs = [journal for journal in read if journal.header["role"] == "run"]
    processes = [journal for journal in read if journal.header["role"] == "process"]
    refuse_twice(((journal.identity, journal.header["method"]), journal.path.name) for journal in processes)
    lost = [f"{path.name}: killed before its first line was written" for path, j in journals if j is None]
    lost += _failures(folder / "failures.txt") + _run_reasons(runs)
    record = _record_of(runs, processes, lost)
    return replace(record, reasons=(*record.reasons, *_notes(runs, processes)))


def _record_of(runs: list[Journal], processes: list[Journal], lost: list[str]) -> Record:
    """By the best method that counted anything. ``lost`` says why work may be missing."""
    if any(journal.header["method"] == "counters" and journal.contexts for journal in processes):
        return _counted_record(runs, processes, lost)
    lost = [*lost, *(reason for journal in processes for reason in _process_reasons(journal))]
    watched = {journal.header["method"] for journal in runs if journal.device_windows}
    if watched & {"gpm", "peak-bound"}:
        return _device_record(runs, processes, lost)
    if "counters" in watched and not any(journal.flops for journal in processes):
        return _device_record(runs, processes, [*lost, f"no CUDA context was counted; {SEE_MORE}"])
    return _analytic_record(
        reasons=lost,
        runs=tuple(_run_info(journal) for journal in runs),
        processes=tuple(_process_record(journal, journal.flops) for journal in processes),
        counts=[journal.counts for journal in processes],
        uncounted=[journal.uncounted for journal in processes],
        unwatched={name for journal in processes for name in journal.header["unwatched"]},
        policy_inputs=_common_inputs(journal.header.get("policy_inputs", {}) for journal in runs),
    )


def _notes(runs: list[Journal], processes: list[Journal]) -> list[str]:
    """What a reader should know that makes nothing incomplete."""
    notes = [journal.header["software"].get("no_counters", "") for journal in runs]
    notes = [f"no hardware counters: {note}" if note else "" for note in notes]
    notes += [journal.header["software"].get("cupti_warning", "") for journal in processes]
    return [note for note in dict.fromkeys(notes) if note]


def _counted_record(runs: list[Journal], processes: list[Journal], lost: list[str]) -> Record:
    """Counters have the first word; what operators' formulas gave stands beside. ``lost`` is what nothing bounds."""
    meters = [journal for journal in processes if journal.header["method"] == "counters"]
    others = [journal for journal in processes if journal.header["method"] != "counters"]
    result = counted(meters, max((journal.last_us for journal in [*runs, *processes]), default=0))
    unbounded = list(lost)
    for journal in meters:
        unbounded += [f"{journal.identity}: {what}" for what in [*journal.problems, *journal.unseen]]
    unbounded += _blind_processes(meters, others)
    uncounted = _uncounted_devices(runs, meters)
    bounded = [
        f"{total.device.name} was used, but no CUDA context on it was counted; {SEE_MORE}" for total in uncounted
    ]
    bounded += [reason for journal in meters for reason in _time_lost(journal)]
    high = None if unbounded else result.high
    for device in uncounted:
        high = None if high is None or device.estimate.high is None else high + device.estimate.high
    method, interval = result.total.method, Interval(result.total.low, result.total.value, high)
    if not result.windows:
        method, interval = _activity(_device_totals(runs), high)
    return Record(
        method=method,
        interval=interval,
        complete=not unbounded and not bounded,
        reasons=tuple(unbounded + bounded),
        runs=tuple(_run_info(journal) for journal in runs),
        processes=tuple(
            _process_record(
                journal, result.flops_of.get(str(journal.identity), 0) if journal in meters else journal.flops
            )
            for journal in processes
        ),
        counts=_cells(result.rows),
        uncounted={},
        policy_inputs=_common_inputs(journal.header.get("policy_inputs", {}) for journal in runs),
        estimates=result.rows,
        precisions=result.precisions,
        cross_checks=tuple(_cross_checks(runs, others)),
    )


def _device_record(runs: list[Journal], processes: list[Journal], lost: list[str]) -> Record:
    """What NVML saw of whole devices; operators' formulas beside it."""
    totals = _device_totals(runs)
    bounds = [total.estimate for total in totals if total.method == "peak-bound"]
    high = sum(bounds, NOTHING).high if bounds else None
    wanted = "gpm" if any(journal.header["method"] == "gpm" for journal in runs) else "peak-bound"
    method, interval = _activity(totals, high) if wanted == "gpm" else ("peak-bound", Interval(0, high, high))
    reasons = lost if interval.value is not None else [*lost, NO_DEVICE]
    return Record(
        method=method,
        interval=interval,
        complete=not lost,
        reasons=tuple(reasons),
        runs=tuple(_run_info(journal) for journal in runs),
        processes=tuple(_process_record(journal, journal.flops) for journal in processes),
        counts={},
        uncounted={},
        policy_inputs=_common_inputs(journal.header.get("policy_inputs", {}) for journal in runs),
        cross_checks=tuple(_cross_checks(runs, processes)),
    )


def _uncounted_devices(runs: list[Journal], meters: list[Journal]) -> list[DeviceTotal]:
    """GPUs that the run used, as NVML saw, and on which no context was counted: all that they did is bounded."""
    seen = {context.device["uuid"] for journal in meters for context in journal.contexts}
    return [total for total in _device_totals(runs) if total.method == "peak-bound" and total.device.uuid not in seen]


def _activity(totals: list[DeviceTotal], high: int | None) -> tuple[str, Interval]:
    """The GPUs' activity where NVML samples it on all of them, else the peak over their time."""
    activity = [total.estimate for total in totals if total.method == "gpm"]
    if activity and all(estimate.flops is not None for estimate in activity):
        estimate = sum(activity, NOTHING)
        return "gpm", Interval(estimate.low, estimate.flops, estimate.high)
    return "peak-bound", Interval(0, high, high)


def _device_totals(runs: list[Journal]) -> list[DeviceTotal]:
    return device_totals(window for journal in runs for window in journal.device_windows)


def _cells(rows: Iterable[EstimateRow]) -> dict[Cell, tuple[int, int]]:
    cells: dict[Cell, tuple[int, int]] = {}
    for row in rows:
        if row.kind in FLOATING and row.flops:
            cell = Cell(row.metric, row.precision, row.device)
            windows, flops = cells.get(cell, (0, 0))
            cells[cell] = (windows + row.windows, flops + row.flops)
    return cells


def _time_lost(journal: Journal) -> list[str]:
    """Time in which a context was not counted: the peak-bound over it is in the interval."""
    reasons = []
    for context in journal.contexts:
        by_reason: dict[str, int] = {}
        for gap in context.gaps:
            by_reason[str(gap)] = by_reason.get(str(gap), 0) + gap.end_us - gap.begin_us
        for why, time_us in by_reason.items():
            where = f"{context.device['device']} of {journal.identity}"
            reasons.append(f"{why}: {time_us / 1e6:.1f} s not counted on {where}")
    if journal.torn:
        reasons.append(f"{journal.identity}: the last line of its journal is torn and was left out")
    if journal.end is None:
        reasons.append(
            f"{journal.identity} was killed or is still running: its last window is lost, and bounded by the peak"
        )
    return reasons


def _blind_processes(meters: list[Journal], others: list[Journal]) -> list[str]:
    """Processes whose operators ran on a GPU although none of their contexts was counted."""
    seen = {journal.identity for journal in meters if journal.contexts}
    return [
        f"{journal.identity} ran operators on {cell.device}, but its counters were not read"
        for journal in others
        if journal.identity not in seen
        for cell in list(journal.counts)[:1]
        if cell.device.startswith("cuda")
    ]


def _cross_checks(runs: list[Journal], others: list[Journal]) -> Iterable[dict[str, Any]]:
    analytic = sum(journal.flops for journal in others)
    if analytic:
        yield {"method": "analytic", "device": None, "low": str(analytic), "flops": str(analytic), "high": None}
    for total in _device_totals(runs):
        yield {"method": total.method, "device": total.device.to_json(), **total.estimate.to_json()}


def merge_records(records: Sequence[tuple[str, Record]]) -> Record:
    """One record of several, given with their names. Raises ``UntrustedInput`` for a process that comes twice."""
    refuse_twice(((process.identity, process.method), name) for name, record in records for process in record.processes)
    if any(record.estimates for _, record in records):
        return _counted_records(records)
    return _analytic_record(
        reasons=[f"{name}: {reason}" for name, record in records if not record.complete for reason in record.reasons],
        runs=tuple(run for _, record in records for run in record.runs),
        processes=tuple(process for _, record in records for process in record.processes),
        counts=[record.counts for _, record in records],
        uncounted=[record.uncounted for _, record in records],
        unwatched={name for _, record in records for name in record.unwatched},
        policy_inputs=_common_inputs(record.policy_inputs for _, record in records),
    )


def _counted_records(records: Sequence[tuple[str, Record]]) -> Record:
    """Runs that counters counted, added up: the ends of their intervals too, which errs to the safe side."""
    without = [name for name, record in records if record.method not in COUNTER_METHODS]
    if without:
        raise UntrustedInput(f"{without[0]} was not counted by counters, the others were; such figures are not added")
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
            sum(record.interval.value or 0 for _, record in records),
            None if None in highs else sum(high for high in highs if high is not None),
        ),
        complete=all(record.complete for _, record in records),
        reasons=tuple(f"{name}: {reason}" for name, record in records for reason in record.reasons),
        runs=tuple(run for _, record in records for run in record.runs),
        processes=tuple(process for _, record in records for process in record.processes),
        counts=counts,
        uncounted={},
        policy_inputs=_common_inputs(record.policy_inputs for _, record in records),
        estimates=rows,
        precisions=tuple(added_precisions(row for _, record in records for row in record.precisions)),
        cross_checks=tuple(check for _, record in records for check in record.cross_checks),
    )


def refuse_twice(named: Iterable[tuple[tuple[ProcessIdentity, str], str]]) -> None:
    """Raise ``UntrustedInput`` if a process (host, boot, id, start time) comes twice with the same method."""
    seen: dict[tuple[ProcessIdentity, str], str] = {}
    for process, name in named:
        if process in seen:
            raise UntrustedInput(
                f"{process[0]} is in {seen[process]} and again in {name}; leave one of them out, else it counts twice"
            )
        seen[process] = name


def _analytic_record(
    reasons: list[str],
    runs: tuple[RunInfo, ...],
    processes: tuple[ProcessRecord, ...],
    counts: Iterable[dict[Cell, tuple[int, int]]],
    uncounted: Iterable[dict[UncountedWork, int]],
    unwatched: set[str],
    policy_inputs: dict[str, Any],
) -> Record:
    all_counts: dict[Cell, tuple[int, int]] = {}
    for part in counts:
        for cell, (calls, flops) in part.items():
            old = all_counts.get(cell, (0, 0))
            all_counts[cell] = (old[0] + calls, old[1] + flops)
    all_uncounted: dict[UncountedWork, int] = {}
    for other in uncounted:
        for work, calls in other.items():
            all_uncounted[work] = all_uncounted.get(work, 0) + calls
    total = sum(flops for _, flops in all_counts.values())
    complete = not reasons
    bounded = complete and total > 0 and not any(work.family for work in all_uncounted)
    if total == 0:
        reasons = [*reasons, NO_PROCESS if not processes else NO_FORMULA if all_uncounted else NO_WORK]
    return Record(
        method="analytic",
        interval=Interval(total, total or None, total if bounded else None),
        complete=complete,
        reasons=tuple(reasons),
        runs=runs,
        processes=processes,
        counts=all_counts,
        uncounted=all_uncounted,
        unwatched=tuple(sorted(unwatched)),
        policy_inputs=policy_inputs,
    )


def _run_reasons(runs: list[Journal]) -> list[str]:
    if not runs:
        return ["the journal of the ftprof that wrapped the run is missing"]
    reasons = []
    for journal in runs:
        reasons += [f"ftprof on {journal.header['host']}: {problem}" for problem in journal.problems]
        if journal.end is None:
            reasons.append(
                f"the ftprof that wrapped the run on {journal.header['host']} was killed or is still running"
            )
    return reasons


def _process_reasons(journal: Journal) -> list[str]:
    reasons = [f"{journal.identity}: {problem}" for problem in journal.problems]
    if journal.torn:
        reasons.append(f"{journal.identity}: the last line of its journal is torn and was left out")
    if journal.end is None and not reasons:
        reasons.append(
            f"{journal.identity} was killed or is still running: what it did after its last window is not counted"
        )
    return reasons


def _failures(path: Path) -> list[str]:
    """What processes said that could not keep a journal."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{path.name} cannot be read: {error.strerror}"]
    return [f"{line:.300}" for line in lines]


def _run_info(journal: Journal) -> RunInfo:
    header, end = journal.header, journal.end
    return RunInfo(
        run=header["run"],
        command=tuple(header["command"]),
        host=header["host"],
        began_us=header["time_us"],
        ended_us=None if end is None else end["time_us"],
        exit_code=None if end is None else end["exit_code"],
        ftprof=header["software"]["ftprof"],
        head=journal.head,
    )


def _process_record(journal: Journal, flops: int) -> ProcessRecord:
    header = journal.header
    return ProcessRecord(
        identity=journal.identity,
        method=header["method"],
        flops=flops,
        windows=journal.windows,
        began_us=header["time_us"],
        last_us=journal.last_us,
        end=None if journal.end is None else journal.end["reason"],
        rank=header["rank"],
        software=header["software"],
        devices=tuple(journal.devices),
        journal=journal.path.name,
        journal_lines=journal.lines,
        journal_head=journal.head,
    )


def _common_inputs(inputs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The policies' inputs where all parts agree on them; different bases make no common one."""
    different: list[dict[str, Any]] = []
    for candidate in inputs:
        if candidate and candidate not in different:
            different.append(candidate)
    if len(different) > 1:
        raise UntrustedInput("the parts name different base models or base compute; merge runs of one base model only")
    return different[0] if different else {}
