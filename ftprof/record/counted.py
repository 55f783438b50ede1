"""What the counters of a run's processes amount to: a row for each metric of each context, and sums of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

from ftprof.record.counted_context import CountedContext
from ftprof.record.fields import parse_count, parse_text
from ftprof.record.journal import Journal
from ftprof.record.peaks import peak_counts_per_second, peak_flops_per_second
from ftprof.record.spans import Context
from ftprof.record.survey import Estimate, Total, survey, total

FLOATING = ("floating", "cuda-core")
APART = ("integer", "sparse")  # integer operations are no floating-point ones; sparse ones are part of others
_MILLION = 1_000_000


@dataclass(frozen=True)
class EstimateRow:
    """One metric on one context, in operations. ``high`` is ``None`` where nothing bounds what went uncounted.

    ``upper_limit`` is set where only zeros were seen. The shares are of the context's time, and of the SM-active cycles
    that all windows saw, inside windows that counted the metric.
    """

    process: str
    device: str
    uuid: str
    metric: str
    precision: str
    kind: str
    windows: int
    measured: int
    rotation: int
    gaps: int
    low: int
    high: int | None
    upper_limit: int | None
    time_share: Fraction
    cycles_share: Fraction

    @property
    def flops(self) -> int:
        """The best figure, in operations."""
        return self.measured + self.rotation + self.gaps

    def to_json(self) -> dict[str, Any]:
        """As the record's schema has it. Shares are decimals of six digits."""
        return {
            "process": self.process,
            "device": self.device,
            "uuid": self.uuid,
            "metric": self.metric,
            "precision": self.precision,
            "kind": self.kind,
            "windows": str(self.windows),
            **_parts(self),
            "upper_limit": _text(self.upper_limit),
            "coverage": {"time": share_text(self.time_share), "cycles": share_text(self.cycles_share)},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EstimateRow:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form or a sum does not hold."""
        texts: dict[str, Any] = {
            name: parse_text(data[name]) for name in ("process", "device", "uuid", "metric", "precision", "kind")
        }
        row = cls(**texts, windows=parse_count(data["windows"]), **_parsed_parts(data))
        if row.flops != parse_count(data["flops"]):
            raise ValueError(f"the parts of {row.metric} are not its sum")
        return row


@dataclass(frozen=True)
class PrecisionRow:
    """One precision of a run, over all contexts, in operations. ``kind`` as in ``EstimateRow``."""

    precision: str
    kind: str
    measured: int
    rotation: int
    gaps: int
    low: int
    high: int | None
    upper_limit: int | None
    time_share: Fraction
    cycles_share: Fraction

    @property
    def flops(self) -> int:
        """The best figure, in operations."""
        return self.measured + self.rotation + self.gaps

    def to_json(self) -> dict[str, Any]:
        """As the record's schema has it."""
        return {
            "precision": self.precision,
            "kind": self.kind,
            **_parts(self),
            "upper_limit": _text(self.upper_limit),
            "coverage": {"time": share_text(self.time_share), "cycles": share_text(self.cycles_share)},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PrecisionRow:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form does not hold."""
        return cls(parse_text(data["precision"]), parse_text(data["kind"]), **_parsed_parts(data))


@dataclass(frozen=True)
class Counted:
    """All counters of a run. ``high`` is the total's with the peak-bound over contexts that could not be counted."""

    total: Total
    rows: tuple[EstimateRow, ...]
    precisions: tuple[PrecisionRow, ...]
    windows: int
    high: int | None
    flops_of: Mapping[str, int]  # by process


def counted(journals: Sequence[Journal], run_end_us: int) -> Counted:
    """Of a run's counters journals. ``run_end_us`` is when its command had ended, for processes that were killed."""
    surveys: list[tuple[Estimate, ...]] = []
    rows: list[EstimateRow] = []
    bound_of_blind: int | None = 0
    for journal in journals:
        for context in journal.contexts:
            end = _end_of(journal, context, run_end_us)
            if not context.groups:
                bound_of_blind = _sum(bound_of_blind, _peak_over(context, end - context.begin_us))
                continue
            estimates = survey(_as_surveyed(journal, context, end))
            surveys.append(estimates)
            rows += [_row(journal, context, estimate) for estimate in estimates]
    everything = total(surveys)
    flops_of: dict[str, int] = {}
    for row in rows:
        if row.kind in FLOATING:
            flops_of[row.process] = flops_of.get(row.process, 0) + row.flops
    return Counted(
        total=everything,
        rows=tuple(rows),
        precisions=tuple(_precisions(surveys)),
        windows=sum(context.windows for journal in journals for context in journal.contexts),
        high=_sum(everything.high, bound_of_blind),
        flops_of=flops_of,
    )


def _end_of(journal: Journal, context: CountedContext, run_end_us: int) -> int:
    """When the context's time ended: for a killed process at the latest when the command had ended."""
    end = journal.last_us if journal.end is not None else max(run_end_us, journal.last_us)
    return max(end, context.last_us, context.begin_us)


def _as_surveyed(journal: Journal, context: CountedContext, end_us: int) -> Context:
    gaps = [(gap.begin_us, gap.end_us) for gap in context.gaps if gap.end_us > gap.begin_us]
    if journal.end is None and end_us > context.last_us:
        gaps.append((max([context.last_us, *(end for _, end in gaps)]), end_us))
    peaks = {}
    for metric in {metric for group in context.groups for metric in group.metrics}:
        peak = peak_counts_per_second(metric.name, *_size_of(context))
        if peak is not None:
            peaks[metric.name] = peak
    return Context(
        groups=context.groups,
        strata=context.tally.strata,
        begin_us=context.begin_us,
        end_us=end_us,
        gaps=tuple((begin, end) for begin, end in gaps if end > begin),
        peaks=peaks,
    )


def _size_of(context: CountedContext) -> tuple[str, int, int]:
    device = context.device
    return device["capability"], device["multiprocessors"], device["clock_khz"]


def _peak_over(context: CountedContext, time_us: int) -> int | None:
    """The peak-bound over a time in which nothing could be counted; ``None`` for an unknown chip."""
    rate = peak_flops_per_second(*_size_of(context))
    return None if rate is None else ceil(Fraction(rate * time_us, _MILLION))


def _row(journal: Journal, context: CountedContext, estimate: Estimate) -> EstimateRow:
    weight = estimate.metric.weight
    return EstimateRow(
        process=str(journal.identity),
        device=context.device["device"],
        uuid=context.device["uuid"],
        metric=estimate.metric.name,
        precision=estimate.metric.precision,
        kind=estimate.metric.kind,
        windows=estimate.windows,
        measured=weight * estimate.measured,
        rotation=weight * estimate.rotation,
        gaps=weight * estimate.gaps,
        low=weight * estimate.low,
        high=None if estimate.high is None else weight * estimate.high,
        upper_limit=None if estimate.upper_limit is None else weight * estimate.upper_limit,
        time_share=estimate.time_share,
        cycles_share=estimate.cycles_share,
    )


def _precisions(surveys: Sequence[Sequence[Estimate]]) -> Iterable[PrecisionRow]:
    seen = {(e.metric.kind, e.metric.precision): None for estimates in surveys for e in estimates}
    for kind, precision in seen:
        mine = [
            e for estimates in surveys for e in estimates if (e.metric.kind, e.metric.precision) == (kind, precision)
        ]
        summed = total(surveys, lambda m, wanted=(kind, precision): (m.kind, m.precision) == wanted)  # type: ignore[misc]
        only_zeros = all(e.upper_limit is not None for e in mine)
        yield PrecisionRow(
            precision=precision,
            kind=kind,
            measured=summed.measured,
            rotation=summed.rotation,
            gaps=summed.gaps,
            low=summed.low,
            high=summed.high,
            upper_limit=summed.unseen if only_zeros else None,
            # The least seen of its metrics: what is claimed for all of them.
            time_share=min(e.time_share for e in mine),
            cycles_share=min(e.cycles_share for e in mine),
        )


def added_precisions(rows: Iterable[PrecisionRow]) -> Iterable[PrecisionRow]:
    """Those of several runs, by kind and precision: sums, and the least of the shares."""
    parts: dict[tuple[str, str], list[PrecisionRow]] = {}
    for row in rows:
        parts.setdefault((row.kind, row.precision), []).append(row)
    for (kind, precision), mine in parts.items():
        limits = [row.upper_limit for row in mine]
        highs = [row.high for row in mine]
        yield PrecisionRow(
            precision=precision,
            kind=kind,
            measured=sum(row.measured for row in mine),
            rotation=sum(row.rotation for row in mine),
            gaps=sum(row.gaps for row in mine),
            low=sum(row.low for row in mine),
            high=None if None in highs else sum(high for high in highs if high is not None),
            upper_limit=None if None in limits else sum(limit for limit in limits if limit is not None),
            time_share=min(row.time_share for row in mine),
            cycles_share=min(row.cycles_share for row in mine),
        )


def share_text(share: Fraction) -> str:
    """A share as a decimal of six digits, rounded down: a coverage is never overstated."""
    return f"{share.numerator * _MILLION // share.denominator / _MILLION:.6f}"


def _parts(row: EstimateRow | PrecisionRow) -> dict[str, Any]:
    return {
        "flops": str(row.flops),
        "measured": str(row.measured),
        "over_rotation": str(row.rotation),
        "over_gaps": str(row.gaps),
        "low": str(row.low),
        "high": _text(row.high),
    }


def _parsed_parts(data: dict[str, Any]) -> dict[str, Any]:
    shares = {f"{name}_share": Fraction(parse_text(data["coverage"][name])) for name in ("time", "cycles")}
    return {
        "measured": parse_count(data["measured"]),
        "rotation": parse_count(data["over_rotation"]),
        "gaps": parse_count(data["over_gaps"]),
        "low": parse_count(data["low"]),
        "high": _number(data["high"]),
        "upper_limit": _number(data["upper_limit"]),
        **shares,
    }


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _number(text: Any) -> int | None:
    return None if text is None else parse_count(text)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
