"""Work that a record knows of and does not hold: other parts of its start, other ranks of its world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftprof.record.launch import Launch
    from ftprof.record.record import Record

_ADD = "share one --run-dir, or add the others' with ftprof merge"


def elsewhere(record: Record) -> tuple[str, ...]:
    """A sentence for each start or world of which the record holds some parts only; such a figure has no upper end.

    Where the parts share a run directory, its record has said already which of them is missing.
    """
    launches = [run.launch for run in record.runs if run.launch is not None]
    if any(launch.shared for launch in launches):
        return ()
    found = {f"{here} of {count} {unit}s" for here, count, unit in _starts(launches) if here < count}
    sizes = worlds(process.rank for process in record.processes)
    found |= {f"{len(seen)} of {size} ranks" for size, seen in sizes.items() if len(seen) < size}
    return tuple(f"{part} are in this record; {_ADD}" for part in sorted(found))


def with_notes(record: Record) -> Record:
    """The record with what it does not hold among its reasons, and nothing there of what has been added to it."""
    said = tuple(reason for reason in record.reasons if not reason.endswith(_ADD))
    return replace(record, reasons=(*said, *elsewhere(record)))


def worlds(ranks: Iterable[Mapping[str, int] | None]) -> dict[int, set[int]]:
    """By the number of ranks: those that kept a journal. A restart may change the number."""
    found: dict[int, set[int]] = {}
    for rank in ranks:
        if rank and "rank" in rank and rank["rank"] < rank.get("world_size", 0):
            found.setdefault(rank["world_size"], set()).add(rank["rank"])
    return dict(sorted(found.items()))


def _starts(launches: list[Launch]) -> list[tuple[int, int, str]]:
    """Of each start: how many parts are here, how many there are, and what a part is."""
    starts: dict[tuple[str | None, str | None, int | None], tuple[set[int], str]] = {}
    for launch in launches:
        if launch.part is not None and launch.parts is not None:
            starts.setdefault(launch.start, (set(), launch.unit))[0].add(launch.part)
    return [(len(parts), count, unit) for (_, _, count), (parts, unit) in starts.items() if count is not None]
