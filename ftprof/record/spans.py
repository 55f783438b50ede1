"""A context's time, cut into the spans of its strata: who counted in them, and when nobody did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from operator import mul

from ftprof.record.estimate_rows import FLOATING
from ftprof.record.ratio import WINDOWS_OF_RATIO, Pooled, joined, rounded
from ftprof.record.rollup import Stratum, Sums

CUDA_CORE, LINK = "cuda-core", "link"
# Above this share of a stratum's time the neighbours' rate says too little of what happened in its edges.
_TAME_EDGES = Fraction(1, 10)


@dataclass(frozen=True)
class Metric:
    """A row of the metric catalogue: ``weight`` is the operations for each count, 0 for denominators."""

    name: str
    precision: str
    kind: str
    weight: int


@dataclass(frozen=True)
class Group:
    """The metrics of one hardware pass, in the journal's order."""

    role: str
    metrics: tuple[Metric, ...]

    @property
    def is_patched(self) -> bool:
        """Whether it counts in patched machine code: instructions then are its denominator, not cycles."""
        return self.role == CUDA_CORE

    @cached_property
    def denominator(self) -> int:
        """The index of the metric that the others are divided by. Raises ``ValueError`` where there is none."""
        wanted = "instructions" if self.is_patched else "cycles"
        found = [index for index, metric in enumerate(self.metrics) if metric.kind == wanted]
        if len(found) != 1:
            raise ValueError(f"a {self.role} group with {len(found)} metrics of {wanted}")
        return found[0]

    @cached_property
    def floating_weights(self) -> tuple[int, ...]:
        """For each metric the floating-point operations of a count, 0 for others."""
        return tuple(metric.weight if metric.kind in FLOATING else 0 for metric in self.metrics)

    def operations(self, counts: Iterable[int]) -> int:
        """The floating-point operations in counts of its metrics."""
        return sum(map(mul, self.floating_weights, counts))


@dataclass(frozen=True)
class Context:
    """What is known of one CUDA context. Times in microseconds since the epoch.

    ``gaps`` are the (begin, end) in which counting was impossible, the time after a killed process's last window among
    them. ``peaks`` is the most that each metric, by name, can count in a second; without it nothing bounds a gap.
    """

    groups: tuple[Group, ...]
    strata: tuple[Stratum, ...]
    begin_us: int
    end_us: int
    gaps: tuple[tuple[int, int], ...] = ()
    peaks: Mapping[str, int] = field(default_factory=dict)

    def group_of(self, role: str) -> int | None:
        """The index of the first group with this role."""
        return next((index for index, group in enumerate(self.groups) if group.role == role), None)


@dataclass
class Span:
    """A stratum with the time up to the next one, and before the first. Times in microseconds.

    ``slots`` is the number of all slots that windows are of. ``hardware_slots``, ``time_us`` and ``cycles`` are those
    of the hardware windows, of which there is at least one; ``patched_cycles`` are what the instructions in windows of
    patched code amount to. In ``edges_us`` nobody counted; in ``gaps_us`` neither, and the neighbours' rate cannot be
    trusted. ``start_us`` is the part of these before a context's first window, in which a program mostly prepares.
    """

    groups: dict[int, Sums]
    length_us: int
    gaps_us: int
    edges_us: int
    slots: int
    hardware_slots: int
    time_us: int
    cycles: int
    patched_cycles: int = 0
    start_us: int = 0

    @cached_property
    def edge_cycles(self) -> int:
        """Those that its hardware windows' rate gives for its edges."""
        return rounded(self.edges_us * self.cycles, self.time_us)

    @cached_property
    def gap_cycles(self) -> int:
        """Those that its hardware windows' rate gives for its gaps: none for the time before the first window."""
        return rounded((self.gaps_us - self.start_us) * self.cycles, self.time_us)

    def slots_of(self, group: int | None) -> int:
        """How many slots a group has."""
        return 0 if group is None or group not in self.groups else self.groups[group].slots


def spans_of(context: Context) -> list[Span]:
    """The spans of all strata, in order; none where no hardware window saw any time."""
    strata = _with_hardware(context)
    begins = [context.begin_us, *(stratum.begin_us for stratum in strata[1:])]
    ends = [*begins[1:], context.end_us]
    spans = [_span(context, *part) for part in zip(strata, begins, ends, strict=False)]
    _add_patched_cycles(context, spans)
    return spans


def pooled(spans: Iterable[Span], context: Context, group: int, metric: int) -> Pooled:
    """The sums of one metric's windows over several spans."""
    sums = Sums.empty(len(context.groups[group].metrics))
    for span in spans:
        if group in span.groups:
            sums.add(span.groups[group])
    divisor = context.groups[group].denominator
    squares, products = sums.draws
    return Pooled(
        sums.slots, sums.sums[metric], squares[metric], products[metric], sums.sums[divisor], squares[divisor]
    )


def link_of(spans: list[Span], context: Context) -> Pooled | None:
    """Instructions and cycles in the link windows of these spans; ``None`` where the context has no link group."""
    link = context.group_of(LINK)
    if link is None:
        return None
    metrics = context.groups[link].metrics
    return pooled(spans, context, link, next(i for i, metric in enumerate(metrics) if metric.kind == "instructions"))


def _span(context: Context, stratum: Stratum, begin_us: int, end_us: int) -> Span:
    slots = all_us = hardware_slots = time_us = cycles = 0
    for index, sums in stratum.groups.items():
        slots += sums.slots
        all_us += sums.time_us
        group = context.groups[index]
        if not group.is_patched:
            hardware_slots += sums.slots
            time_us += sums.time_us
            cycles += sums.sums[group.denominator]
    length_us = max(end_us - begin_us, 0)
    start_us = _start_us(context, stratum, begin_us)
    gaps_us = _overlap_us(context, begin_us, end_us) + start_us
    edges_us = max(length_us - gaps_us - all_us, 0)
    if edges_us * _TAME_EDGES.denominator > length_us * _TAME_EDGES.numerator:
        gaps_us, edges_us = gaps_us + edges_us, 0
    return Span(
        groups=stratum.groups,
        length_us=length_us,
        gaps_us=gaps_us,
        edges_us=edges_us,
        slots=slots,
        hardware_slots=hardware_slots,
        time_us=time_us,
        cycles=cycles,
        start_us=start_us,
    )


def _start_us(context: Context, stratum: Stratum, begin_us: int) -> int:
    """The time before the context's first window, without gaps of their own.

    Only its peak bounds what a program does then. Where none is known it is an edge as any other, else no run on such
    a chip could ever be judged.
    """
    if begin_us != context.begin_us or not context.peaks:
        return 0
    return max(stratum.begin_us - begin_us, 0) - _overlap_us(context, begin_us, stratum.begin_us)


def _overlap_us(context: Context, begin_us: int, end_us: int) -> int:
    """How much of the context's gaps lies between two moments."""
    return sum(max(min(end_us, end) - max(begin_us, begin), 0) for begin, end in context.gaps)


def _with_hardware(context: Context) -> list[Stratum]:
    """The strata; one in which no hardware window saw time, as a run's last may be, is joined with a neighbour."""
    joint: list[Stratum] = []
    for stratum in context.strata:
        if joint and not (_has_hardware(context, stratum) and _has_hardware(context, joint[-1])):
            both = Stratum(joint[-1].number, joint[-1].begin_us, joint[-1].end_us)
            both.add(joint[-1])
            both.add(stratum)
            joint[-1] = both
        else:
            joint.append(stratum)
    return joint if joint and _has_hardware(context, joint[0]) else []


def _has_hardware(context: Context, stratum: Stratum) -> bool:
    return any(sums.time_us > 0 and not context.groups[index].is_patched for index, sums in stratum.groups.items())


def _add_patched_cycles(context: Context, spans: list[Span]) -> None:
    """What windows of patched code did, as cycles: they count instructions, and link windows instructions a cycle.

    Patched code is slow, so the time of these windows says little. Where no link window tells, it counts as a gap.
    """
    patched = context.group_of(CUDA_CORE)
    if patched is None:
        return
    for cell in joined([span.slots_of(context.group_of(LINK)) for span in spans], WINDOWS_OF_RATIO):
        link = link_of([spans[h] for h in cell], context)
        for span in (spans[h] for h in cell):
            if span.slots_of(patched) == 0:
                continue
            sums = span.groups[patched]
            executed = sums.sums[context.groups[patched].denominator]
            if link is not None and link.count > 0 and link.divisors > 0:
                span.patched_cycles = rounded(executed * link.divisors, link.count)
            elif executed > 0 or link is None or link.slots == 0:
                span.gaps_us += sums.time_us
