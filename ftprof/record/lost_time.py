"""What GPUs can have done in time of which no window tells: the peak-bound, each moment of a GPU taken once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ftprof.record.counted_context import CountedContext
from ftprof.record.estimate_rows import bounded_sum
from ftprof.record.peaks import peak_counts_per_second, peak_flops_per_second
from ftprof.record.spans import Metric

Peak = Callable[[CountedContext], int | None]
_MILLION = 1_000_000


@dataclass(frozen=True)
class ContextTime:
    """A part of a context's time, in microseconds since the epoch."""

    context: CountedContext
    begin_us: int
    end_us: int


class DeviceTimes:
    """Times of contexts by device, each moment of a device once, however many contexts share it."""

    def __init__(self, times: Iterable[ContextTime]) -> None:
        by_device: dict[str, list[ContextTime]] = {}
        for time in times:
            if time.end_us > time.begin_us:
                by_device.setdefault(time.context.device["uuid"], []).append(time)
        self._of = {
            uuid: (_covered_us(mine), list({id(time.context): time.context for time in mine}.values()))
            for uuid, mine in by_device.items()
        }

    def bound(self, peak: Peak) -> int | None:
        """The most that the GPUs can have done in these times; ``None`` where nothing bounds one of them.

        ``peak`` is what the GPU of a context can do in a second.
        """
        return bounded_sum([self.bound_of_device(uuid, peak) for uuid in self._of])

    def bound_of_device(self, uuid: str, peak: Peak) -> int | None:
        """The same of one GPU."""
        if uuid not in self._of:
            return 0
        covered_us, contexts = self._of[uuid]
        fastest = 0
        for rate in map(peak, contexts):
            if rate is None:
                return None
            fastest = max(fastest, rate)
        return -(-fastest * covered_us // _MILLION)


def bound_of(time: ContextTime, rate: int | None) -> int | None:
    """The most that a GPU can have done in one time, at so much a second; ``None`` where nothing bounds it."""
    time_us = time.end_us - time.begin_us
    if time_us <= 0:
        return 0
    return None if rate is None else -(-rate * time_us // _MILLION)


def device_peak(context: CountedContext) -> int | None:
    """In operations a second, whatever they are; ``None`` for an unknown chip."""
    return peak_flops_per_second(*size_of(context))


def metric_peak(metric: Metric, context: CountedContext) -> int | None:
    """Of one metric, in operations a second."""
    peak = peak_counts_per_second(metric.name, *size_of(context))
    return None if peak is None else metric.weight * peak


def precision_peak(kind: str, precision: str, context: CountedContext) -> int | None:
    """Of all metrics of one kind and precision, which share their units: that of the fastest one."""
    if not any(group.metrics for group in context.groups):  # nobody knows its plan
        return None if kind == "integer" else device_peak(context)
    most = 0
    for group in context.groups:
        for metric in group.metrics:
            if metric.kind == kind and metric.precision == precision:
                peak = metric_peak(metric, context)
                if peak is None:
                    return None
                most = max(most, peak)
    return most


def size_of(context: CountedContext) -> tuple[str, int, int]:
    """What the peaks of its device are computed from."""
    device = context.device
    return device["capability"], device["multiprocessors"], device["clock_khz"]


def _covered_us(times: list[ContextTime]) -> int:
    covered = until_us = 0
    for begin_us, end_us in sorted((time.begin_us, time.end_us) for time in times):
        covered += max(end_us - max(begin_us, until_us), 0)
        until_us = max(until_us, end_us)
    return covered
