"""The schedule: who counts when, drawn by the native code."""

from __future__ import annotations

from collections import Counter
from itertools import groupby, pairwise

import pytest

from ftprof import _native

HOPPER = ["base", *["rotating"] * 3, "cuda-core", "link", *["integer"] * 3, *["sparse"] * 2]
ADA = ["base", *["rotating"] * 4, "cuda-core", "link", *["integer"] * 5, *["sparse"] * 3]
TURING_WITHOUT_TENSOR_CORES = ["base", "cuda-core", "link"]
TURN = 204  # slots in which every group of Hopper's plan has its turn


# Where a change of the group costs nothing, code may be patched, and slots are short.
CHEAP = {"first_slot_us": 100_000, "change_share": 0, "cuda_core_windows": 1}


def settings(**changes: int) -> _native.ScheduleSettings:
    chosen = _native.ScheduleSettings()
    for name, value in changes.items():
        setattr(chosen, name, value)
    return chosen


def take(roles: list[str], count: int, seed: int = 1, **changes: int) -> list[tuple[int, int, int]]:
    return _native.Schedule(roles, settings(**{**CHEAP, **changes}), seed).take(count)


def visits(slots: list[tuple[int, int, int]]) -> dict[int, list[list[int]]]:
    """By stratum, the runs of slots that are not the base group's; one that goes on at the begin is one."""
    found: dict[int, list[list[int]]] = {}
    for number in {stratum for stratum, _, _ in slots}:
        groups = [group for stratum, group, _ in slots if stratum == number]
        runs = [list(run) for others, run in groupby(groups, key=bool) if others]
        if len(runs) == 2 and groups[0] and groups[-1]:
            runs = [runs[1] + runs[0]]
        found[number] = runs
    return found


def test_the_same_seed_gives_the_same_slots_on_every_platform() -> None:
    slots = take(["base", "rotating", "cuda-core", "link"], 32, 2026, slots=8, strata_of_turn=2, turns_of_length=1,
                 most_percent=90)  # fmt: skip
    assert [group for _, group, _ in slots] == [
        0, 0, 1, 3, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 2, 1, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0,
    ]  # fmt: skip
    assert [stratum for stratum, _, _ in slots] == [index // 8 for index in range(32)]
    assert [length for _, _, length in slots] == [
        (100_000 if index < 16 else 200_000) // (2 if group == 2 else 1) for index, (_, group, _) in enumerate(slots)
    ]
    assert take(HOPPER, 5000, 1) == take(HOPPER, 5000, 1) != take(HOPPER, 5000, 2)


@pytest.mark.parametrize("roles", [HOPPER, ADA, TURING_WITHOUT_TENSOR_CORES, ["base"], ["rotating", "base"]])
def test_every_group_has_its_turns(roles: list[str]) -> None:
    slots = take(roles, 8 * TURN)
    for begin in range(0, len(slots), TURN):
        counts = Counter(group for _, group, _ in slots[begin : begin + TURN])
        expected = {"rotating": 6, "base": counts[roles.index("base")]}
        assert counts == {group: expected.get(role, 1) for group, role in enumerate(roles)}
        assert counts[roles.index("base")] >= 0.83 * TURN
    rotating = [group for group, role in enumerate(roles) if role == "rotating"]
    for stratum in range(8 * 6):
        mine = [group for number, group, _ in slots if number == stratum]
        assert len(mine) == 34
        assert all(mine.count(group) == 1 for group in rotating)


def test_a_place_is_as_likely_as_any_other() -> None:
    runs = [take(HOPPER, TURN, seed) for seed in range(4000)]
    for group, bins in ((1, 34), (5, 204), (4, 204)):
        places = [index for run in runs for index, (_, mine, _) in enumerate(run) if mine == group]
        found = Counter(place % bins for place in places)
        expected = len(places) / bins
        chi_squared = sum((found[place] - expected) ** 2 / expected for place in range(bins))
        assert abs(chi_squared - (bins - 1)) < 4.5 * (2 * (bins - 1)) ** 0.5, group


def test_the_other_groups_are_visited_one_after_the_other() -> None:
    """A change costs: there is one before each of their windows and one after the last."""
    found = visits(take(HOPPER, 20 * TURN))
    assert all(len(runs) == 1 and {1, 2, 3} <= set(runs[0]) for runs in found.values())
    orders = Counter(tuple(group for group in run if group <= 3) for (run,) in found.values())
    assert len(orders) == 6


def test_changes_take_their_share_of_the_time() -> None:
    def changes_in(slots: list[tuple[int, int, int]]) -> int:
        return sum(before[1] != after[1] for before, after in pairwise(slots))

    for changed, took_us in (({}, 180_000), ({"change_us": 720_000}, 720_000), ({"first_slot_us": 500_000}, 180_000)):
        slots = _native.Schedule(HOPPER, settings(turns_of_length=1000, **changed), 1).take(100_000)
        time_us = sum(length for *_, length in slots)
        assert 1 / 430 < changes_in(slots) * took_us / time_us < 1 / 390
        assert len(set(Counter(stratum for stratum, _, _ in slots[:-2000]).values()) - {2000}) <= 2


def test_slots_double_up_to_the_longest_and_strata_grow_from_there() -> None:
    slots = take(HOPPER, 120_000)
    lengths = [length for _, group, length in slots if group == 0]
    assert sorted(set(lengths)) == [100_000 * 2**power for power in range(7)] + [10_000_000]
    assert lengths == sorted(lengths)
    of_stratum = Counter(stratum for stratum, _, _ in slots)
    assert sorted(set(list(of_stratum.values())[:-1])) == [34, 68, 170, 340]
    age = 0.0
    strata = {}
    for stratum, _, length in slots:
        age += length / 1e6
        strata.update({limit: stratum for limit in (60, 864_000) if age <= limit})
    assert strata[60] >= 16
    assert strata[864_000] < 800


def test_short_slots_that_may_not_grow() -> None:
    slots = take(HOPPER, 60_000, longest_slot_us=100_000)
    assert {length for _, group, length in slots if group != 4} == {100_000}
    windows = Counter((stratum, group) for stratum, group, _ in slots)
    of_stratum = Counter(stratum for stratum, _, _ in slots)
    last = slots[-1][0]
    assert of_stratum[last - 1] > 34
    assert all(windows[stratum, 1] * 34 == of_stratum[stratum] for stratum in range(last))


def test_patched_code_is_off_and_where_it_is_asked_for_rare_and_short() -> None:
    slots = take(HOPPER, 20_000)
    patched = [(index, length) for index, (_, group, length) in enumerate(slots) if group == 4]
    assert all(length == min(slots[index - 1 if index else 1][2] // 2, 1_000_000) for index, length in patched[:40])
    time = sum(length for *_, length in slots)
    assert sum(length for _, length in patched) < 0.0026 * time
    shipped = _native.Schedule(HOPPER, settings(), 1).take(100_000)
    assert {4, 5} & {group for _, group, _ in shipped} == set()


def test_most_of_the_time_is_the_base_groups_on_a_chip_with_many_groups() -> None:
    roles = ["base", *["rotating"] * 12, *["sparse"] * 20]
    slots = take(roles, 50_000)
    counts = Counter(group for _, group, _ in slots)
    assert counts[0] >= 0.79 * len(slots)
    assert min(counts.values()) > 0


@pytest.mark.parametrize(
    ("roles", "changes", "reason"),
    [
        ([], {}, "not exactly one base group"),
        (["rotating"], {}, "not exactly one base group"),
        (["base", "base"], {}, "not exactly one base group"),
        (["base", "surface"], {}, "no role: surface"),
        (["base"], {"first_slot_us": 0}, "first slot"),
        (["base"], {"longest_slot_us": 99_999}, "shorter than the first"),
        (["base"], {"longest_slot_us": 11_000_000}, "longer than 10 s"),
        (["base"], {"slots": 0}, "without slots"),
        (["base"], {"other_windows": 0}, "without windows"),
        (["base"], {"most_percent": 100}, "no room"),
        (["base"], {"change_share": -1}, "no cost"),
    ],
)
def test_what_makes_no_sense_is_refused(roles: list[str], changes: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        take(roles, 1, **changes)


def test_slots_stay_short_enough_for_exact_counts() -> None:
    # Dense fp8 on an H200 at its highest clock, and dense fp4 on a B200. A window is longer than its slot.
    for rate in (132 * 8192 * 1.98e9, 148 * 32768 * 1.965e9):
        longest = _native.longest_exact_slot(rate)
        assert 0.49 * 2**53 < longest / 1e6 * rate <= 0.5 * 2**53
    assert _native.longest_exact_slot(1e12) == 10_000_000
