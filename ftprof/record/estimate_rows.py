"""The rows that a record has of counters: each metric on each context, and each precision of the run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ftprof.record.fields import parse_count, parse_text

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
            name: parse_text(data[name]) for name in ("process", "device", "uuid", "metric", "precision")
        }
        row = cls(**texts, windows=parse_count(data["windows"]), **_parsed_parts(data))
        _check_parts(row, data, row.metric)
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
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form or a sum does not hold."""
        row = cls(parse_text(data["precision"]), **_parsed_parts(data))
        _check_parts(row, data, row.precision)
        return row


def added_precisions(rows: Iterable[PrecisionRow]) -> Iterable[PrecisionRow]:
    """Those of several runs, by kind and precision: sums, and the least of the shares."""
    parts: dict[tuple[str, str], list[PrecisionRow]] = {}
    for row in rows:
        parts.setdefault((row.kind, row.precision), []).append(row)
    for (kind, precision), mine in parts.items():
        yield PrecisionRow(
            precision=precision,
            kind=kind,
            measured=sum(row.measured for row in mine),
            rotation=sum(row.rotation for row in mine),
            gaps=sum(row.gaps for row in mine),
            low=sum(row.low for row in mine),
            high=bounded_sum([row.high for row in mine]),
            upper_limit=bounded_sum([row.upper_limit for row in mine]),
            time_share=min(row.time_share for row in mine),
            cycles_share=min(row.cycles_share for row in mine),
        )


def share_text(share: Fraction) -> str:
    """A share as a decimal of six digits, rounded down: a coverage is never overstated."""
    millionths = share.numerator * _MILLION // share.denominator
    # More than all: a clock that was set back makes a context's time shorter than its windows'.
    return f"{min(millionths, _MILLION) / _MILLION:.6f}"


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
    if data["kind"] not in (*FLOATING, *APART):
        raise ValueError(f"{data['kind']!r:.40} is no kind of operation")
    shares = {f"{name}_share": _share(data["coverage"][name]) for name in ("time", "cycles")}
    return {
        "kind": data["kind"],
        "measured": parse_count(data["measured"]),
        "rotation": parse_count(data["over_rotation"]),
        "gaps": parse_count(data["over_gaps"]),
        "low": parse_count(data["low"]),
        "high": _number(data["high"]),
        "upper_limit": _number(data["upper_limit"]),
        **shares,
    }


def _share(text: Any) -> Fraction:
    """As ``share_text`` writes it."""
    if not re.fullmatch(r"0\.[0-9]{6}|1\.0{6}", parse_text(text)):
        raise ValueError(f"no share: {text!r:.40}")
    return Fraction(text)


def _check_parts(row: EstimateRow | PrecisionRow, data: dict[str, Any], name: str) -> None:
    if row.flops != parse_count(data["flops"]):
        raise ValueError(f"the parts of {name} are not its sum")
    if row.low > row.flops or (row.high is not None and row.high < row.flops):
        raise ValueError(f"low and high of {name} do not hold its sum")


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _number(text: Any) -> int | None:
    return None if text is None else parse_count(text)


def sum_of_known(parts: Sequence[int | None]) -> int | None:
    """The sum of best figures: ``None`` where none of them is known."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def bounded_sum(parts: Sequence[int | None]) -> int | None:
    """The sum of upper ends: ``None`` where one of them is not bounded."""
    most = 0
    for part in parts:
        if part is None:
            return None
        most += part
    return most
