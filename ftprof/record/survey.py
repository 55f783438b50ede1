"""From windows to totals: what was measured, what is extrapolated over rotation and over gaps, and the interval.

All counts are exact integers; each extrapolated figure is rounded to one. Whether the windows come singly or as
roll-ups makes no difference, since only sums by stratum are used.

The interval of a metric joins four kinds of error, each in its own way:

- windows of other groups: a random sample was seen, so 95 % by Student's t; never below what was measured. The low end
  also allows for rests: the metric may have paused wherever three windows could have missed it (``ratio.hidden``);
- what bursts may have hidden: a metric that was seen may have done more wherever three windows could have missed it,
  as one that was never seen may (``ratio.hidden``), up to its peak;
- edges between windows: at the low end nothing happened in them, at the high end twice the neighbours' rate, since a
  rhythm of the program may set all edges on its busiest moments;
- gaps (lost counters, a killed process, the time before the first window, edges that take over a tenth of a stratum):
  from nothing up to the peak.

A metric of which only zeros were seen has no error to compute: it gets an upper limit instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from ftprof.record.ratio import (
    NOTHING,
    UNLINKED,
    WINDOWS_OF_RATIO,
    WINDOWS_OF_SHARE,
    WINDOWS_OF_STRATUM,
    Counts,
    Extrapolated,
    Hideout,
    Seen,
    extrapolate,
    extrapolate_patched,
    hidden,
    joined,
)
from ftprof.record.rollup import Sums
from ftprof.record.spans import Context, Metric, Span, link_of, pooled, spans_of

OPERATIONS = ("floating", "integer", "sparse", "cuda-core")
_SECOND_US = 1_000_000
_FINE = 10**30


@dataclass(frozen=True)
class Errors:
    """The parts of an interval, in counts, kept apart for sums of several metrics.

    ``below`` and ``above`` are the half-widths of the sampling error, ``slack`` what the high end allows for in edges
    and gaps beyond the estimate, ``None`` where no peak bounds it. In ``hideouts`` a metric may have done what was
    never seen, with ``hidden_rate`` counts a microsecond. All metrics of a group share these places.
    """

    below: float = 0.0
    above: float = 0.0
    slack: int | None = 0
    hideouts: tuple[Hideout, ...] = ()
    hidden_rate: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """One metric in one context, in counts. ``high`` is ``None`` where nothing bounds what went uncounted.

    ``time_share`` and ``cycles_share`` are the parts of the context's time, and of the SM-active cycles that all
    windows saw, inside windows that counted the metric. ``upper_limit`` is set where only zeros were seen.
    """

    metric: Metric
    group: int
    role: str
    windows: int
    measured: int
    rotation: int
    gaps: int
    low: int
    high: int | None
    upper_limit: int | None
    time_share: Fraction
    cycles_share: Fraction
    errors: Errors

    @property
    def value(self) -> int:
        """The best figure."""
        return self.measured + self.rotation + self.gaps


@dataclass(frozen=True)
class Total:
    """The sum of several metrics, in operations: counts times weights.

    ``unseen`` is the part of ``high`` that allows for what no window may have seen. The shares are the means
    of the metrics', by their operations.
    """

    measured: int
    rotation: int
    gaps: int
    low: int
    high: int | None
    unseen: int | None
    time_share: Fraction
    cycles_share: Fraction

    @property
    def value(self) -> int:
        """The best figure."""
        return self.measured + self.rotation + self.gaps

    @property
    def method(self) -> str:
        """``counters`` where less than 0.1 % of the total is extrapolated, else ``sampled``."""
        extrapolated = self.rotation + self.gaps
        return "counters" if extrapolated == 0 or 1000 * extrapolated < self.value else "sampled"


def is_floating(metric: Metric) -> bool:
    """Whether it counts floating-point operations: integer ones are none, and sparse ones are parts of others."""
    return metric.kind in ("floating", "cuda-core")


def survey(context: Context) -> tuple[Estimate, ...]:
    """An estimate of every metric that counts operations, in the order of the groups.

    Raises ``ValueError`` where a group has no denominator.
    """
    spans = spans_of(context)
    estimates: list[Estimate] = []
    for index, group in enumerate(context.groups):
        counting = [number for number, metric in enumerate(group.metrics) if metric.kind in OPERATIONS]
        if counting:
            view = _View(context, spans, index)
            estimates += [view.estimate(number) for number in counting]
    return tuple(estimates)


Chosen = Sequence[tuple[int, Estimate]]
"""Estimates, each with the number of the survey that it is of."""


def total(surveys: Iterable[Sequence[Estimate]], wanted: Callable[[Metric], bool] = is_floating) -> Total:
    """The operations of all wanted metrics in the surveys of one or more contexts: by default every floating-point one.

    The half-widths of metrics of one group are added, since the same windows saw them and their covariance is not kept:
    their sum cannot err by more. Those of different groups and contexts come from independent draws: the root of the
    sum of their squares. What edges and gaps may hold is added. What was never seen is limited for all of it together.
    """
    return total_of([(number, e) for number, estimates in enumerate(surveys) for e in estimates if wanted(e.metric)])


def total_of(chosen: Chosen) -> Total:
    """The same of estimates that were chosen already."""
    below: dict[tuple[int, int], float] = {}
    above: dict[tuple[int, int], float] = {}
    measured = rotation = gaps = slack = 0
    bounded = True
    for number, estimate in chosen:
        weight, errors = estimate.metric.weight, estimate.errors
        if estimate.measured:
            measured += weight * estimate.measured
            rotation += weight * estimate.rotation
            gaps += weight * estimate.gaps
        if errors.below or errors.above:
            key = (number, estimate.group)
            below[key] = below.get(key, 0.0) + weight * errors.below
            above[key] = above.get(key, 0.0) + weight * errors.above
        if errors.slack is None:
            bounded = False
        else:
            slack += weight * errors.slack
    unseen = math.ceil(hidden(_joint_hideouts(chosen)))
    high = measured + rotation + gaps + math.ceil(_root(above)) + slack + unseen
    return Total(
        measured=measured,
        rotation=rotation,
        gaps=gaps,
        low=max(measured, measured + rotation - math.ceil(_root(below))),
        high=high if bounded else None,
        unseen=unseen if bounded else None,
        time_share=_mean_share(chosen, lambda estimate: estimate.time_share),
        cycles_share=_mean_share(chosen, lambda estimate: estimate.cycles_share),
    )


def _mean_share(chosen: Chosen, share_of: Callable[[Estimate], Fraction]) -> Fraction:
    """By operations; where there are none, that of the metric which was looked for least.

    Rounded down to 10^-30: the exact sum of many fractions has a denominator of as many digits as all of theirs.
    """
    operations = parts = 0
    for _, estimate in chosen:
        if estimate.measured:  # else nothing was extrapolated either
            number, share = estimate.metric.weight * estimate.value, share_of(estimate)
            operations += number
            parts += number * _FINE * share.numerator // share.denominator
    if operations:
        return Fraction(parts, operations * _FINE)
    return min((share_of(estimate) for _, estimate in chosen), default=Fraction(0))


def _root(widths: dict[tuple[int, int], float]) -> float:
    return math.sqrt(sum(width * width for width in widths.values()))


def _joint_hideouts(chosen: Chosen) -> list[Hideout]:
    """Of all metrics. Those of one group share their places, and the GPU has room for one of them at its peak."""
    rates: dict[tuple[int, int], tuple[float, tuple[Hideout, ...]]] = {}
    for number, estimate in chosen:
        errors = estimate.errors
        if errors.hideouts:
            key, rate = (number, estimate.group), errors.hidden_rate * estimate.metric.weight
            if key not in rates or rates[key][0] < rate:
                rates[key] = rate, errors.hideouts
    return [place.times(rate) for rate, places in rates.values() for place in places]


class _View:
    """One group's view of a context."""

    def __init__(self, context: Context, spans: list[Span], index: int) -> None:
        self._context = context
        self._spans = spans
        self._index = index
        self._group = context.groups[index]
        self._divisor = self._group.denominator
        nothing = Sums.empty(len(self._group.metrics))
        self._sums = [span.groups.get(index, nothing) for span in spans]
        self._whole = Sums.empty(len(self._group.metrics))
        for stratum in context.strata:
            if index in stratum.groups:
                self._whole.add(stratum.groups[index])
        self._time_us = self._whole.time_us
        self._length_us = max(context.end_us - context.begin_us, self._time_us)
        # What no neighbour's rate is trusted for: a peak bounds it, or nothing.
        self._gaps_us = sum(span.gaps_us for span in spans) if spans else self._length_us
        self._hideouts = self._places()
        self._unseen_us = sum(place.time_us for place in self._hideouts)
        self._hidden_us = hidden(self._hideouts)
        self._time_share = Fraction(self._time_us, self._length_us) if self._length_us else Fraction(0)
        self._cycles_share = self._share_of_cycles()

    @cached_property
    def _strata(self) -> list[range]:
        return joined([sums.slots for sums in self._sums], WINDOWS_OF_STRATUM)

    @cached_property
    def _seen(self) -> list[Seen]:
        return [self._saw(stratum) for stratum in self._strata]

    def estimate(self, number: int) -> Estimate:
        """Of the metric with this index."""
        metric = self._group.metrics[number]
        measured = self._whole.sums[number]
        peak = self._context.peaks.get(metric.name)
        extrapolated = NOTHING if measured == 0 else self._extrapolate(number) if self._spans else UNLINKED
        errors = self._errors(extrapolated, peak) if measured else self._limits(peak)
        gaps = extrapolated.edges + extrapolated.gaps
        seen = measured + extrapolated.rotation
        high = None
        if errors.slack is not None:
            unseen = math.ceil(errors.hidden_rate * self._hidden_us)
            high = seen + math.ceil(errors.above) + gaps + errors.slack + unseen
        return Estimate(
            metric=metric,
            group=self._index,
            role=self._group.role,
            windows=self._whole.windows,
            measured=measured,
            rotation=extrapolated.rotation,
            gaps=gaps,
            low=max(measured, seen - math.ceil(errors.below)),
            high=high,
            upper_limit=None if measured else high,
            time_share=self._time_share,
            cycles_share=self._cycles_share,
            errors=errors,
        )

    def _errors(self, extrapolated: Extrapolated, peak: int | None) -> Errors:
        rotation = extrapolated.rotation
        rest = rotation * self._hidden_us / self._unseen_us if self._unseen_us else 0.0
        slack: int | None = extrapolated.edges
        if not extrapolated.linked:
            slack = None if peak is None else _at_peak(peak, self._length_us - self._time_us)
        elif self._gaps_us and peak is None:
            slack = None
        elif peak is not None:
            at_peak = _at_peak(peak, self._gaps_us) - extrapolated.gaps
            slack = extrapolated.edges + max(at_peak, extrapolated.gaps if self._gaps_us else 0)
        half_width = extrapolated.half_width
        below, above = min(max(half_width, rest), float(rotation)), max(half_width, extrapolated.missed)
        if peak is None or not extrapolated.linked:  # then the slack holds all of that
            return Errors(below, above, slack)
        return Errors(below, above, slack, self._hideouts, peak / _SECOND_US)

    def _limits(self, peak: int | None) -> Errors:
        """Of a metric of which only zeros were seen, if at all."""
        if self._gaps_us + self._unseen_us == 0:
            return Errors()
        if peak is None:
            return Errors(slack=None)
        slack = _at_peak(peak, self._gaps_us)
        return Errors(slack=slack, hideouts=self._hideouts, hidden_rate=peak / _SECOND_US)

    def _places(self) -> tuple[Hideout, ...]:
        """Where no window of the group was, with edges and without gaps.

        How many windows were to be expected there follows from their share of all windows, which the schedule keeps.
        """
        places = []
        for cell in joined([sums.slots for sums in self._sums], WINDOWS_OF_SHARE):
            slots = sum(self._spans[h].slots for h in cell)
            share = sum(self._sums[h].slots for h in cell) / slots
            for h in cell:
                span = self._spans[h]
                open_us = max(span.length_us - span.gaps_us, 0)
                unseen_us = max(open_us - self._sums[h].time_us, 0)
                if unseen_us:
                    places.append(Hideout(share * span.slots / open_us, unseen_us, 1.0))
        return tuple(places)

    def _share_of_cycles(self) -> Fraction:
        cycles = sum(span.cycles + span.patched_cycles for span in self._spans)
        if self._group.is_patched:
            mine = sum(span.patched_cycles for span in self._spans)
        else:
            mine = self._whole.sums[self._divisor]
        return Fraction(mine, cycles) if cycles else Fraction(0)

    def _extrapolate(self, number: int) -> Extrapolated:
        if self._group.is_patched:
            return self._extrapolate_patched(number)
        counts = []
        for stratum in self._strata:
            mine = [self._sums[h] for h in stratum]
            counts.append(
                Counts(
                    sum(sums.sums[number] for sums in mine),
                    sum(sums.draws[0][number] for sums in mine),
                    sum(sums.draws[1][number] for sums in mine),
                )
            )
        return extrapolate(self._seen, counts)

    def _saw(self, stratum: range) -> Seen:
        slots = divisors = divisor_squares = all_slots = time_us = cycles = edges = gaps = 0
        for h in stratum:
            sums, span = self._sums[h], self._spans[h]
            slots += sums.slots
            divisors += sums.sums[self._divisor]
            divisor_squares += sums.draws[0][self._divisor]
            all_slots += span.hardware_slots
            time_us += span.time_us
            cycles += span.cycles + span.patched_cycles
            edges += span.edge_cycles
            gaps += span.gap_cycles
        return Seen(
            slots=slots,
            divisors=divisors,
            divisor_squares=divisor_squares,
            length_us=time_us / all_slots,
            unseen=cycles - divisors,
            unseen_slots=all_slots - slots,
            edges=edges,
            gaps=gaps,
        )

    def _extrapolate_patched(self, number: int) -> Extrapolated:
        """Counts an instruction (own windows) x instructions a cycle (link windows) x cycles (all hardware windows)."""
        parts = []
        for cell in joined([sums.slots for sums in self._sums], WINDOWS_OF_RATIO):
            spans = [self._spans[h] for h in cell]
            link = link_of(spans, self._context)
            if link is not None and link.slots == 0:
                link = link_of(self._spans, self._context)
            cycles = (
                sum(span.cycles for span in spans),
                sum(span.edge_cycles for span in spans),
                sum(span.gap_cycles for span in spans),
            )
            parts.append(extrapolate_patched(pooled(spans, self._context, self._index, number), link, cycles))
        return Extrapolated(
            rotation=sum(part.rotation for part in parts),
            edges=sum(part.edges for part in parts),
            gaps=sum(part.gaps for part in parts),
            error=math.sqrt(sum(part.error**2 for part in parts)),
            degrees=sum(part.degrees for part in parts),
            linked=all(part.linked for part in parts),
            missed=sum(part.missed for part in parts),
        )


def _at_peak(peak: int, time_us: int) -> int:
    return -(-peak * time_us // _SECOND_US)
