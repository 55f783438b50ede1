"""Operations over time in constant memory: nothing is lost, whatever is added in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftprof.record.timeline import MOST_STEPS, Timeline, added

SPANS = st.lists(st.tuples(st.integers(0, 2**44), st.integers(0, 2**36), st.integers(0, 10**24)), max_size=30)


def timeline_of(spans: list[tuple[int, int, int]]) -> Timeline:
    timeline = Timeline()
    for begin, length, flops in spans:
        timeline.add(begin, begin + length, flops)
    return timeline


@given(SPANS)
def test_every_operation_is_in_it_and_it_never_grows(spans: list[tuple[int, int, int]]) -> None:
    timeline = timeline_of(spans)
    assert timeline.flops == sum(flops for _, _, flops in spans)
    assert len(timeline.steps) <= MOST_STEPS
    worked = [span for span in spans if span[2]]
    if worked:
        ends = min(b for b, _, _ in worked), max(b + length for b, length, _ in worked)
        assert min(timeline.steps) * timeline.step_us >= ends[0] // timeline.step_us * timeline.step_us
        assert max(timeline.steps) * timeline.step_us <= ends[1]


@given(SPANS)
def test_it_reads_back_as_it_was_written(spans: list[tuple[int, int, int]]) -> None:
    timeline = timeline_of(spans)
    data = timeline.to_json()
    again = Timeline.from_json(data)
    assert again.to_json() == data
    assert again.flops == timeline.flops


@given(SPANS, SPANS)
def test_two_are_added_to_what_both_hold(one: list[tuple[int, int, int]], other: list[tuple[int, int, int]]) -> None:
    both = added([timeline_of(one), timeline_of(other)])
    assert both.flops == timeline_of(one).flops + timeline_of(other).flops
    assert len(both.steps) <= MOST_STEPS


def test_a_span_is_spread_evenly() -> None:
    timeline = timeline_of([(0, 4 << 16, 10)])
    assert timeline.to_json() == {"begin_us": 0, "step_us": 65536, "flops": ["2", "3", "2", "3"]}


@pytest.mark.parametrize(
    "data",
    [
        {"begin_us": 0, "step_us": 65536, "flops": []},
        {"begin_us": 0, "step_us": 65535, "flops": ["1"]},
        {"begin_us": 1, "step_us": 65536, "flops": ["1"]},
        {"begin_us": 0, "step_us": 65536, "flops": ["0", "1"]},
        {"begin_us": 0, "step_us": 65536, "flops": ["1", "0"]},
        {"begin_us": 0, "step_us": 65536, "flops": ["1"] * (MOST_STEPS + 1)},
        {"begin_us": 0, "step_us": 65536, "flops": [1]},
        [],
    ],
)
def test_another_form_is_refused(data: object) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Timeline.from_json(data)
