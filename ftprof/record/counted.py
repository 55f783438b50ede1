"""What the counters of a run's processes amount to: a row for each metric of each context, and sums of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from ftprof.record.counted_context import CountedContext, Surveyed
from ftprof.record.estimate_rows import FLOATING, EstimateRow, PrecisionRow, bounded_sum
from ftprof.record.journal import Journal
from ftprof.record.lost_time import (
    ContextTime,
    DeviceTimes,
    bound_of,
    device_peak,
    metric_peak,
    precision_peak,
    size_of,
)
from ftprof.record.peaks import peak_counts_per_second
from ftprof.record.spans import Context
from ftprof.record.survey import Estimate, Total, survey, total, total_of

_EDGES_US = 20_000  # a window's stamps may be so far from its edges, which wait for work that was launched
_PATCHES_NO_GRAPH = "patch a CUDA graph"  # the call of a gap, by csrc/counters/meter.cpp
_CLOCK_SLACK = Fraction(21, 20)  # a clock may be boosted a little above what the driver calls its highest


@dataclass(frozen=True)
class Counted:
    """All counters of a run. ``high`` is the total's, with the peak-bound over the time that was lost."""

    total: Total
    rows: tuple[EstimateRow, ...]
    precisions: tuple[PrecisionRow, ...]
    windows: int
    high: int | None
    flops_of: tuple[int, ...]  # of each journal
    impossible: tuple[str, ...] = ()  # GPUs of which more was measured than they can do, a sentence each


def counted(journals: Sequence[Journal], run_end_us: int) -> Counted:
    """Of a run's counters journals. ``run_end_us`` is when its command had ended, for processes that were killed.

    The time after a context's last line is not extrapolated, as the context may be gone: it is lost, and bounded. So is
    that of a context without any window.
    """
    surveys: list[tuple[Estimate, ...]] = []
    rows: list[EstimateRow] = []
    lost: list[ContextTime] = []
    everywhere: list[ContextTime] = []
    measured: dict[str, int] = {}
    flops_of: list[int] = []
    too_fast: list[str] = []
    for journal in journals:
        mine: list[EstimateRow] = []
        for context in journal.contexts:
            end_us = end_of(context)
            tail = ContextTime(context, end_us, end_us + tail_of(journal, context, run_end_us))
            whole = ContextTime(context, context.begin_us, end_us)
            everywhere += [whole, tail]
            lost.append(tail)
            if not context.windows or uncounted_metrics(context):
                lost.append(whole)
            if context.windows:
                found = context.surveyed or surveyed(context)
                estimates = found.estimates
                too_fast += [found.too_fast] if found.too_fast else []
                surveys.append(estimates)
                seen = sum(e.metric.weight * e.measured for e in estimates if e.metric.kind in FLOATING)
                measured[context.device["uuid"]] = measured.get(context.device["uuid"], 0) + seen
                process = str(journal.identity)
                mine += [_row(process, tail, estimate) for estimate in estimates]
        rows += mine
        flops_of.append(sum(row.flops for row in mine if row.kind in FLOATING))
    everything = total(surveys)
    lost_times, all_times = DeviceTimes(lost), DeviceTimes(everywhere)
    high = bounded_sum([everything.high, lost_times.bound(device_peak)])
    peak = all_times.bound(device_peak)
    if peak is not None and peak >= everything.value:
        high = peak if high is None else min(high, peak)  # each metric alone was bounded by a peak of its own
    return Counted(
        total=everything,
        rows=tuple(rows),
        precisions=tuple(_precisions(surveys, lost_times)),
        windows=sum(context.windows for journal in journals for context in journal.contexts),
        high=high,
        flops_of=tuple(flops_of),
        impossible=(*_impossible(measured, all_times), *too_fast),
    )


def _impossible(measured: dict[str, int], times: DeviceTimes) -> Iterable[str]:
    """GPUs of which windows give more than they can have done in the whole time of their contexts."""
    for uuid, flops in measured.items():
        most = times.bound_of_device(uuid, device_peak)
        if most is not None and flops > most * _CLOCK_SLACK:
            yield (
                f"the counters of {uuid} gave {flops} operations in a time in which it can do {most} at most: such a "
                "rate is impossible, and the figures of counters are refused"
            )


def _too_fast(context: CountedContext) -> str | None:
    """The first stratum of whose windows one GPU cannot have done what they give, however little it did elsewhere."""
    rate = device_peak(context)
    if rate is None:
        return None
    most = rate * _CLOCK_SLACK / 1_000_000  # a microsecond
    for stratum in context.tally.strata:
        flops = time_us = 0
        for group, sums in stratum.groups.items():
            flops += context.groups[group].operations(sums.sums)
            time_us += sums.time_us + _EDGES_US * sums.windows
        if flops * most.denominator > time_us * most.numerator:
            return (
                f"windows of {time_us // 1000} ms on {context.device['uuid']} gave {flops} operations, and it can do "
                f"{rate} a second at most: such a rate is impossible, and the figures of counters are refused"
            )
    return None


def surveyed(context: CountedContext) -> Surveyed:
    """What the windows of a context amount to. Raises ``ValueError`` as ``survey`` does."""
    estimates = survey(_as_surveyed(context, end_of(context)))
    if any(gap.call == _PATCHES_NO_GRAPH for gap in context.gaps):
        estimates = tuple(
            _unbounded(estimate) if estimate.metric.kind == "cuda-core" else estimate for estimate in estimates
        )
    return Surveyed(estimates, _too_fast(context))


def _unbounded(estimate: Estimate) -> Estimate:
    """Windows say nothing of what graphs execute: only the GPU's own peak bounds it."""
    return replace(estimate, high=None, errors=replace(estimate.errors, slack=None))


def end_of(context: CountedContext) -> int:
    """Until when its journal tells of a context (microseconds since the epoch)."""
    return max([context.last_us, *(gap.end_us for gap in context.gaps)])


def tail_of(journal: Journal, context: CountedContext, run_end_us: int) -> int:
    """From there to its own end or that of its process (microseconds): at most ``run_end_us`` where nobody saw that."""
    process_end_us = run_end_us if journal.end is None else journal.last_us
    return max((process_end_us if context.gone_us is None else context.gone_us) - end_of(context), 0)


def uncounted_metrics(context: CountedContext) -> list[str]:
    """The metrics of floating-point operations that its chip has and no single pass can count.

    Denominators are none, nor are integer operations and sparse parts.
    """
    apart = ("_int", "_sparsity_")
    return [
        name
        for name in context.unsupported
        if name.startswith(("sm__ops_path_tensor_", "smsp__sass_thread_inst_executed_op_"))
        and not any(part in name for part in apart)
    ]


def _as_surveyed(context: CountedContext, end_us: int) -> Context:
    peaks = {}
    for metric in {metric for group in context.groups for metric in group.metrics}:
        peak = peak_counts_per_second(metric.name, *size_of(context))
        if peak is not None:
            peaks[metric.name] = peak
    return Context(
        groups=context.groups,
        strata=context.tally.strata,
        begin_us=context.begin_us,
        end_us=end_us,
        gaps=tuple((gap.begin_us, gap.end_us) for gap in context.gaps if gap.end_us > gap.begin_us),
        peaks=peaks,
    )


def _row(process: str, tail: ContextTime, estimate: Estimate) -> EstimateRow:
    weight = estimate.metric.weight
    more = bound_of(tail, metric_peak(estimate.metric, tail.context))
    return EstimateRow(
        process=process,
        device=tail.context.device["device"],
        uuid=tail.context.device["uuid"],
        metric=estimate.metric.name,
        precision=estimate.metric.precision,
        kind=estimate.metric.kind,
        windows=estimate.windows,
        measured=weight * estimate.measured,
        rotation=weight * estimate.rotation,
        gaps=weight * estimate.gaps,
        low=weight * estimate.low,
        high=bounded_sum([None if estimate.high is None else weight * estimate.high, more]),
        upper_limit=bounded_sum([None if estimate.upper_limit is None else weight * estimate.upper_limit, more]),
        time_share=estimate.time_share,
        cycles_share=estimate.cycles_share,
    )


def _precisions(surveys: Sequence[Sequence[Estimate]], lost: DeviceTimes) -> Iterable[PrecisionRow]:
    chosen: dict[tuple[str, str], list[tuple[int, Estimate]]] = {}
    for number, estimates in enumerate(surveys):
        for estimate in estimates:
            chosen.setdefault((estimate.metric.kind, estimate.metric.precision), []).append((number, estimate))
    for (kind, precision), mine in chosen.items():
        summed = total_of(mine)
        only_zeros = all(e.upper_limit is not None for _, e in mine)
        more = lost.bound(partial(precision_peak, kind, precision))
        yield PrecisionRow(
            precision=precision,
            kind=kind,
            measured=summed.measured,
            rotation=summed.rotation,
            gaps=summed.gaps,
            low=summed.low,
            high=bounded_sum([summed.high, more]),
            upper_limit=bounded_sum([summed.unseen, more]) if only_zeros else None,
            time_share=summed.time_share,
            cycles_share=summed.cycles_share,
        )
