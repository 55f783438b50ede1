"""What one process's meter found on one CUDA context, from the lines of its counters journal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ftprof.record.explanation import explain
from ftprof.record.fields import parse_count, parse_counts, parse_list, parse_object, parse_text, parse_whole
from ftprof.record.rollup import Stratum, Sums, Tally
from ftprof.record.spans import Group, Metric
from ftprof.record.survey import Estimate

ROLES = ("base", "rotating", "cuda-core", "link", "integer", "sparse")
KINDS = ("floating", "integer", "sparse", "cuda-core", "cycles", "instructions")


@lru_cache(maxsize=64)
def _groups(text: str) -> tuple[Group, ...]:
    """From their JSON: the processes of a run have the same plan, which is read once and kept once."""
    return tuple(_group(group) for group in parse_list(json.loads(text)))


def _group(data: dict[str, Any]) -> Group:
    metrics = tuple(
        Metric(
            parse_text(row["name"]),
            parse_text(row["precision"]),
            _one_of(KINDS, row["kind"]),
            parse_whole(row["weight"]),
        )
        for row in parse_list(data["metrics"])
    )
    group = Group(_one_of(ROLES, data["role"]), metrics)
    _ = group.denominator  # raises where there is none, or more than one
    return group


def _one_of(known: tuple[str, ...], value: Any) -> str:
    if value not in known:
        raise ValueError(f"{value!r:.40} is none of {', '.join(known)}")
    return str(value)


@dataclass(frozen=True)
class AbnormalGap:
    """Time in which nobody counted, and why. Times in microseconds since the epoch."""

    begin_us: int
    end_us: int
    reason: str
    call: str
    code: int
    remedy: str

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> AbnormalGap:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form is not the schema's."""
        begin, end = parse_whole(data["begin_us"]), parse_whole(data["end_us"])
        if end < begin:
            raise ValueError("a gap ends before it begins")
        if type(data["code"]) is not int:
            raise ValueError("a gap's code is no number")
        texts = [parse_text(data[name]) for name in ("reason", "call", "remedy")]
        return cls(begin, end, texts[0], texts[1], data["code"], texts[2])

    @property
    def why(self) -> tuple[str, str, str]:
        """What happened in plain words, which call answered what, and what to do, each maybe empty."""
        known = explain(self.call, self.code)
        answer = f"error {self.code}, {self.reason or 'without a name'}" if self.code else self.reason
        meaning = known.meaning or self.reason
        call = self.call if meaning == answer else f"{self.call}: {answer}"
        return meaning, call, self.remedy or known.remedy


@dataclass(frozen=True)
class Surveyed:
    """What a context's windows amount to. ``too_fast`` says of some, if any, that its GPU cannot have done so much."""

    estimates: tuple[Estimate, ...]
    too_fast: str | None


@dataclass
class CountedContext:
    """A context's device, plan and windows. Without groups nothing could be counted on it.

    ``gone_us`` is when it was seen to be destroyed, in microseconds since the epoch. ``surveyed`` is set where its
    windows were surveyed already; ``tally`` is empty then.
    """

    number: int
    device: dict[str, Any]
    begin_us: int
    groups: tuple[Group, ...] = ()
    unsupported: tuple[str, ...] = ()
    gaps: list[AbnormalGap] = field(default_factory=list)
    windows: int = 0
    last_us: int = 0
    gone_us: int | None = None
    tally: Tally = field(default_factory=lambda: Tally(()))
    surveyed: Surveyed | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CountedContext:
        """From a ``context`` line. Raises ``KeyError``, ``TypeError`` or ``ValueError`` where it has another form."""
        groups = _groups(json.dumps(data["groups"]))
        for name in ("device", "name", "uuid", "capability", "chip"):
            parse_text(data["device"][name])
        for name in ("multiprocessors", "clock_khz"):
            parse_whole(data["device"][name])
        begin = parse_whole(data["begin_us"])
        parse_count(data["seed"])
        return cls(
            number=parse_whole(data["context"]),
            device=parse_object(data["device"]),
            begin_us=begin,
            groups=groups,
            unsupported=tuple(parse_text(name) for name in parse_list(data["unsupported"])),
            last_us=begin,
            tally=Tally([group.denominator for group in groups]),
        )

    def plan(self, again: CountedContext) -> None:
        """Take over the groups of a later line of the same context, once it could be planned."""
        if self.groups:
            raise ValueError("a context is planned twice")
        self.device, self.groups, self.unsupported, self.tally = (
            again.device,
            again.groups,
            again.unsupported,
            again.tally,
        )

    def add_window(self, data: dict[str, Any]) -> int:
        """From a ``counts`` line; the floating-point operations in it.

        Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form does not hold.
        """
        group = parse_whole(data["group"])
        counts = parse_counts(data["counts"])
        if group >= len(self.groups) or len(counts) != len(self.groups[group].metrics):
            raise ValueError("a window is not of a group of its context")
        begin, end = parse_whole(data["begin_us"]), parse_whole(data["end_us"])
        if end < begin:
            raise ValueError("a window ends before it begins")
        continued = data.get("continued", False)
        if type(continued) is not bool:
            raise ValueError("whether a window continues another one is neither true nor false")
        self.tally.add_window(parse_whole(data["stratum"]), group, begin, end, counts, continued)
        self.windows += 1
        self.last_us = max(self.last_us, end)
        return self.groups[group].operations(counts)

    def add_stratum(self, data: dict[str, Any]) -> Stratum:
        """From a part of a ``rollup`` line. Raises as ``add_window`` does."""
        stratum = Stratum.from_json(data, [len(group.metrics) for group in self.groups])
        for sums in stratum.groups.values():
            _check_sums(sums)
        if stratum.end_us < stratum.begin_us:
            raise ValueError("a stratum ends before it begins")
        self.tally.add_stratum(stratum)
        self.windows += sum(sums.windows for sums in stratum.groups.values())
        self.last_us = max(self.last_us, stratum.end_us)
        return stratum


def _check_sums(sums: Sums) -> None:
    """A sum of squares is at least the square of the mean, and at most that of the sum."""
    if sums.windows == 0:
        raise ValueError("a stratum has sums of no windows")
    for total, squares in zip(sums.sums, sums.squares, strict=True):
        if not total * total <= squares * sums.windows <= total * total * sums.windows:
            raise ValueError("a stratum's sums and squares are not of the same windows")
    # A part of a run may begin in the midst of a slot, which is not among its slots then.
    for total, squares, of_slots in zip(sums.sums, sums.squares, sums.draws[0], strict=True):
        if not (squares <= of_slots and total * total <= of_slots * (sums.slots + 1)):
            raise ValueError("a stratum's sums and squares are not of the same slots")


def context_of(contexts: Sequence[CountedContext], number: Any) -> CountedContext:
    """The context that a line speaks of. Raises ``ValueError`` where no line has introduced it."""
    for context in contexts:
        if context.number == parse_whole(number):
            return context
    raise ValueError(f"context {number!r:.20} was not introduced")
