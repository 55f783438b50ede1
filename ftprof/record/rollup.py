"""Sums of the windows of a stratum: all that an estimate needs of them, from single windows or from roll-ups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Any

from ftprof.record.fields import parse_counts, parse_list, parse_whole


@dataclass
class Sums:
    """Of the windows of one group in one stratum, exactly. ``time_us`` is in microseconds, the lists by metric.

    ``products`` are the sums of each metric's count times the denominator's in the same window. ``continued`` is how
    many of the windows have more of the slot that the window before them had, since a cut came in between.
    ``slot_squares`` and ``slot_products`` are those of whole slots; ``None`` where no slot was cut.
    """

    windows: int
    time_us: int
    sums: list[int]
    squares: list[int]
    products: list[int]
    continued: int = 0
    slot_squares: list[int] | None = None
    slot_products: list[int] | None = None
    _slot: Sequence[int] = field(default=(), compare=False, repr=False)  # what the last one has so far

    @property
    def draws(self) -> tuple[list[int], list[int]]:
        """Squares and products of slots: what a sample of these says of the time that it did not see."""
        if self.slot_squares is None or self.slot_products is None:
            return self.squares, self.products
        return self.slot_squares, self.slot_products

    @property
    def slots(self) -> int:
        """How many slots were drawn: the pieces of one are no draws of their own."""
        return max(self.windows - self.continued, min(self.windows, 1))

    @classmethod
    def empty(cls, metrics: int) -> Sums:
        """Of no window."""
        return cls(0, 0, [0] * metrics, [0] * metrics, [0] * metrics)

    @classmethod
    def of_window(cls, time_us: int, counts: Sequence[int], denominator: int) -> Sums:
        """Of one window. ``denominator`` is the index of the denominator among the counts."""
        divisor = counts[denominator]
        return cls(1, time_us, list(counts), [x * x for x in counts], [x * divisor for x in counts])

    def add(self, other: Sums) -> None:
        """Add the sums of other windows of the same group."""
        self.windows += other.windows
        self.time_us += other.time_us
        self.sums = list(map(add, self.sums, other.sums))
        if self.slot_squares is not None or other.slot_squares is not None:
            pairs = zip(self.draws, other.draws, strict=True)
            self.slot_squares, self.slot_products = (list(map(add, *pair)) for pair in pairs)
        self.squares = list(map(add, self.squares, other.squares))
        self.products = list(map(add, self.products, other.products))
        self.continued += other.continued

    def add_window(self, time_us: int, counts: Sequence[int], denominator: int, continued: bool = False) -> None:
        """Add one window. ``denominator`` is the index of the denominator among the counts."""
        divisor = counts[denominator]
        self._add_to_slot(counts, denominator, continued)
        self.windows += 1
        self.continued += continued
        self.time_us += time_us
        for index, count in enumerate(counts):
            self.sums[index] += count
            self.squares[index] += count * count
            self.products[index] += count * divisor

    def _add_to_slot(self, counts: Sequence[int], denominator: int, continued: bool) -> None:
        """A slot's pieces are added up before they are squared."""
        if continued and self.slot_squares is None:
            self.slot_squares, self.slot_products = list(self.squares), list(self.products)
        before = self._slot if continued and self._slot else [0] * len(counts)
        self._slot = list(map(add, before, counts)) if continued else counts
        if self.slot_squares is None or self.slot_products is None:
            return
        for index, (then, now) in enumerate(zip(before, self._slot, strict=True)):
            self.slot_squares[index] += now * now - then * then
            self.slot_products[index] += now * self._slot[denominator] - then * before[denominator]

    def bound_draws(self) -> None:
        """Take the pieces of each slot as if they all erred the same way.

        For a part of a run that began in the midst of a slot: of that one, only all pieces together are known.
        """
        if self.continued:
            self.slot_squares, self.slot_products = (
                [-(-number * self.windows // self.slots) for number in numbers]
                for numbers in (self.squares, self.products)
            )

    def to_json(self, group: int) -> dict[str, Any]:
        """As a ``rollup`` line has it."""
        squares, products = self.draws
        of_slots = {"slot_squares": [str(n) for n in squares], "slot_products": [str(n) for n in products]}
        return {
            "group": group,
            "windows": self.windows,
            "time_us": self.time_us,
            "sums": [str(number) for number in self.sums],
            "squares": [str(number) for number in self.squares],
            "products": [str(number) for number in self.products],
            **({"continued": self.continued, **of_slots} if self.continued else {}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], metrics: int) -> Sums:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form is not that of a ``rollup`` line."""
        windows, continued = parse_whole(data["windows"]), parse_whole(data.get("continued", 0))
        if continued > windows:
            raise ValueError("more windows are continued than there are")
        names = ["sums", "squares", "products", *(["slot_squares", "slot_products"] if continued else [])]
        lists = [parse_counts(data[name]) for name in names]
        if any(len(numbers) != metrics for numbers in lists):
            raise ValueError(f"sums of another number of metrics than {metrics}")
        sums, squares, products, *of_slots = lists
        found = cls(windows, parse_whole(data["time_us"]), sums, squares, products, continued)
        if of_slots:
            found.slot_squares, found.slot_products = of_slots
        return found


@dataclass
class Stratum:
    """The windows of one stratum of a context, by group. Times in microseconds; gaps between windows are inside."""

    number: int
    begin_us: int
    end_us: int
    groups: dict[int, Sums] = field(default_factory=dict)

    def add(self, other: Stratum) -> None:
        """Take in the windows of another stratum, or more of the same."""
        self.begin_us = min(self.begin_us, other.begin_us)
        self.end_us = max(self.end_us, other.end_us)
        for group, sums in other.groups.items():
            if group not in self.groups:
                self.groups[group] = Sums.empty(len(sums.sums))
            self.groups[group].add(sums)

    def to_json(self, context: int) -> dict[str, Any]:
        """As a ``rollup`` line has it."""
        return {
            "context": context,
            "stratum": self.number,
            "begin_us": self.begin_us,
            "end_us": self.end_us,
            "groups": [sums.to_json(group) for group, sums in sorted(self.groups.items())],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], metrics: Sequence[int]) -> Stratum:
        """From a ``rollup`` line. ``metrics`` is how many each group of the context has.

        Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form does not hold.
        """
        stratum = cls(parse_whole(data["stratum"]), parse_whole(data["begin_us"]), parse_whole(data["end_us"]))
        for row in parse_list(data["groups"]):
            group = parse_whole(row["group"])
            if group >= len(metrics) or group in stratum.groups:
                raise ValueError(f"group {group} is not of this context, or comes twice in a stratum")
            stratum.groups[group] = Sums.from_json(row, metrics[group])
        return stratum


class Tally:
    """Collects the windows and roll-ups of one context, in any order.

    ``denominators`` is, for each group, the index of its denominator among its metrics.
    """

    def __init__(self, denominators: Sequence[int]) -> None:
        self._denominators = tuple(denominators)
        self._strata: dict[int, Stratum] = {}

    def add_window(
        self, stratum: int, group: int, begin_us: int, end_us: int, counts: Sequence[int], continued: bool = False
    ) -> None:
        """One closed window: a journal's ``counts`` line."""
        mine = self._strata.get(stratum)
        if mine is None:
            mine = self._strata[stratum] = Stratum(stratum, begin_us, end_us)
        mine.begin_us = min(mine.begin_us, begin_us)
        mine.end_us = max(mine.end_us, end_us)
        sums = mine.groups.get(group)
        if sums is None:
            sums = mine.groups[group] = Sums.empty(len(counts))
        sums.add_window(end_us - begin_us, counts, self._denominators[group], continued)

    def add_stratum(self, stratum: Stratum) -> None:
        """The sums of windows of one stratum: a part of a journal's ``rollup`` line."""
        mine = self._strata.setdefault(stratum.number, Stratum(stratum.number, stratum.begin_us, stratum.end_us))
        mine.add(stratum)

    def add_strata(self, strata: Iterable[Stratum]) -> None:
        """Those of a whole ``rollup`` line."""
        for stratum in strata:
            self.add_stratum(stratum)

    @property
    def strata(self) -> tuple[Stratum, ...]:
        """In the order of their numbers, which is that of time."""
        return tuple(stratum for _, stratum in sorted(self._strata.items()))
