"""Why a record does not hold all that a run did, each reason as one sentence that begins with what happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from ftprof.record.elsewhere import worlds
from ftprof.record.journal import Journal
from ftprof.record.launch import Launch

_NAMED = 4
SEE_MORE = "--subscribe sees contexts that a program makes itself"
NOT_COUNTED = "used torch and was not counted"  # what is said of a process that no hook saw
NOT_IN_THIS_RUN = "whose processes are not in this one"  # of a run inside another one
GOES_ON = "the block goes on: this is what was counted so far"
COMMAND_DIED = "the command died of signal"


def run_problems(runs: list[Journal]) -> list[str]:
    """What those that wrapped the run say, and nothing bounds."""
    if not runs:
        return ["the journal of the ftprof that wrapped the run is missing"]
    problems = [(journal, problem) for journal in runs for problem in journal.problems]
    return [f"ftprof on {j.header['host']}: {problem}" for j, problem in problems if not _is_death(problem)]


def not_watched(runs: list[Journal]) -> list[str]:
    """What whole devices do not bound either: a method that was not to be had, parts and time that nobody watched.

    Nor work in contexts that counters did not see: what counters should have counted and did not is never ``below``.
    """
    return [
        *run_problems(runs),
        *parts_missing(launch for launch in _launches(runs)),
        *runs_not_ended(runs),
    ]


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


def runs_torn(runs: list[Journal]) -> list[str]:
    """Runs whose own journal ends in half a line."""
    return [
        f"the last line of the journal of the ftprof on {_place(journal)} is torn and was left out"
        for journal in runs
        if journal.torn
    ]


def journals_gone(runs: list[Journal], names: Iterable[str]) -> list[str]:
    """The names of journals that were there when a run ended, and are not among these."""
    told = {name for journal in runs if journal.end is not None for name in journal.end.get("journals", ())}
    return sorted(told - set(names))


def journals_missing(runs: list[Journal], names: Iterable[str]) -> list[str]:
    """That they are missing, as a sentence."""
    missing = journals_gone(runs, names)
    if not missing:
        return []
    named = _some(missing[:_NAMED], len(missing))
    return [f"{named}: gone from the run directory since the run ended; what it counted is missing"]


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
            present = len(seen & begun[size]) if size in begun else sum(rank in here for rank in seen)
            named = _some([f"rank {rank}" for rank in missing], len(here) - present)
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


def _is_death(problem: str) -> bool:
    return problem.startswith(COMMAND_DIED)
