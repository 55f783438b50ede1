"""FLOP/s over the run's time as a drawing whose text is HTML, so that it keeps its size on any screen."""

from __future__ import annotations

from fractions import Fraction

from ftprof.record.record import COUNTER_METHODS, Record
from ftprof.record.timeline import Timeline
from ftprof.report.amounts import clock_text, moment_text, two_digits
from ftprof.report.html.elements import Html, paragraph, section, tag, together, words

_HEIGHT = 1000


def timeline_section(record: Record) -> Html:
    """The plot, or that there is none."""
    if not record.timeline.steps:
        return section("time", "Over time", paragraph("The record does not tell how the work lies in time."))
    return section("time", "Over time", _figure(record, record.timeline))


def _figure(record: Record, timeline: Timeline) -> Html:
    first, last = min(timeline.steps), max(timeline.steps)
    counts = [timeline.steps.get(step, 0) for step in range(first, last + 1)]
    begin_us, end_us = first << timeline.shift, (last + 1) << timeline.shift
    peak, mean = _rate(max(counts), timeline.step_us), _rate(timeline.flops, end_us - begin_us)
    top = tag("p", words(f"{peak} in the busiest step"), class_="axis")
    ends = [moment_text(begin_us), f"{clock_text(end_us - begin_us)} later"]
    axis = tag("p", together(*(tag("span", words(end)) for end in ends)), class_="axis ends")
    what = (
        "What windows of hardware counters measured, without what is extrapolated"
        if record.method in COUNTER_METHODS
        else "The figure by the time in which it was counted"
    )
    pauses = ", with the time between the runs" if len(record.runs) > 1 else ""
    caption = (
        f"{what}, in {len(counts)} steps of {clock_text(timeline.step_us)}. Dashed: the mean of {mean}{pauses}. "
        "The first and the last step may reach beyond the work."
    )
    text = f"Floating-point operations a second over time: at most {peak}, in the mean {mean}".replace(
        "10^", "10 to the "
    )
    return tag(
        "figure",
        together(top, _drawing(counts, text), axis, tag("figcaption", words(caption))),
        class_="timeline",
    )


def _drawing(counts: list[int], text: str) -> Html:
    most, count = max(counts), len(counts)
    heights = [_HEIGHT - flops * _HEIGHT // most for flops in counts]
    outline = "".join(f"V{height}H{step}" for step, height in enumerate(heights, 1))
    mean = _HEIGHT - sum(counts) * _HEIGHT // (most * count)
    shapes = (
        f'<path class="area" d="M0 {_HEIGHT}{outline}V{_HEIGHT}Z"/>'
        f'<path class="edge" d="M0 {_HEIGHT}{outline}V{_HEIGHT}"/>'
        f'<path class="mean" d="M0 {mean}H{count}"/>'
    )
    description = f"{count} steps from left to right; the highest is {heights.index(min(heights)) + 1}."
    labels = together(tag("title", words(text)), tag("desc", words(description)))
    return tag(
        "svg",
        together(labels, Html(shapes)),
        viewBox=f"0 0 {count} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
    )


def _rate(flops: int, time_us: int) -> str:
    return f"{two_digits(Fraction(flops * 1_000_000, time_us))} FLOP/s"
