"""Why a record does not hold all that a run did, each reason as one sentence that begins with what happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from ftprof.record.counted import end_of, tail_of, uncounted_metrics
from ftprof.record.counted_context import CountedContext
from ftprof.record.elsewhere import worlds
from ftprof.record.journal import Journal, ProcessIdentity
from ftprof.record.launch import Launch

_LONG_US = 200_000
_NAMED = 4
COMMAND_DIED = "the command died of signal"


def run_problems(runs: list[Journal]) -> list[str]:
    """What those that wrapped the run say, and nothing bounds."""
    if not runs:
        return ["the journal of the ftprof that wrapped the run is missing"]
    problems = [(journal, problem) for journal in runs for problem in journal.problems]
    return [f"ftprof on {j.header['host']}: {problem}" for j, problem in problems if not _is_death(problem)]


def killed_commands(runs: list[Journal]) -> list[str]:
    """Commands that a signal ended. Until then their processes counted."""
    problems = [(journal, problem) for journal in runs for problem in journal.problems]
    return [f"{problem} on {journal.header['host']}" for journal, problem in problems if _is_death(problem)]


def runs_not_ended(runs: list[Journal]) -> list[str]:
    """Runs whose own ftprof did not see the end: when their processes ended is not known."""
    return [
        f"the ftprof that wrapped the run on {_place(journal)} was killed or is still running"
        for journal in runs
        if journal.end is None
    ]


def parts_missing(launches: Iterable[Launch]) -> list[str]:
    """Parts of a start that the launcher counts, and that wrote nothing into the directory that all share."""
    starts: dict[tuple[str | None, str | None, int | None], list[Launch]] = {}
    for launch in launches:
        if launch.shared and launch.part is not None and launch.parts is not None:
            starts.setdefault(launch.start, []).append(launch)
    reasons = []
    for (launcher, start, count), here in starts.items():
        seen = {launch.part for launch in here if launch.part is not None}
        if missing := _absent(range(count or 0), seen):
            named = _some([here[0].named(part) for part in missing], (count or 0) - len(seen))
            by = " ".join(word for word in (launcher, start) if word)
            reasons.append(f"{named} (started by {by}) wrote nothing into the run directory: no ftprof began there")
    return reasons


def ranks_missing(runs: list[Journal], processes: list[Journal]) -> list[str]:
    """Ranks that launchers' variables tell of, and that kept no journal; those of missing parts are named as such.

    Where each part of a start keeps a record of its own they are in the others: ``elsewhere`` says so.
    """
    if not any(launch.shared for launch in _launches(runs)):
        return []
    begun: dict[int | None, set[int]] = {}
    for launch in _launches(runs):
        if launch.unit == "rank" and launch.part is not None:
            begun.setdefault(launch.parts, set()).add(launch.part)
    reasons = []
    for size, seen in worlds(journal.header["rank"] for journal in processes).items():
        here = sorted(begun[size]) if size in begun else range(size)
        if missing := _absent(here, seen):
            named = _some([f"rank {rank}" for rank in missing], len(here) - len(seen.intersection(here)))
            reasons.append(f"{named} of {size} kept no journal: what was done there is not counted")
    return reasons


def _launches(runs: list[Journal]) -> Iterator[Launch]:
    return (journal.launch for journal in runs if journal.launch is not None)


def _absent(expected: Sequence[int], seen: set[int]) -> list[int]:
    """The first few that were not seen: there may be any number."""
    return list(islice((number for number in expected if number not in seen), _NAMED))


def _some(names: list[str], count: int) -> str:
    return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")


def _place(journal: Journal) -> str:
    launch = journal.launch
    part = "" if launch is None or launch.part is None else f" ({launch.named(launch.part)})"
    return f"{journal.header['host']}{part}"


def time_lost(meters: list[Journal], end_us: int) -> list[str]:
    """Time in which contexts were not counted, each reason once. The peak bounds it. The run ended at ``end_us``."""
    places: dict[tuple[str, str, str], list[_Place]] = {}
    for journal in meters:
        for context in journal.contexts:
            for why, time_us in _times_lost(journal, context, end_us).items():
                places.setdefault(why, []).append(_Place(journal.identity, context.device["device"], time_us))
    return [
        f"{what}: {duration(sum(place.time_us for place in where))} not counted on {_all_of(where)}"
        + (f" ({call})" if call else "")
        + (f"; {remedy}" if remedy else "")
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


def _is_death(problem: str) -> bool:
    return problem.startswith(COMMAND_DIED)


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


def _all_of(places: list[_Place]) -> str:
    processes = list(dict.fromkeys(place.process for place in places))
    devices = sorted({place.device for place in places})
    which = ", ".join(devices[:3]) + (", ..." if len(devices) > 3 else "")
    return f"{which} of {processes[0] if len(processes) == 1 else f'{len(processes)} processes'}"
