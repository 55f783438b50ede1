"""The compute that a policy is asked about: a record's interval, or a number that the user gave."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ftprof.record.interval import Interval

GIVEN = "given"
PEAK_BOUND = "peak-bound"
# The two figures of a run, one of which a policy compares.
EXECUTED = "executed"
GUIDELINES_BASIS = "guidelines-basis"


@dataclass(frozen=True)
class Amount:
    """[low, high] around ``value``, in FLOP, with the method behind it.

    ``value`` is None where nothing was counted, ``high`` is None where nothing bounds what went uncounted;
    ``reasons`` says why in either case.
    """

    low: Fraction
    value: Fraction | None
    high: Fraction | None
    method: str
    reasons: tuple[str, ...] = ()

    @classmethod
    def given(cls, flops: Fraction, error: Fraction) -> Amount:
        """A number from the user with its relative error: [F (1 - E), F (1 + E)]."""
        return cls(flops * (1 - error), flops, flops * (1 + error), GIVEN)

    @classmethod
    def measured(cls, interval: Interval, method: str, reasons: tuple[str, ...] = ()) -> Amount:
        """A record's interval. A peak-bound is an upper bound only, so its low end is 0."""
        low = Fraction(0 if method == PEAK_BOUND else interval.low)
        value = None if interval.value is None else Fraction(interval.value)
        high = None if interval.high is None else Fraction(interval.high)
        return cls(low, value, high, method, reasons)
