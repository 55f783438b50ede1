"""When runs were, and which of them were at the same time. All times in microseconds since the epoch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from ftprof.record.record import Record

Span: TypeAlias = tuple[int, int]  # of a begin and an end
SLACK_US = 60_000_000
"""Clocks of several hosts, and the starts of one command on them, may be so far apart."""

_Of = TypeVar("_Of")


def run_times(record: Record) -> tuple[Span, ...]:
    """Each of its runs. One whose end nobody saw lasts until the record was made, or for as long as it tells of it."""
    last_us = record.until_us or max((process.last_us for process in record.processes), default=0)
    used_us = max((use.time_us for use in record.devices), default=0)
    return tuple((run.began_us, run.ended_us or max(last_us, run.began_us + used_us)) for run in record.runs)


def at_once(one: Sequence[Span], other: Sequence[Span]) -> bool:
    """Whether any of the times shares a moment with any of the others."""
    return any(a < d and c < b for a, b in one for c, d in other)


def joined_times(spans: Iterable[Span], slack_us: int = 0) -> list[Span]:
    """What they cover together, in order; those that are at most ``slack_us`` apart as one."""
    found: list[Span] = []
    for begin_us, end_us in sorted(spans):
        if found and begin_us <= found[-1][1] + slack_us:
            found[-1] = found[-1][0], max(found[-1][1], end_us)
        else:
            found.append((begin_us, end_us))
    return found


def groups_at_once(timed: Iterable[tuple[Sequence[Span], _Of]], slack_us: int = 0) -> list[list[_Of]]:
    """Those whose times touch, or are at most ``slack_us`` apart, directly or through others of their group."""
    groups: list[tuple[list[Span], list[_Of]]] = []
    for spans, item in timed:
        wide = [(begin_us - slack_us, end_us + slack_us) for begin_us, end_us in spans]
        touched = [group for group in groups if at_once(wide, group[0])]
        if not touched:
            groups.append((joined_times(spans), [item]))
            continue
        (times, items), *others = touched
        times[:] = joined_times([*times, *spans, *(span for other, _ in others for span in other)])
        items += [item, *(one for _, more in others for one in more)]
        groups = [group for group in groups if not any(group is other for other in others)]
    return [items for _, items in groups]


def parts_absent(here: Iterable[tuple[int, Span]], count: int) -> int:
    """Of ``count`` parts that run at once, how many have no time here that touches that of some other part.

    A part may come more than once: it was started again. What it did while one of its processes ran is of one start,
    such as an evaluation on one rank alone when the others had ended.
    """
    all_of: dict[int, list[Span]] = {}
    for part, span in here:
        all_of.setdefault(part, []).append(span)
    spans_of = {part: joined_times(spans, SLACK_US) for part, spans in all_of.items()}
    ordered = sorted(span for spans in spans_of.values() for span in spans)
    begins = [begin_us for begin_us, _ in ordered]
    first_end = list(accumulate((end_us for _, end_us in reversed(ordered)), min))[::-1]  # of this one and later ones
    lacking = 0
    for spans in spans_of.values():
        until_us: float = -inf
        for begin_us, end_us in [*spans, (inf, inf)]:
            later = bisect_left(begins, until_us + SLACK_US)
            if later < len(begins) and first_end[later] <= begin_us - SLACK_US:  # one lies all in this gap
                lacking += 1
                break
            until_us = end_us
    return count - len(spans_of) + lacking
