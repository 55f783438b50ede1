"""Work that a record knows of and does not hold: other parts of its start, other ranks of its world."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from ftprof.record.interval import Interval, unbounded
from ftprof.record.run_times import Span, parts_absent, run_times

if TYPE_CHECKING:
    from ftprof.record.launch import Launch
    from ftprof.record.record import ProcessRecord, Record

_Parts: TypeAlias = tuple[tuple[str, int], list[tuple[int, Span]]]
_ADD = "share one --run-dir, or add the others' with ftprof merge"


def elsewhere(record: Record) -> tuple[str, ...]:
    """A sentence for each start or world of which the record holds some parts only; such a figure has no upper end.

    The parts of one start run at once, so those of a later one do not stand for what an earlier one lacks. Where all
    parts share a run directory, its record has said already which of them is missing.
    """
    timed = [(run.launch, time) for run, time in zip(record.runs, run_times(record), strict=True) if run.launch]
    if timed and all(launch.shared for launch, _ in timed):
        return ()
    found = set()
    for (unit, count), here in [*_starts(timed), *_worlds(record.processes)]:
        if absent := parts_absent(here, count):
            found.add(f"{count - absent} of {count} {unit}s are in this record; {_ADD}")
    return tuple(sorted(found))


def interval_of_all(record: Record) -> Interval:
    """The record's interval; without an upper end where it holds some parts of its start only: others did more."""
    own = record.interval
    return unbounded(own, record.method) if elsewhere(record) else own


def with_notes(record: Record) -> Record:
    """The record with what it does not hold among its reasons, and nothing there of what has been added to it."""
    said = tuple(reason for reason in record.reasons if not reason.endswith(_ADD))
    return replace(record, reasons=(*said, *elsewhere(record)))


def worlds(ranks: Iterable[Mapping[str, int] | None]) -> dict[int, set[int]]:
    """By the number of ranks: those that kept a journal. A restart may change the number."""
    found: dict[int, set[int]] = {}
    for rank in ranks:
        if size := _world_size(rank):
            found.setdefault(size, set()).add((rank or {})["rank"])
    return dict(sorted(found.items()))


def _starts(timed: Iterable[tuple[Launch, Span]]) -> Iterator[_Parts]:
    """Of each start: what a part is and how many there are; the parts that are here, and when."""
    starts: dict[Any, tuple[str, list[tuple[int, Span]]]] = {}
    for launch, span in timed:
        if not launch.shared and launch.part is not None and launch.parts is not None:
            starts.setdefault(launch.start, (launch.unit, []))[1].append((launch.part, span))
    for (_, _, count), (unit, here) in starts.items():
        yield (unit, count), here


def _worlds(processes: Iterable[ProcessRecord]) -> Iterator[_Parts]:
    """The same of the ranks that processes were."""
    found: dict[int, list[tuple[int, Span]]] = {}
    for process in processes:
        if size := _world_size(process.rank):
            found.setdefault(size, []).append(((process.rank or {})["rank"], (process.began_us, process.last_us)))
    for size, here in found.items():
        yield ("rank", size), here


def _world_size(rank: Mapping[str, int] | None) -> int:
    """0 where a launcher's variables do not tell the rank and the number of all."""
    size = rank.get("world_size", 0) if rank else 0
    return size if rank and rank.get("rank", size) < size else 0
