"""Estimates from windows: exact parts by hand, properties that hold for any windows, the study of known workloads."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from random import Random
from types import ModuleType

import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from ftprof.record.ratio import Hideout, Pooled, hidden, joined, student_t
from ftprof.record.rollup import Stratum, Sums, Tally
from ftprof.record.spans import Context, Group, Metric
from ftprof.record.survey import Estimate, Total, survey, total

CYCLES = Metric("sm__cycles_active.sum", "", "cycles", 0)
INSTRUCTIONS = Metric("smsp__thread_inst_executed.sum", "", "instructions", 0)
PATCHED = Metric("smsp__sass_thread_inst_executed.sum", "", "instructions", 0)
BF16 = Metric("bf16", "bf16", "floating", 1)
TF32 = Metric("tf32", "tf32", "floating", 1)
FP64 = Metric("fp64", "fp64", "floating", 1)
INT8 = Metric("int8", "int8", "integer", 1)
FADD = Metric("fadd", "fp32", "cuda-core", 1)
FFMA = Metric("ffma", "fp32", "cuda-core", 2)
BASE = Group("base", (BF16, CYCLES))
ROTATING = Group("rotating", (TF32, FP64, CYCLES))
CUDA_CORE = Group("cuda-core", (FADD, FFMA, PATCHED))
LINK = Group("link", (INSTRUCTIONS, CYCLES))
INTEGER = Group("integer", (INT8, CYCLES))
PLAN = (BASE, ROTATING, CUDA_CORE, LINK, INTEGER)
PEAKS = {"bf16": 10**9, "tf32": 5 * 10**8, "fp64": 10**8, "fadd": 10**8, "ffma": 10**8, "int8": 10**9}


@dataclass(frozen=True)
class Window:
    stratum: int
    group: int
    begin_us: int
    end_us: int
    counts: tuple[int, ...]


def one_after_another(
    rows: Iterable[tuple[int, int, tuple[int, ...]]], length_us: int = 1000, edge_us: int = 0, begin_us: int = 0
) -> list[Window]:
    """Windows of one length from (stratum, group, counts)."""
    windows = []
    for stratum, group, counts in rows:
        windows.append(Window(stratum, group, begin_us, begin_us + length_us, counts))
        begin_us += length_us + edge_us
    return windows


def context(
    windows: Sequence[Window],
    groups: tuple[Group, ...] = PLAN,
    end_us: int | None = None,
    gaps: tuple[tuple[int, int], ...] = (),
    peaks: dict[str, int] | None = None,
) -> Context:
    tally = Tally([group.denominator for group in groups])
    for window in windows:
        tally.add_window(window.stratum, window.group, window.begin_us, window.end_us, window.counts)
    end_us = max([w.end_us for w in windows], default=0) if end_us is None else end_us
    return Context(groups, tally.strata, 0, end_us, gaps, PEAKS if peaks is None else peaks)


def of(estimates: Sequence[Estimate], name: str) -> Estimate:
    (found,) = [estimate for estimate in estimates if estimate.metric.name == name]
    return found


# By hand


def test_everything_in_the_base_group_is_exact() -> None:
    windows = one_after_another((0, 0, (2**52 + index, 10 + index)) for index in range(40))
    estimate = of(survey(context(windows)), "bf16")
    measured = 40 * 2**52 + 780
    assert (estimate.measured, estimate.rotation, estimate.gaps) == (measured, 0, 0)
    assert estimate.low == estimate.value == estimate.high == measured
    assert estimate.upper_limit is None
    assert estimate.time_share == estimate.cycles_share == 1
    assert estimate.windows == 40


def test_rotation_is_the_ratio_times_the_cycles_of_other_windows() -> None:
    rows = [(0, 0, (100, 10)), (0, 1, (30, 0, 10)), (0, 0, (100, 14)), (0, 1, (33, 0, 11)), (0, 4, (7, 5))]
    estimates = survey(context(one_after_another(rows)))
    tf32 = of(estimates, "tf32")
    assert (tf32.measured, tf32.rotation) == (63, 87)  # 63 in 21 of 50 cycles
    assert (tf32.cycles_share, tf32.time_share) == (Fraction(21, 50), Fraction(2, 5))
    bf16 = of(estimates, "bf16")
    assert (bf16.measured, bf16.rotation) == (200, 217)  # 200/24 x 26 = 216.67
    assert of(estimates, "int8").rotation == 63
    both = total([estimates])
    assert (both.measured, both.rotation) == (263, 304)
    assert both.method == "sampled"


def test_idle_windows_of_others_hold_nothing() -> None:
    rows = [(0, 0, (100, 10)), *[(0, 1, (0, 0, 0))] * 5, (0, 0, (100, 10))]
    bf16 = of(survey(context(one_after_another(rows))), "bf16")
    assert bf16.rotation == 0
    assert bf16.low == bf16.value == 200
    assert bf16.high == 200 + 5 * PEAKS["bf16"] // 1000  # of five milliseconds, as of what was never seen


def test_edges_take_the_neighbours_rate_and_between_nothing_and_twice_that() -> None:
    rows = [(0, 0, (1000, 10_000))] * 100
    estimate = of(survey(context(one_after_another(rows, length_us=990, edge_us=10), end_us=100_000)), "bf16")
    assert estimate.measured == 100_000
    assert estimate.gaps == 1010  # 1,000 us at 1,010.1 a millisecond
    hidden = 1000 * PEAKS["bf16"] // 1_000_000  # no window says that nothing hid in the edges
    assert (estimate.low, estimate.high) == (100_000, 102_020 + hidden)
    assert total([(estimate,)]).method == "sampled"


def test_a_thousandth_in_the_edges_is_still_counters() -> None:
    rows = [(0, 0, (10_000, 10_000))] * 1000
    windows = one_after_another(rows, length_us=9_995, edge_us=5)
    assert total([survey(context(windows, end_us=10**7))]).method == "counters"


def test_a_gap_reaches_from_nothing_to_the_peak() -> None:
    windows = one_after_another([(0, 0, (1000, 10_000))] * 50) + one_after_another(
        [(0, 0, (1000, 10))] * 50, begin_us=70_000
    )
    gaps = ((50_000, 70_000),)
    estimate = of(survey(context(windows, gaps=gaps)), "bf16")
    assert estimate.gaps == 20_000
    assert (estimate.low, estimate.high) == (100_000, 100_000 + 20_000 * 1000)
    unknown = of(survey(context(windows, gaps=gaps, peaks={})), "bf16")
    assert (unknown.low, unknown.gaps, unknown.high) == (100_000, 20_000, None)
    assert total([(unknown,)]).high is None
    # A process that was killed: its last time, after the last window that it wrote.
    killed = of(survey(context(windows[:50], end_us=51_000, gaps=((50_000, 51_000),))), "bf16")
    assert (killed.low, killed.high) == (50_000, 50_000 + 1_000_000)


def test_long_edges_count_as_gaps() -> None:
    rows = [(0, 0, (1000, 10_000))] * 10
    windows = one_after_another(rows, length_us=800, edge_us=200)
    estimate = of(survey(context(windows, end_us=10_000)), "bf16")
    assert (estimate.low, estimate.gaps, estimate.high) == (10_000, 2500, 10_000 + 2_000_000)


def test_no_window_at_all_is_bounded_by_the_peak() -> None:
    for windows in ([], [Window(0, 2, 10, 900, (1, 1, 10))]):
        estimates = survey(context(windows, end_us=1000))
        bf16 = of(estimates, "bf16")
        assert (bf16.measured, bf16.low, bf16.high, bf16.upper_limit) == (0, 0, 10**6, 10**6)
    assert of(survey(context([], end_us=1000, peaks={})), "bf16").high is None
    assert of(survey(context([])), "bf16").high == 0


def test_only_zeros_give_an_upper_limit_by_the_rule_of_three() -> None:
    rows = [(stratum, 1 if slot == stratum % 30 else 0, (0, 0, 9) if slot == stratum % 30 else (90, 9))
            for stratum in range(60) for slot in range(30)]  # fmt: skip
    estimates = survey(context(one_after_another(rows)))
    tf32, fp64 = of(estimates, "tf32"), of(estimates, "fp64")
    # 60 windows of 1 ms, one in 30: three of them stand for 3 x 29 ms of others at the peak, and for their own time.
    assert tf32.upper_limit == tf32.high == pytest.approx(0.090 * PEAKS["tf32"], rel=1e-9)
    assert fp64.upper_limit == pytest.approx(0.090 * PEAKS["fp64"], rel=1e-9)
    assert (tf32.value, tf32.low) == (0, 0)
    # A group without a window may have been anywhere.
    assert of(estimates, "int8").upper_limit == of(estimates, "int8").high == 1.8 * PEAKS["int8"]
    both = total([estimates])
    # Together no more than the worst of them: what hides from one group's windows spends the same three.
    assert both.unseen == of(estimates, "ffma").high * 2 + tf32.high
    seen = [estimate for estimate in estimates if estimate.role != "cuda-core"]
    assert total([seen]).unseen == tf32.high
    assert total([seen] * 8).unseen == tf32.high
    assert total([survey(context(one_after_another(rows), peaks={}))]).high is None


def test_longer_slots_hide_more() -> None:
    rows = [(s, 1 if slot == 0 else 0, (0, 0, 9) if slot == 0 else (90, 9)) for s in range(32) for slot in range(30)]
    short = one_after_another(rows)
    long = one_after_another(((s + 32, group, counts) for s, group, counts in rows), 10_000, begin_us=short[-1].end_us)
    limit = of(survey(context(short + long)), "tf32").upper_limit
    assert limit == pytest.approx(0.9 * PEAKS["tf32"], rel=1e-9)  # three windows of the long ones, not of all


def constant_rates(strata: int = 40, patched_rate: int = 20) -> list[Window]:
    """Everything keeps its proportion: 3 bf16, 2 instructions a cycle, 1 FFMA in 4 instructions."""
    rows: list[tuple[int, int, tuple[int, ...]]] = []
    for stratum in range(strata):
        cycles = 100 + 10 * (stratum % 3)
        rows += [(stratum, 0, (3 * cycles, cycles))] * 10
        rows += [(stratum, 1, (0, 0, cycles)), (stratum, 3, (2 * cycles, cycles))]
        rows += [(stratum, 2, (0, patched_rate // 4, patched_rate))]
    return one_after_another(rows)


def test_patched_code_is_linked_by_instructions() -> None:
    windows = constant_rates()
    estimates = survey(context(windows))
    cycles = sum(12 * (100 + 10 * (stratum % 3)) for stratum in range(40))
    ffma = of(estimates, "ffma")
    assert ffma.measured == 5 * 40
    assert ffma.rotation == cycles // 2
    assert ffma.low == ffma.measured + ffma.rotation - math.ceil(ffma.errors.below)
    assert ffma.time_share == Fraction(1, 13)
    assert ffma.cycles_share == Fraction(10 * 40, cycles + 10 * 40)
    # The 20 instructions of each patched window stand for 10 cycles, in which bf16 did 30.
    bf16 = of(estimates, "bf16")
    assert bf16.measured + bf16.rotation == 3 * (cycles + 10 * 40)
    assert of(estimates, "fadd").upper_limit is not None
    floating = total([estimates])
    assert floating.measured == bf16.measured + 2 * ffma.measured
    assert floating.rotation == bf16.rotation + 2 * ffma.rotation
    alone = total([estimates], lambda metric: metric.precision == "fp32")
    assert alone.value == 2 * ffma.value


def test_patched_code_without_link_windows_is_bounded_by_the_peak() -> None:
    windows = [window for window in constant_rates() if window.group != 3]
    ffma = of(survey(context(windows)), "ffma")
    assert (ffma.low, ffma.rotation) == (200, 0)
    assert ffma.high == 200 + (windows[-1].end_us - 40 * 1000) * 100
    bf16 = of(survey(context(windows)), "bf16")
    assert bf16.high is not None
    assert bf16.high >= bf16.value + 40 * 1000 * 1000 - bf16.gaps  # the patched windows are gaps for all others
    assert of(survey(context(windows, peaks={})), "ffma").high is None
    assert of(survey(context(windows, peaks={})), "bf16").high is None


def test_patched_windows_in_which_nothing_ran_hold_nothing() -> None:
    windows = [
        replace(window, counts=tuple(0 for _ in window.counts)) if window.group in (2, 3) else window
        for window in constant_rates()
    ]
    estimates = survey(context(windows))
    assert of(estimates, "bf16").gaps == 0
    assert of(estimates, "ffma").upper_limit is not None


def test_counts_without_cycles_are_bounded_by_the_peak() -> None:
    rows = [(0, 0, (100, 10)), (0, 1, (30, 0, 0)), (0, 0, (100, 14))]
    tf32 = of(survey(context(one_after_another(rows))), "tf32")
    assert (tf32.low, tf32.value, tf32.high) == (30, 30, 30 + 2000 * 500)


def test_a_phase_that_begins_between_two_windows_is_uncertain() -> None:
    """All windows before stratum 64 are zero, all after it are not: the phase began somewhere between these two."""
    rows = [(stratum, int(slot == 5), ((0, 0, 1000) if stratum < 64 else (50, 0, 1000)) if slot == 5 else (0, 1000))
            for stratum in range(128) for slot in range(10)]  # fmt: skip
    tf32 = of(survey(context(one_after_another(rows))), "tf32")
    assert tf32.measured + tf32.rotation == 32_000
    # Half a stratum more or less is 250 at the least.
    assert 250 <= tf32.errors.above <= 4000


def test_errors_of_a_group_add_up_and_those_of_different_groups_do_not() -> None:
    rows: list[tuple[int, int, tuple[int, ...]]] = []
    for stratum in range(30):
        rows += [(stratum, 0, (100, 10))] * 8
        rows += [(stratum, 1, (10 + stratum % 2, 20 + stratum % 3, 10)), (stratum, 4, (10 + stratum % 5, 10))]
    estimates = survey(context(one_after_another(rows), peaks={}))  # with peaks there is what bursts may have hidden
    tf32, fp64, int8 = (of(estimates, name).errors.above for name in ("tf32", "fp64", "int8"))
    assert min(tf32, fp64, int8) > 0

    def width(*names: str) -> float:
        summed = total([estimates], lambda metric: metric.name in names)
        assert summed.high is not None
        return summed.high - summed.value

    assert width("tf32", "fp64") == pytest.approx(tf32 + fp64, abs=2)
    assert width("tf32", "int8") == pytest.approx(math.hypot(tf32, int8), abs=2)
    two = total([estimates, estimates], lambda metric: metric.name == "tf32")
    assert two.high is not None
    assert two.high - two.value == pytest.approx(math.sqrt(2) * tf32, abs=2)
    assert total([]) == Total(0, 0, 0, 0, 0, 0, Fraction(0), Fraction(0))


def test_a_group_without_a_denominator_is_refused() -> None:
    with pytest.raises(ValueError, match="a base group with 0 metrics of cycles"):
        survey(Context((Group("base", (BF16,)),), (), 0, 1))


# Statistics


def test_student_t() -> None:
    # scipy.stats.t.ppf(0.975, nu)
    known = {1: 12.706204736, 2: 4.302652730, 3: 3.182446305, 4: 2.776445105, 5: 2.570581836, 7: 2.364624252,
             10: 2.228138852, 11: 2.200985160, 12: 2.178812830, 15: 2.131449546, 20: 2.085963447, 30: 2.042272456,
             60: 2.000297822, 120: 1.979930405, 1000: 1.962339081, 10**12: 1.959963985}  # fmt: skip
    for degrees, quantile in known.items():
        assert student_t(degrees) == pytest.approx(quantile, abs=2e-5)
    assert student_t(0.3) == student_t(1)
    assert student_t(5.99) == student_t(5)
    assert student_t(math.inf) == pytest.approx(1.959964, abs=1e-6)
    assert all(student_t(n) > student_t(n + 1) for n in range(1, 200))


def test_hidden() -> None:
    assert hidden([]) == 0
    assert hidden([Hideout(0.01, 10_000, 1.0)]) == pytest.approx(300)
    assert hidden([Hideout(0.01, 100, 1.0)]) == 100  # there is no more
    assert hidden([Hideout(0.0, 500, 2.0), Hideout(0.01, 10_000, 1.0)]) == pytest.approx(1300)
    assert hidden([Hideout(0.01, 10_000, 1.0), Hideout(0.01, 10_000, 5.0)]) == pytest.approx(1500)
    assert hidden([Hideout(0.01, 10_000, 0.0)]) == 0


def test_joined() -> None:
    assert joined([], 2) == []
    assert joined([0, 0], 2) == [range(2)]
    assert joined([1, 0, 1, 2, 0, 1], 2) == [range(3), range(3, 6)]
    assert joined([1] * 5, 2) == [range(2), range(2, 5)]


def test_beale_takes_out_the_bias_of_few_windows() -> None:
    # All pairs with replacement out of a small population of (count, denominator), whose ratio is 14/12.
    population = [(1, 3), (2, 4), (11, 5)]
    plain = beale = Fraction(0)
    for x1, d1 in population:
        for x2, d2 in population:
            pair = Pooled(2, x1 + x2, x1 * x1 + x2 * x2, x1 * d1 + x2 * d2, d1 + d2, d1 * d1 + d2 * d2)
            plain += Fraction(x1 + x2, d1 + d2) / 9
            beale += pair.ratio / 9
    assert abs(beale - Fraction(14, 12)) < abs(plain - Fraction(14, 12)) / 4


# Any windows


@st.composite
def runs(draw: st.DrawFn) -> list[Window]:
    """Windows of a run in order, of any group and length, with edges."""
    windows, now, stratum = [], draw(st.integers(0, 100)), 0
    for _ in range(draw(st.integers(1, 25))):
        group = draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4]))
        cycles = draw(st.integers(0, 10**6))
        counts = [draw(st.integers(0, 2**53 - 1) | st.just(0)) for _ in PLAN[group].metrics[:-1]]
        if group == 2:  # kinds of instructions, and all instructions
            counts = [min(count, cycles // 2) for count in counts]
        length = draw(st.integers(1, 10_000))
        windows.append(Window(stratum, group, now, now + length, (*counts, cycles)))
        now += length + draw(st.integers(0, 300))
        stratum += draw(st.integers(0, 1))
    return windows


def rolled_up(strata: Sequence[Stratum]) -> list[Stratum]:
    """Through a journal's line and back."""
    metrics = [len(group.metrics) for group in PLAN]
    lines = [json.dumps(stratum.to_json(0)) for stratum in strata]
    return [Stratum.from_json(json.loads(line), metrics) for line in lines]


@given(runs(), st.integers(0, 25), st.booleans())
@settings(max_examples=200, deadline=None)
def test_roll_ups_give_the_estimate_of_their_windows(windows: list[Window], cut: int, known: bool) -> None:
    peaks = PEAKS if known else {}
    from_windows = survey(context(windows, peaks=peaks))
    tally = Tally([group.denominator for group in PLAN])
    # Finished strata are rolled up, at two moments; the rest comes as windows, and first.
    whole = context(windows, peaks=peaks)
    finished = [stratum for stratum in whole.strata if stratum.number < cut]
    for window in windows:
        if window.stratum >= cut:
            tally.add_window(window.stratum, window.group, window.begin_us, window.end_us, window.counts)
    tally.add_strata(rolled_up(finished[len(finished) // 2 :]))
    tally.add_strata(rolled_up(finished[: len(finished) // 2]))
    from_roll_ups = survey(Context(PLAN, tally.strata, 0, whole.end_us, (), peaks))
    assert from_roll_ups == from_windows
    assert total([from_roll_ups]) == total([from_windows])


@given(runs(), st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 50_000)), max_size=3), st.booleans())
@settings(max_examples=200, deadline=None)
def test_what_was_measured_is_never_doubted(windows: list[Window], gaps: list[tuple[int, int]], known: bool) -> None:
    found = context(windows, end_us=400_000, gaps=tuple((a, a + b) for a, b in gaps), peaks=PEAKS if known else {})
    estimates = survey(found)
    for estimate in estimates:
        index = [metric.name for metric in PLAN[estimate.group].metrics].index(estimate.metric.name)
        assert estimate.measured == sum(w.counts[index] for w in windows if w.group == estimate.group)
        assert estimate.measured <= estimate.low <= estimate.value
        assert estimate.high is None or estimate.value <= estimate.high
        assert (estimate.upper_limit is None) == (estimate.measured > 0 or estimate.high is None)
        assert 0 <= estimate.time_share <= 1
        assert 0 <= estimate.cycles_share <= 1
        assert known == (estimate.high is not None) or not known
    for wanted in (lambda m: m.kind == "floating", lambda m: m.precision == "fp32", lambda m: True):
        summed = total([estimates], wanted)
        mine = [estimate for estimate in estimates if wanted(estimate.metric)]
        assert summed.value == sum(estimate.metric.weight * estimate.value for estimate in mine)
        assert summed.measured <= summed.low <= summed.value
        assert summed.high is None or summed.high >= summed.value
        assert known == (summed.high is not None) or not known


@given(runs(), st.sampled_from([0, 1, 4]), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_windows_in_which_the_gpu_slept_add_nothing(windows: list[Window], group: int, number: int) -> None:
    before = {estimate.metric.name: estimate for estimate in survey(context(windows))}
    last = windows[-1]
    rows = [(last.stratum, group, (0,) * len(PLAN[group].metrics))] * number
    after = survey(context([*windows, *one_after_another(rows, begin_us=last.end_us)]))
    for estimate in after:
        assert estimate.measured == before[estimate.metric.name].measured
        assert estimate.low >= estimate.measured
        # What was over edges may be less, since their rate is. Nothing else changes: no cycles, no counts.
        if estimate.role != "cuda-core" and before[estimate.metric.name].gaps == 0 == estimate.gaps:
            assert estimate.rotation == before[estimate.metric.name].rotation


@given(runs())
@settings(max_examples=100, deadline=None)
def test_a_base_group_that_saw_all_has_no_error(windows: list[Window]) -> None:
    rows = [(window.stratum, 0, (window.counts[0], window.counts[-1])) for window in windows]
    estimate = of(survey(context(one_after_another(rows))), "bf16")
    assert (
        estimate.low == estimate.value == estimate.high == estimate.measured == sum(counts[0] for _, _, counts in rows)
    )


def test_before_the_first_window_a_program_prepares_and_its_peak_bounds_it() -> None:
    """No rate of later says anything of it. Of a chip without known peaks it is an edge, else nothing bounds a run."""
    rows = [(0, 0, (1000, 10_000))] * 100
    late = one_after_another(rows, begin_us=400_000)
    bf16 = of(survey(context(late)), "bf16")
    assert (bf16.measured, bf16.low, bf16.value) == (100_000, 100_000, 100_000)
    assert bf16.high == 100_000 + 400 * PEAKS["bf16"] // 1000
    with_gap = of(survey(context(late, gaps=((100_000, 400_000),))), "bf16")
    assert with_gap.value == 100_000 + 300_000, "a gap of its own has the neighbours' rate, and is counted once"
    assert with_gap.high == bf16.high
    unknown = of(survey(context(one_after_another(rows, begin_us=5_000), peaks={})), "bf16")
    assert (unknown.value, unknown.high) == (105_000, 110_000)


def test_a_window_that_was_cut_in_two_changes_nothing_but_its_number() -> None:
    windows = constant_rates()
    cut = [
        Window(w.stratum, w.group, begin, end, tuple(count // 2 for count in w.counts)) if w.group == 0 else w
        for w in windows
        for begin, end in (
            [(w.begin_us, w.begin_us + 500), (w.begin_us + 500, w.end_us)] if w.group == 0 else [(w.begin_us, w.end_us)]
        )
    ]
    whole, halves = (of(survey(context(part)), "bf16") for part in (windows, cut))
    assert (whole.measured, whole.rotation, whole.gaps) == (halves.measured, halves.rotation, halves.gaps)
    assert halves.windows == 2 * whole.windows


def cut_in(pieces: int, strata: int, busy: Sequence[int]) -> tuple[Estimate, ...]:
    """A survey of a run whose rotating group (tf32) is busy in these strata, each slot of which is cut into pieces."""
    tally, begin = Tally([group.denominator for group in PLAN]), 0
    for stratum in range(strata):
        counts = {0: (300, 100), 1: (50 * (stratum in busy), 0, 100)}
        for group in [*[0] * 10, 1]:
            for piece in range(pieces):
                part = tuple(count // pieces for count in counts[group])
                tally.add_window(stratum, group, begin, begin + 1000, part, piece > 0)
                begin += 1000
    return survey(Context(PLAN, tally.strata, 0, begin, (), PEAKS))


def test_pieces_of_a_slot_are_no_draws_of_their_own() -> None:
    """Fifty pieces of a window say no more of the moments that it did not see than the window did."""
    busy = range(30, 40)
    whole, cut = (of(cut_in(pieces, 40, busy), "tf32") for pieces in (1, 50))
    assert (whole.windows, cut.windows) == (40, 2000)
    assert (cut.measured, cut.rotation) == (whole.measured, whole.rotation)
    assert cut.errors.above == pytest.approx(whole.errors.above)
    assert cut.errors.below == pytest.approx(whole.errors.below)
    assert whole.errors.above > 0
    # By the rule of three: three slots, and a slot is fifty times as long in a run that is.
    never, never_cut = (of(cut_in(pieces, 40, ()), "tf32") for pieces in (1, 50))
    assert never_cut.upper_limit == pytest.approx(50 * (never.upper_limit or 0), rel=1e-6)


@given(runs(), st.randoms(use_true_random=False))
def test_cuts_change_nothing_but_the_number_of_windows(windows: list[Window], random: Random) -> None:
    def surveyed(most: int) -> list[Estimate]:
        tally = Tally([group.denominator for group in PLAN])
        for w in windows:
            cuts = sorted(random.randint(w.begin_us, w.end_us) for _ in range(random.randint(0, most)))
            left = list(w.counts)
            for number, (begin, end) in enumerate(pairwise([w.begin_us, *cuts, w.end_us])):
                part = list(left) if number == len(cuts) else [random.randint(0, count) for count in left]
                left = [count - mine for count, mine in zip(left, part, strict=True)]
                tally.add_window(w.stratum, w.group, begin, end, part, number > 0)
        rolled = Tally([group.denominator for group in PLAN])
        rolled.add_strata(Stratum.from_json(s.to_json(0), [len(g.metrics) for g in PLAN]) for s in tally.strata)
        until_us = windows[-1].end_us
        return [replace(e, windows=0) for e in survey(Context(PLAN, rolled.strata, 0, until_us, (), PEAKS))]

    assert surveyed(4) == surveyed(0)


# Roll-ups


def test_pieces_are_told_by_a_roll_up_too() -> None:
    tally = Tally([1])
    for piece in range(3):
        tally.add_window(0, 0, piece, piece + 1, (7, 10), piece > 0)
    (stratum,) = tally.strata
    sums = stratum.groups[0]
    assert (sums.windows, sums.continued, sums.slots) == (3, 2, 1)
    data = stratum.to_json(0)
    assert Stratum.from_json(data, [2]).groups[0] == sums
    assert sums.draws == ([21**2, 30**2], [21 * 30, 30**2])
    both = Sums.empty(2)
    for part in (sums, Sums.of_window(1, (1, 2), 1), sums):
        both.add(part)
    assert both.draws == ([2 * 21**2 + 1, 2 * 30**2 + 4], [2 * 21 * 30 + 2, 2 * 30**2 + 4])
    with pytest.raises(KeyError, match="slot_squares"):
        Sums.from_json({name: value for name, value in data["groups"][0].items() if name != "slot_squares"}, 2)
    with pytest.raises(ValueError, match="more windows are continued than there are"):
        Sums.from_json({**data["groups"][0], "continued": 4}, 2)
    rest = Sums(2, 2, [14, 20], [98, 200], [140, 200], 2)
    assert rest.slots == 1, "of a block that began in the midst of a slot"
    assert Sums.empty(2).slots == 0


def test_a_damaged_roll_up_is_refused() -> None:
    stratum = context(constant_rates(2)).strata[0]
    good = stratum.to_json(0)
    metrics = [len(group.metrics) for group in PLAN]
    assert Stratum.from_json(good, metrics) == stratum
    for damage in ({"stratum": "0"}, {"begin_us": -1}, {"groups": [*good["groups"], good["groups"][0]]}):
        with pytest.raises(ValueError, match=r"whole number|comes twice"):
            Stratum.from_json({**good, **damage}, metrics)
    with pytest.raises(ValueError, match="another number of metrics"):
        Stratum.from_json(good, [9] * 5)
    with pytest.raises(ValueError, match="not of this context"):
        Stratum.from_json(good, metrics[:2])
    with pytest.raises(KeyError):
        Sums.from_json({"windows": 1}, 2)


# Known workloads


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    """The study, as a script that a reader can run."""
    pytest.importorskip("numpy")
    spec = importlib.util.spec_from_file_location("survey_simulation", REPOSITORY / "scripts" / "survey_simulation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# Phases of twelve and three minutes, where the other groups are visited every six: two visits see one, or none.
FEW_VISITS = {("late phase of 20 %", "1 hour"), ("late phase of 5 %", "1 hour")}


def check(simulation: ModuleType, runs: dict[str, int], least_inside: float) -> None:
    """Shares over all lengths, biases by length. A share's limit is 93 %, or less where few runs were drawn."""
    rows = simulation.study({length: range(number) for length, number in runs.items()})
    print(simulation.table(rows))
    for workload in simulation.WORKLOADS:
        mine = [row for row in rows if row.workload == workload]
        drawn = sum(row.runs for row in mine)
        assert drawn == sum(runs.values())
        assert sum(row.inside * row.runs for row in mine) / drawn >= least_inside, workload
        if "burst" in workload:
            missed = sum(row.missed for row in mine)
            assert missed > drawn / 5
            assert sum(row.missed_inside * row.missed for row in mine if row.missed) / missed >= least_inside
    for row in rows:
        whole = "burst" not in row.workload and "period" not in row.workload and ":" not in row.workload
        if whole and (row.workload, row.length) not in FEW_VISITS:
            assert abs(row.bias_adjusted) < 0.5 + 2 * row.bias_adjusted_error * (row.runs < 250), row
            assert abs(row.bias) < 0.5 + 3 * row.bias_error, row
        if ":" in row.workload:
            assert row.inside >= least_inside - 3, row
        if row.runs >= 300:  # few runs scatter
            assert row.inside >= least_inside, row
        if "late" in row.workload and ":" not in row.workload and row.pooled_bias is not None:
            assert row.pooled_bias > 60, row  # what the strata are for


@pytest.mark.slow
def test_a_thousand_runs_of_each_workload(simulation: ModuleType) -> None:
    check(simulation, {"2 minutes": 650, "1 hour": 300, "1 day": 50}, 93.0)


def test_slots_that_may_not_be_patched_bias_nothing(simulation: ModuleType) -> None:
    """The base group counts in their place: here always while tf32 is active."""
    errors: dict[str, list[float]] = {"bf16": [], "tf32": [], "ffma": []}
    inside = 0
    for seed in range(200):
        run = simulation.Run(seed, "2 minutes", (0.0, 0.001), lambda when: when % 10 < 5)
        outcomes = run.all_metrics(lambda when, _windows, _rng: (when % 10 < 5).astype(float))
        for name, of_metric in errors.items():
            outcome = outcomes[name]
            of_metric.append(outcome.value / outcome.truth - 1)
            inside += outcome.low <= outcome.truth <= outcome.high
    for name, of_metric in errors.items():
        mean = sum(of_metric) / len(of_metric)
        spread = math.sqrt(sum((error - mean) ** 2 for error in of_metric)) / len(of_metric)
        assert abs(mean) < 0.001 + 3 * spread, name
    assert inside >= 0.93 * 600
