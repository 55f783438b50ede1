"""Time in which counters could not count, each reason as one sentence that begins with what happened."""

from __future__ import annotations

from typing import NamedTuple

from ftprof.record.counted import end_of, tail_of, uncounted_metrics
from ftprof.record.counted_context import CountedContext
from ftprof.record.journal import Journal, ProcessIdentity

_LONG_US = 200_000


def time_lost(meters: list[Journal], end_us: int) -> list[str]:
    """Time in which contexts were not counted, each reason once. The peak bounds it. The run ended at ``end_us``."""
    places: dict[tuple[str, str, str], list[_Place]] = {}
    for journal in meters:
        for context in journal.contexts:
            for why, time_us in _times_lost(journal, context, end_us).items():
                places.setdefault(why, []).append(_Place(journal.identity, context.device["device"], time_us))
    return [
        f"{what}{_how_long(where)}{_all_of(where)}" + (f" ({call})" if call else "") + (f"; {remedy}" if remedy else "")
        for (what, call, remedy), where in places.items()
    ]


def ends_lost(meters: list[Journal], end_us: int) -> list[str]:
    """Processes that could not end their journal: what they did after their last window until ``end_us`` is lost."""
    reasons = []
    for journal in meters:
        if journal.end is None and journal.contexts:
            lost_us = max(tail_of(journal, context, end_us) for context in journal.contexts)
            reasons.append(
                f"{journal.who} was killed or is still running: the {duration(lost_us)} after its last window "
                "are not counted, and bounded by the peak"
            )
        if journal.torn:
            reasons.append(f"{journal.who}: the last line of its journal is torn and was left out")
    return reasons


def contexts_gone(meters: list[Journal]) -> list[str]:
    """Notes on contexts that were not counted any more long before their process ended: most are gone by then."""
    return [
        f"{context.device['device']} of {journal.identity} was not counted in the process's last {duration(tail)}: "
        "its context was gone by then, or the peak bounds it"
        for journal in meters
        if journal.end is not None and not journal.problems
        for context in journal.contexts
        if (tail := tail_of(journal, context, 0)) > _LONG_US and context.windows
    ]


def duration(time_us: int) -> str:
    """A time for a person."""
    if time_us < 999_500:
        return f"{time_us / 1e3:.0f} ms" if time_us >= 1000 else "under 1 ms"
    return f"{time_us / 1e6:.1f} s" if time_us < 7_200_000_000 else f"{time_us / 3.6e9:.1f} h"


class _Place(NamedTuple):
    """A context, and how long it was not counted (microseconds)."""

    process: ProcessIdentity
    device: str
    time_us: int


def _times_lost(journal: Journal, context: CountedContext, end_us: int) -> dict[tuple[str, str, str], int]:
    """By what happened, which call it was, and what to do: microseconds."""
    times: dict[tuple[str, str, str], int] = {}
    for gap in context.gaps:
        times[gap.why] = times.get(gap.why, 0) + gap.end_us - gap.begin_us
    if not context.windows and len(times) <= 1:
        why = next(iter(times), ("the counters were not ready before the process ended", "", ""))
        times[why] = end_of(context) + tail_of(journal, context, end_us) - context.begin_us
    if uncounted := uncounted_metrics(context):
        names = ", ".join(uncounted)
        why = f"no single pass of this chip counts {names:.200}, which is bounded by the peak", "", ""
        times[why] = end_of(context) - context.begin_us
    return times


def _how_long(places: list[_Place]) -> str:
    """Nothing where it took no time: something that was lost by other means."""
    time_us = sum(place.time_us for place in places)
    return f": {duration(time_us)} not counted on " if time_us else ", on "


def _all_of(places: list[_Place]) -> str:
    processes = list(dict.fromkeys(place.process for place in places))
    devices = sorted({place.device for place in places})
    which = ", ".join(devices[:3]) + (", ..." if len(devices) > 3 else "")
    return f"{which} of {processes[0] if len(processes) == 1 else f'{len(processes)} processes'}"
