"""Makes one record of a run's journals, or of several records.

What only records of counters or devices need is imported where it is used: it takes 30 ms, which every run would wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftprof.errors import UntrustedInput
from ftprof.record.device_use import DeviceUse, added_uses, device_uses
from ftprof.record.elsewhere import with_notes
from ftprof.record.interval import Interval
from ftprof.record.journal import Cell, Journal, ProcessIdentity, UncountedWork
from ftprof.record.journal_readers import read_all
from ftprof.record.parts import (
    cross_checks,
    is_partial,
    merged_inputs,
    process_record,
    run_device_totals,
    run_info,
    run_inputs,
)
from ftprof.record.reasons import (
    NOT_COUNTED,
    NOT_IN_THIS_RUN,
    SEE_MORE,
    journals_gone,
    journals_missing,
    killed_commands,
    parts_missing,
    ranks_missing,
    run_problems,
    runs_not_ended,
    runs_torn,
)
from ftprof.record.record import COUNTER_METHODS, ProcessRecord, Record, RunInfo
from ftprof.record.run_files import FAILURES, RunFiles, is_journal, is_of_a_run
from ftprof.record.run_times import run_times
from ftprof.record.timeline import Timeline, added

_OF_DEVICES = {"gpm", "peak-bound"}
NO_PROCESS = "no Python process that imports torch was seen"
NO_FORMULA = "what ran has no formula (see 'not counted')"
NOTHING_TO_DO = "the operators that have a formula had nothing to compute: their tensors were empty"
_NO_COUNTERS = "no hardware counters: "
NO_WORK = "torch was imported, but no operator ran"
NOTHING_WRITTEN = "torch was imported, and nothing that ran was written down before the process ended"


def merge_journals(folder: Path, now_us: int | None = None) -> Record:
    """The record of a run directory.

    ``now_us`` (microseconds since the epoch; by default the time of the call) bounds the time of processes whose end
    nobody saw, since the ftprof that wrapped them was killed too.

    Raises ``UntrustedInput`` where the folder holds no journal, where one does not verify, or where two journals
    are of the same process.
    """
    return merge_files(folder, RunFiles(folder), now_us)


def merge_files(folder: Path, files: Mapping[str, bytes], now_us: int | None = None) -> Record:
    """The same of files that are at hand, by their names; ``folder`` only names them in errors."""
    names = [name for name in sorted(files) if is_journal(name)]
    if not names:
        raise UntrustedInput(f"run directory {folder} holds no journal; is it the --run-dir of a run?")
    journals = read_all(folder, files, names)
    read = [journal for journal in journals if journal is not None]
    runs = [journal for journal in read if journal.header["role"] == "run"]
    processes = [journal for journal in read if journal.header["role"] == "process"]
    refuse_twice(((journal.identity, journal.header["method"]), journal.path.name) for journal in processes)
    refuse_twice(((journal.identity, "run"), journal.path.name) for journal in runs)
    unread = [name for name, journal in zip(names, journals, strict=True) if journal is None]
    lost = [f"{name}: killed before its first line was written" for name in unread]
    lost += _failures(files) + run_problems(runs) + journals_missing(runs, names)
    lost += parts_missing(journal.launch for journal in runs if journal.launch is not None)
    absent = ranks_missing(runs, processes)
    lost += absent
    runs_lost = any(is_of_a_run(name) for name in [*unread, *journals_gone(runs, names)])
    now_us = time.time_ns() // 1000 if now_us is None else now_us
    record = _record_of(runs, processes, lost, now_us, machines_missed=runs_lost or bool(absent))
    return with_notes(replace(record, reasons=(*record.reasons, *_notes(runs, processes))))


def _record_of(
    runs: list[Journal], processes: list[Journal], lost: list[str], now_us: int, machines_missed: bool
) -> Record:
    """By the best method that counted anything. ``lost`` says why work may be missing."""
    if any(journal.header["method"] == "counters" and journal.contexts for journal in processes):
        from ftprof.record.counted_record import counted_record

        return counted_record(runs, processes, lost, now_us)
    lost = [*lost, *(reason for journal in processes for reason in _process_reasons(journal))]
    lost += [*killed_commands(runs), *runs_not_ended(runs), *runs_torn(runs)]
    watched = {journal.header["method"] for journal in runs if journal.device_windows}
    asked = {journal.header["method"] for journal in runs}
    if watched & _OF_DEVICES or (asked and asked <= _OF_DEVICES and not processes):
        from ftprof.record.device_record import device_record

        return device_record(runs, processes, lost, machines_missed)
    if any(journal.header["method"] == "counters" for journal in runs) and not any(j.flops for j in processes):
        from ftprof.record.device_record import device_record

        seen = [f"no CUDA context was counted; {SEE_MORE}"] if watched else []
        record = device_record(runs, processes, lost + seen, machines_missed)
        return record if record.interval.value is not None else replace(record, method="counters")
    # Beside counters operators are counted from the first phase on only; here there are no counters beside them.
    lost += [f"{j.who}: operators were counted from its first phase on only" for j in processes if is_partial(j)]
    return _analytic_record(
        reasons=lost,
        runs=tuple(run_info(journal) for journal in runs),
        processes=tuple(process_record(journal, journal.flops) for journal in processes),
        counts=[journal.counts for journal in processes],
        uncounted=[journal.uncounted for journal in processes],
        unwatched={name for journal in processes for name in journal.header["unwatched"]},
        policy_inputs=run_inputs(runs)[0],
        devices=device_uses(run_device_totals(runs)),
        checks=cross_checks(runs, []),
        timelines=[journal.timeline for journal in processes],
    )


def _notes(runs: list[Journal], processes: list[Journal]) -> list[str]:
    """What a reader should know that makes nothing incomplete."""
    notes = [journal.header["software"].get("no_counters", "") for journal in runs]
    notes = [f"{_NO_COUNTERS}{note}" if note else "" for note in notes]
    notes += [journal.header["software"].get("cupti_warning", "") for journal in processes]
    notes.append(run_inputs(runs)[1])
    return [note for note in dict.fromkeys(notes) if note]


def merge_records(records: Sequence[tuple[str, Record]]) -> Record:
    """One record of several, given with their names.

    Raises ``UntrustedInput`` for a process that comes twice for the same time. Blocks of ``ftprof.count()`` that lie
    one after the other in one process are different work.
    """
    _refuse_twice_at_once(records)
    method = _method_of_all(records)
    if method in COUNTER_METHODS:
        from ftprof.record.counted_record import add_counted_records

        return with_notes(add_counted_records(records))
    if method != "analytic":
        from ftprof.record.device_record import add_device_records

        return _with_fallbacks(with_notes(add_device_records(records)), records)
    added_up = _analytic_record(
        reasons=[
            f"{name}: {reason}"
            for name, record in records
            # A part that was watched and did nothing is a zero; one of which nothing is known leaves the sum open.
            if not record.complete or (record.interval.value is None and NO_WORK not in record.reasons)
            for reason in record.reasons
        ],
        runs=tuple(run for _, record in records for run in record.runs),
        processes=tuple(process for _, record in records for process in record.processes),
        counts=[record.counts for _, record in records],
        uncounted=[record.uncounted for _, record in records],
        unwatched={name for _, record in records for name in record.unwatched},
        policy_inputs=merged_inputs(record for _, record in records),
        devices=added_uses((run_times(record), record.devices) for _, record in records),
        checks=(check for _, record in records for check in record.cross_checks),
        timelines=[record.timeline for _, record in records],
    )
    return _with_fallbacks(with_notes(added_up), records)


def _with_fallbacks(whole: Record, records: Sequence[tuple[str, Record]]) -> Record:
    """The whole, with why its parts were not counted by hardware counters."""
    notes = dict.fromkeys(note for _, part in records for note in part.reasons if note.startswith(_NO_COUNTERS))
    return replace(whole, reasons=(*whole.reasons, *(note for note in notes if note not in whole.reasons)))


def _method_of_all(records: Sequence[tuple[str, Record]]) -> str:
    """Raises ``UntrustedInput`` where figures are of different kinds: their sum would be of none."""
    (first, one), *others = records
    for name, other in others:
        if other.method != one.method and not {one.method, other.method} <= {*COUNTER_METHODS}:
            raise UntrustedInput(
                f"{first} was counted by the method {one.method}, {name} by {other.method}; such figures are not added"
            )
    return one.method


def refuse_twice(named: Iterable[tuple[tuple[ProcessIdentity, str], str]]) -> None:
    """Raise ``UntrustedInput`` if a process (host, boot, id, start time) comes twice with the same method."""
    seen: dict[tuple[ProcessIdentity, str], str] = {}
    for process, name in named:
        if process in seen:
            raise _counts_twice(process[0], seen[process], name)
        seen[process] = name


def _refuse_twice_at_once(records: Iterable[tuple[str, Record]]) -> None:
    seen: dict[tuple[ProcessIdentity, str], list[tuple[ProcessRecord, str]]] = {}
    for name, record in records:
        for process in record.processes:
            others = seen.setdefault((process.identity, process.method), [])
            for other, place in others:
                overlap = process.began_us < other.last_us and other.began_us < process.last_us
                if overlap or process.began_us == other.began_us:
                    raise _counts_twice(process.identity, place, name)
            others.append((process, name))


def _counts_twice(process: ProcessIdentity, first: str, second: str) -> UntrustedInput:
    return UntrustedInput(f"{process} is in {first} and again in {second}; leave one of them out, else it counts twice")


def _analytic_record(
    reasons: list[str],
    runs: tuple[RunInfo, ...],
    processes: tuple[ProcessRecord, ...],
    counts: Iterable[dict[Cell, tuple[int, int]]],
    uncounted: Iterable[dict[UncountedWork, int]],
    unwatched: set[str],
    policy_inputs: dict[str, Any],
    devices: tuple[DeviceUse, ...],
    checks: Iterable[dict[str, Any]],
    timelines: Iterable[Timeline],
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
    why_nothing = _why_nothing(processes, bool(all_counts), bool(all_uncounted))
    said = any(NOT_COUNTED in reason or NOT_IN_THIS_RUN in reason for reason in reasons)
    if total == 0 and not (said and why_nothing in (NO_PROCESS, NOTHING_WRITTEN)):
        reasons = [*reasons, why_nothing]
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
        devices=devices,
        cross_checks=tuple(checks),
        timeline=added(timelines),
    )


def _why_nothing(processes: Sequence[ProcessRecord], counted: bool, uncounted: bool) -> str:
    """Why the total is zero. Of a process that was killed nobody knows whether it did nothing."""
    if not processes:
        return NO_PROCESS
    if counted:
        return NOTHING_TO_DO
    if uncounted:
        return NO_FORMULA
    return NO_WORK if all(process.end is not None for process in processes) else NOTHING_WRITTEN


def _process_reasons(journal: Journal) -> list[str]:
    reasons = [f"{journal.who}: {problem}" for problem in [*journal.problems, *journal.unseen]]
    if journal.torn:
        reasons.append(f"{journal.who}: the last line of its journal is torn and was left out")
    if journal.end is None and not reasons:
        reasons.append(
            f"{journal.who} was killed or is still running: what it did after its last window is not counted"
        )
    return reasons


def _failures(files: Mapping[str, bytes]) -> list[str]:
    """What processes said that could not keep a journal."""
    if FAILURES not in files:
        return []
    try:
        content = files[FAILURES]
    except UntrustedInput as error:
        return [error.message]
    return [f"{line:.300}" for line in content.decode("ascii", "replace").splitlines()]
