"""The schedule: who counts when, drawn by the native code."""

from __future__ import annotations

from collections import Counter

import pytest

from ftprof import _native

HOPPER = ["base", *["rotating"] * 3, "cuda-core", "link", *["integer"] * 3, *["sparse"] * 2]
ADA = ["base", *["rotating"] * 4, "cuda-core", "link", *["integer"] * 5, *["sparse"] * 3]
TURING_WITHOUT_TENSOR_CORES = ["base", "cuda-core", "link"]
TURN = 204  # slots in which every group of Hopper's plan has its turn


def settings(**changes: int) -> _native.ScheduleSettings:
    chosen = _native.ScheduleSettings()
    for name, value in changes.items():
        setattr(chosen, name, value)
    return chosen


def take(roles: list[str], count: int, seed: int = 1, **changes: int) -> list[tuple[int, int, int]]:
    return _native.Schedule(roles, settings(**changes), seed).take(count)


def test_the_same_seed_gives_the_same_slots_on_every_platform() -> None:
    slots = take(["base", "rotating", "cuda-core", "link"], 32, 2026, slots=8, strata_of_turn=2, turns_of_length=1,
                 most_percent=90)  # fmt: skip
    assert [group for _, group, _ in slots] == [
        0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 3, 0,
        0, 0, 0, 0, 0, 1, 0, 3, 1, 0, 0, 0, 2, 0, 0, 0,
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
    # Two groups' places know nothing of each other, but that they differ.
    first, second = (
        [next(i for i, slot in enumerate(run[:34]) if slot[1] == group) for run in runs] for group in (1, 2)
    )
    mean = 33 / 2
    covariance = sum((a - mean) * (b - mean) for a, b in zip(first, second, strict=True)) / len(runs)
    assert covariance == pytest.approx(-(34**2 - 1) / 12 / 33, abs=6)


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


def test_patched_code_is_rare_and_short_and_can_be_off() -> None:
    slots = take(HOPPER, 20_000)
    patched = [(index, length) for index, (_, group, length) in enumerate(slots) if group == 4]
    assert all(length == min(slots[index - 1 if index else 1][2] // 2, 1_000_000) for index, length in patched[:40])
    time = sum(length for *_, length in slots)
    assert sum(length for _, length in patched) < 0.0026 * time
    assert 4 not in {group for _, group, _ in take(HOPPER, 20_000, cuda_core_windows=0)}


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
    ],
)
def test_what_makes_no_sense_is_refused(roles: list[str], changes: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        take(roles, 1, **changes)


def test_slots_stay_short_enough_for_exact_counts() -> None:
    # Dense fp8 on an H200 at its highest clock, and dense fp4 on a B200.
    for rate in (132 * 8192 * 1.98e9, 148 * 32768 * 1.965e9):
        longest = _native.longest_exact_slot(rate)
        assert 0.85 * 2**53 < longest / 1e6 * rate < 2**53
    assert _native.longest_exact_slot(1e12) == 10_000_000
