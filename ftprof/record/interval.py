"""The interval around a count of floating-point operations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """[low, high] around a total, in operations.

    ``value`` is the best figure, or ``None`` where nothing could be counted. ``high`` is ``None`` where work went
    uncounted and nothing bounds it, so that the total may be any number from ``low`` upwards.
    """

    low: int
    value: int | None
    high: int | None

    def __post_init__(self) -> None:
        if self.low < 0:
            raise ValueError(f"an interval's low end is negative: {self.low}")
        if self.value is not None and self.value < self.low:
            raise ValueError(f"an interval's value {self.value} lies below its low end {self.low}")
        top = self.low if self.value is None else self.value
        if self.high is not None and self.high < top:
            raise ValueError(f"an interval's high end {self.high} lies below {top}")


NOTHING_COUNTED = Interval(0, None, None)


def unbounded(interval: Interval, method: str) -> Interval:
    """The same without an upper end. A figure that is an upper bound is none then."""
    return Interval(interval.low, None if method == "peak-bound" else interval.value, None)
