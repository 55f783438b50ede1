"""Makes one record of a run's journals, or of several records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ftprof.errors import UntrustedInput
from ftprof.record.interval import Interval
from ftprof.record.journal import JOURNALS, Cell, Journal, ProcessIdentity, UncountedWork, read_journal
from ftprof.record.record import ProcessRecord, Record, RunInfo

NO_PROCESS = "no Python process that imports torch was seen"
NO_FORMULA = "what ran has no formula (see 'not counted')"
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
    refuse_twice((journal.identity, journal.path.name) for journal in processes)
    reasons = [f"{path.name}: killed before its first line was written" for path, j in journals if j is None]
    reasons += _failures(folder / "failures.txt")
    for journal in processes:
        reasons += _process_reasons(journal)
    reasons += _run_reasons(runs)
    return _record(
        reasons=reasons,
        runs=tuple(_run_info(journal) for journal in runs),
        processes=tuple(_process_record(journal) for journal in processes),
        counts=[journal.counts for journal in processes],
        uncounted=[journal.uncounted for journal in processes],
        unwatched={name for journal in processes for name in journal.header["unwatched"]},
        policy_inputs=_common_inputs(journal.header.get("policy_inputs", {}) for journal in runs),
    )


def merge_records(records: Sequence[tuple[str, Record]]) -> Record:
    """One record of several, given with their names. Raises ``UntrustedInput`` for a process that comes twice."""
    refuse_twice((process.identity, name) for name, record in records for process in record.processes)
    return _record(
        reasons=[f"{name}: {reason}" for name, record in records if not record.complete for reason in record.reasons],
        runs=tuple(run for _, record in records for run in record.runs),
        processes=tuple(process for _, record in records for process in record.processes),
        counts=[record.counts for _, record in records],
        uncounted=[record.uncounted for _, record in records],
        unwatched={name for _, record in records for name in record.unwatched},
        policy_inputs=_common_inputs(record.policy_inputs for _, record in records),
    )


def refuse_twice(named: Iterable[tuple[ProcessIdentity, str]]) -> None:
    """Raise ``UntrustedInput`` if a process (host, boot, id, start time) comes twice: it would be added twice."""
    seen: dict[ProcessIdentity, str] = {}
    for identity, name in named:
        if identity in seen:
            raise UntrustedInput(
                f"{identity} is in {seen[identity]} and again in {name}; leave one of them out, else it counts twice"
            )
        seen[identity] = name


def _record(
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


def _process_record(journal: Journal) -> ProcessRecord:
    header = journal.header
    return ProcessRecord(
        identity=journal.identity,
        method=header["method"],
        flops=journal.flops,
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
