"""How a run's operations lie in time, in constant memory however long it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

from ftprof.record.fields import parse_count, parse_list, parse_object, parse_whole

MOST_STEPS = 120
_FIRST_SHIFT = 16  # steps of 65,536 microseconds


@dataclass
class Timeline:
    """Operations by steps of equal length, a power of two of microseconds, at multiples of it since the epoch.

    Equal ends make two timelines easy to add: that of the longer steps holds whole steps of the other one.
    """

    shift: int = _FIRST_SHIFT
    steps: dict[int, int] = field(default_factory=dict)
    _ends: tuple[int, int] | None = field(default=None, compare=False, repr=False)  # the first and last of them

    @property
    def flops(self) -> int:
        """All operations in it."""
        return sum(self.steps.values())

    @property
    def step_us(self) -> int:
        """The length of a step in microseconds."""
        return 1 << self.shift

    def add(self, begin_us: int, end_us: int, flops: int) -> None:
        """Spread operations evenly over a time, to the operation; microseconds since the epoch."""
        if flops == 0:
            return
        end_us = max(end_us, begin_us + 1)
        first, last = begin_us >> self.shift, (end_us - 1) >> self.shift
        if self._ends is None or first < self._ends[0] or last > self._ends[1]:
            self._make_room(first, last)
            first, last = begin_us >> self.shift, (end_us - 1) >> self.shift  # which may have made the steps longer
        if first == last:
            self.steps[first] = self.steps.get(first, 0) + flops
            return
        ends = range((first + 1) << self.shift, end_us, self.step_us)
        until = [0, *[flops * (moment_us - begin_us) // (end_us - begin_us) for moment_us in ends], flops]
        for step, (before, after) in enumerate(pairwise(until), first):
            if after != before:  # a step of nothing would be the first or the last
                self.steps[step] = self.steps.get(step, 0) + after - before

    def add_all(self, other: Timeline) -> None:
        """Add another timeline."""
        if not other.steps:
            return
        self._lengthen(max(other.shift - self.shift, 0))
        first, last = min(other.steps), max(other.steps)
        self._make_room(first >> (self.shift - other.shift), last >> (self.shift - other.shift))
        down, mine = self.shift - other.shift, self.steps  # the room may have made the steps longer
        for step, flops in other.steps.items():
            mine[step >> down] = mine.get(step >> down, 0) + flops

    def after(self, moment_us: int, begin_us: int, end_us: int) -> tuple[Fraction, Fraction, Fraction]:
        """The share of what lies between begin and end that comes after a moment: at least, likely, at most.

        A step is not resolved: the one that the moment lies in is all before it, split evenly, or all after it.
        """
        whole = least = most = 0
        likely = Fraction(0)
        for step, flops in self.steps.items():
            first, last = max(step << self.shift, begin_us), min((step + 1) << self.shift, end_us)
            if first >= last:
                continue
            whole += flops
            part = min(max(Fraction(last - moment_us, last - first), Fraction(0)), Fraction(1))
            least, likely, most = least + flops * (part == 1), likely + flops * part, most + flops * (part > 0)
        return (Fraction(least, whole), likely / whole, Fraction(most, whole)) if whole else (Fraction(0),) * 3

    def to_json(self) -> dict[str, Any] | None:
        """As the record's schema has it: every step from the first to the last; ``None`` where there is none."""
        if not self.steps:
            return None
        first, last = min(self.steps), max(self.steps)
        return {
            "begin_us": first << self.shift,
            "step_us": self.step_us,
            "flops": [str(self.steps.get(step, 0)) for step in range(first, last + 1)],
        }

    @classmethod
    def from_json(cls, data: Any) -> Timeline:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form is not the schema's."""
        if data is None:
            return cls()
        row = parse_object(data)
        step_us, begin_us = parse_whole(row["step_us"]), parse_whole(row["begin_us"])
        counts = [parse_count(flops) for flops in parse_list(row["flops"])]
        shift = step_us.bit_length() - 1
        if shift < _FIRST_SHIFT or step_us != 1 << shift or begin_us % step_us:
            raise ValueError("a timeline's steps do not lie at multiples of a power of two")
        if not 0 < len(counts) <= MOST_STEPS or not counts[0] or not counts[-1]:
            raise ValueError("a timeline has no steps, too many, or begins or ends with an empty one")
        return cls(shift, {(begin_us >> shift) + n: flops for n, flops in enumerate(counts) if flops})

    def _make_room(self, first: int, last: int) -> None:
        known = self._ends or ((min(self.steps), max(self.steps)) if self.steps else (first, last))
        low, high = min(known[0], first), max(known[1], last)
        times = 0
        while (high >> times) - (low >> times) >= MOST_STEPS:
            times += 1
        self._lengthen(times)
        self._ends = low >> times, high >> times

    def _lengthen(self, times: int) -> None:
        """Double the length of a step so many times."""
        if times == 0:
            return
        longer: dict[int, int] = {}
        for step, flops in self.steps.items():
            longer[step >> times] = longer.get(step >> times, 0) + flops
        self.shift, self.steps, self._ends = self.shift + times, longer, None


def added(timelines: Iterable[Timeline]) -> Timeline:
    """All of them as one."""
    total = Timeline()
    for timeline in timelines:
        total.add_all(timeline)
    return total
