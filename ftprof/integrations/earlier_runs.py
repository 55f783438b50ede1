"""What the earlier runs of a training executed, also what was thrown away after the checkpoint that is resumed from.

A run goes from one start of the training to its end, on one rank. Each keeps its own record up to date in a folder that
all runs of the training share. A checkpoint holds the record of all of them, as of that moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from ftprof.errors import UntrustedInput
from ftprof.record.elsewhere import with_notes
from ftprof.record.interval import Interval
from ftprof.record.merge import merge_records
from ftprof.record.record import Record, load_record, save_record

PRIVATE = "_ftprof"  # Hugging Face's Trainer pushes nothing to the hub whose name begins so: records name hosts
EARLIER, NOW = "earlier runs", "this run"
_PREFIXES = (f"{EARLIER}: ", f"{NOW}: ")


def runs_folder(folder: Path, training: str) -> Path:
    """Where the runs of a training keep their records. ``training`` is the id of its first run."""
    return folder / PRIVATE / training


def earlier_runs(folder: Path, checkpoint: Record, source: Path | None = None) -> Record:
    """All that was executed by the runs that led to a checkpoint and by those that went on from there.

    ``folder`` is that of the training's output, ``source`` that of the one that made the checkpoint, where it is
    another. What cannot be found or trusted makes the record incomplete, with the reason.
    """
    if not checkpoint.runs:
        return checkpoint
    place = runs_folder(folder if source is None else source, checkpoint.runs[0].run)
    parts, problems = _records_in(runs_folder(folder, checkpoint.runs[0].run), place)
    seen = {run.run for part in parts for run in part.runs}
    if not {run.run for run in checkpoint.runs} <= seen:
        known = {run.run for run in checkpoint.runs}
        parts = [checkpoint, *(part for part in parts if known.isdisjoint(run.run for run in part.runs))]
        problems += [
            f"run {run.run} went on after the checkpoint, and its record is not in {place}: what it did then is not "
            "counted"
            for run in checkpoint.runs
            if run.ended_us is None
        ]
    else:
        problems += [_not_ended(run.run, part) for part in parts for run in part.runs if run.ended_us is None]
    if not checkpoint.complete:
        problems += map(_plain, checkpoint.reasons)
    try:
        whole = added([(EARLIER, part) for part in parts])
        if whole.interval.low < checkpoint.interval.low:
            raise UntrustedInput(f"the records in {place} hold less than the checkpoint's")
    except UntrustedInput as error:
        problems.append(f"what was executed after the checkpoint is not counted: {error.message}")
        return unsure(checkpoint, problems)
    return noted(unsure(whole, problems), _thrown_away(whole, checkpoint))


def keep(folder: Path, record: Record) -> None:
    """Keep what was carried over where the next run of the training looks for it. Raises ``OSError``."""
    if not record.runs:
        return
    place = runs_folder(folder, record.runs[0].run)
    parts, _ = _records_in(place)
    if not {run.run for run in record.runs} <= {run.run for part in parts for run in part.runs}:
        place.mkdir(parents=True, exist_ok=True)
        save_record(record, place / f"earlier-{record.runs[-1].run}.json", overwrite=True)


def added(records: Sequence[tuple[str, Record]]) -> Record:
    """As ``merge_records`` adds them, whatever base models they were given; their notes are kept.

    Raises ``UntrustedInput`` where they cannot be added.
    """
    notes = [note for _, record in records if record.complete for note in record.reasons]
    bare = [(name, _bare(record)) for name, record in records]
    return with_notes(noted(bare[0][1] if len(bare) == 1 else merge_records(bare), notes))


def unsure(record: Record, problems: Sequence[str]) -> Record:
    """The same record, incomplete for these reasons and open above; as it is where there are none."""
    if not problems:
        return record
    reasons = _once((*problems, *record.reasons))
    interval = Interval(record.interval.low, record.interval.value, None)
    return replace(record, complete=False, reasons=reasons, interval=interval)


def noted(record: Record, notes: Sequence[str]) -> Record:
    """The same record with notes that make nothing incomplete."""
    return replace(record, reasons=_once((*record.reasons, *notes)))


def going_on(record: Record) -> Record:
    """A record of a run that has not ended, so that whoever reads it knows that there may be more."""
    return replace(record, runs=tuple(replace(run, ended_us=None, exit_code=None) for run in record.runs))


def _bare(record: Record) -> Record:
    reasons = () if record.complete else tuple(map(_plain, record.reasons))
    return replace(record, policy_inputs={}, verdicts=(), guidelines=None, reasons=reasons)


def _once(reasons: Iterable[str]) -> tuple[str, ...]:
    first: dict[str, str] = {}
    for reason in reasons:
        first.setdefault(_plain(reason), reason)
    return tuple(first.values())


def _plain(reason: str) -> str:
    """Without the words that an earlier addition put before it."""
    for prefix in _PREFIXES:
        reason = reason.removeprefix(prefix)
    return reason


def _records_in(*places: Path) -> tuple[list[Record], list[str]]:
    """The records of different runs, and why others cannot be read."""
    paths = {path.resolve(): path for place in places for path in sorted(place.glob("*.json"))}
    found = [_read(path) for path in paths.values()]
    problems = [one for one in found if isinstance(one, str)]
    records = [one for one in found if isinstance(one, Record)]
    taken: set[str] = set()
    different: list[Record] = []
    # One of several runs holds each of them; of two of the same run, the later one holds more.
    for record in sorted(records, key=lambda record: (-len(record.runs), -record.interval.low)):
        runs = {run.run for run in record.runs}
        if taken.isdisjoint(runs):
            different.append(record)
            taken |= runs
        elif not runs <= taken:
            problems.append(f"a record with the runs {', '.join(sorted(runs))} shares some of them with another one")
    return different, problems


def _read(path: Path) -> Record | str:
    """The record, or why it cannot be read."""
    try:
        return load_record(path)
    except UntrustedInput as error:
        return error.message


def _not_ended(run: str, part: Record) -> str:
    last_us = max((process.last_us for process in part.processes), default=0)
    moment = datetime.fromtimestamp(last_us // 1_000_000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"run {run} was killed or is still running: what it did after {moment} is not counted"


def _thrown_away(whole: Record, checkpoint: Record) -> list[str]:
    more = (whole.interval.value or 0) - (checkpoint.interval.value or 0)
    if more <= 0:
        return []
    return [f"{more} FLOP were executed after the checkpoint that was resumed from; they are part of the total"]
