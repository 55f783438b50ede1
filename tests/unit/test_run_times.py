"""When runs were, and which parts of a start or world are not in a record."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import BEGAN_US, HOUR_US, analytic, process, run_info

from ftprof.record.elsewhere import with_notes
from ftprof.record.launch import Launch
from ftprof.record.merge import merge_records
from ftprof.record.record import Record
from ftprof.record.run_times import SLACK_US, at_once, groups_at_once, joined_times, parts_absent

SPANS = st.tuples(st.integers(0, 50), st.integers(0, 10)).map(lambda one: (one[0], one[0] + one[1]))
MINUTE_US = 60_000_000


def part(
    name: str, hour: float = 0, launch: Launch | None = None, rank: tuple[int, int] | None = None, hours: float = 1
) -> tuple[str, Record]:
    """One process of a run that began so many hours after the first."""
    began_us, ended_us = BEGAN_US + round(hour * HOUR_US), BEGAN_US + round((hour + hours) * HOUR_US)
    world = None if rank is None else {"rank": rank[0], "world_size": rank[1]}
    own = process(0, analytic().interval.low, "analytic", rank=world, began_us=began_us, last_us=ended_us)
    own = replace(own, identity=replace(own.identity, host=name))
    run = replace(run_info(run=name, launch=launch), began_us=began_us, ended_us=ended_us)
    return name, with_notes(analytic(runs=(run,), processes=(own,)))


def lacking(*records: tuple[str, Record]) -> list[str]:
    """What every order of merging says is elsewhere; the interval is open above exactly where something is."""
    said = set()
    for several in permutations(records):
        merged = merge_records(several) if len(several) > 1 else several[0][1]
        said.add(tuple(reason.partition(" are in")[0] for reason in merged.reasons if "are in this record" in reason))
    (one,) = said
    return list(one)


@pytest.mark.parametrize("how", ["ranks", "launches"])
def test_a_part_of_a_later_start_does_not_stand_for_one_of_an_earlier(how: str) -> None:
    """As where the same address, or none, is all that tells starts apart."""

    def one(name: str, number: int, hour: float, hours: float = 1) -> tuple[str, Record]:
        if how == "ranks":
            return part(name, hour, rank=(number, 2), hours=hours)
        return part(name, hour, launch=Launch(False, "torch", "127.0.0.1:29500", number, 2), hours=hours)

    first, second = one("a", 0, 0), one("b", 1, 0)
    assert lacking(first, second) == []
    assert lacking(first) == ["1 of 2 ranks"]
    assert lacking(first, second, one("c", 0, 10)) == ["1 of 2 ranks"]
    assert lacking(first, second, one("c", 0, 10), one("d", 1, 10.01)) == []
    # A process of one of them, such as one that loads data, began when the other had ended.
    assert lacking(one("a", 0, 0, 3), second, one("c", 0, 2, 0.5)) == []
    # One part was started again while the other went on.
    assert lacking(one("a", 0, 0, 3), one("b", 1, 0), one("c", 1, 1.5)) == []


def test_a_start_that_shares_a_directory_says_nothing_of_others() -> None:
    whole = part("s", launch=Launch(True, "SLURM", "job 1", 0, 1))
    other = part("p", launch=Launch(False, "SLURM", "job 2", 0, 2))
    assert lacking(whole) == []
    assert lacking(other) == lacking(whole, other) == ["1 of 2 ranks"]
    assert lacking(whole, other, part("q", launch=Launch(False, "SLURM", "job 2", 1, 2))) == []


def brute_force(here: list[tuple[int, tuple[int, int]]], count: int) -> int:
    def touches(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one[0] < other[1] + SLACK_US and other[0] < one[1] + SLACK_US

    numbers = {number for number, _ in here}
    here = [(n, span) for n in numbers for span in joined_times([span for m, span in here if m == n], SLACK_US)]
    absent = [
        number
        for number in numbers
        if any(not any(touches(span, own) for other, own in here if other == number) for _, span in here)
    ]
    return count - len(numbers) + len(absent)


@given(st.lists(st.tuples(st.integers(0, 3), SPANS), max_size=12))
def test_absent_parts_are_those_that_some_part_never_met(here: list[tuple[int, tuple[int, int]]]) -> None:
    """In minutes, so that the slack matters."""
    scaled = [(number, (begin * MINUTE_US, end * MINUTE_US)) for number, (begin, end) in here]
    assert parts_absent(scaled, 4) == brute_force(scaled, 4)


@given(st.lists(SPANS, max_size=12))
def test_joined_times_cover_what_their_parts_cover(spans: list[tuple[int, int]]) -> None:
    joined = joined_times(spans)
    assert {n for begin, end in spans for n in range(begin, end)} == {
        n for begin, end in joined for n in range(begin, end)
    }
    assert all(before[1] < after[0] for before, after in pairwise(joined))


@given(st.lists(st.lists(SPANS, min_size=1, max_size=3), max_size=8), st.integers(0, 3))
def test_groups_are_those_that_touch(times: list[list[tuple[int, int]]], slack: int) -> None:
    groups = groups_at_once([(spans, number) for number, spans in enumerate(times)], slack)
    assert sorted(number for group in groups for number in group) == list(range(len(times)))
    of = {number: index for index, group in enumerate(groups) for number in group}
    for one, spans in enumerate(times):
        wide = [(begin - slack, end + slack) for begin, end in spans]
        for other, others in enumerate(times):
            if at_once(wide, others):
                assert of[one] == of[other]
