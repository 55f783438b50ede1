"""What a check found: that something holds, that it was not checked, or the place at which it does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

HOLDS, FAILS, NOT_CHECKED = "holds", "does not hold", "not checked"


@dataclass(frozen=True)
class Place:
    """A file, and where in it: a line from 1, a field as ``processes[0].flops``; ``None`` where that cannot be told."""

    file: str
    line: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        parts = [self.file]
        parts += [] if self.line is None else [f"line {self.line}"]
        parts += [] if self.field is None else [f"field {self.field}"]
        return ", ".join(parts)


class DoesNotHold(Exception):
    """The first thing that does not hold: where, and what, as a clause."""

    def __init__(self, place: Place, what: str) -> None:
        super().__init__(f"{place}: {what}")
        self.place = place
        self.what = what


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, or could not be. ``what`` is a sentence without its full stop."""

    name: str
    result: str
    what: str

    def to_json(self) -> dict[str, str]:
        """As the schema ``ftprof.verify/1`` has it."""
        return {"check": self.name, "result": self.result, "what": self.what}


@dataclass(frozen=True)
class Difference:
    """The first field in which two contents differ; a value is ``None`` where the field is missing."""

    field: str
    found: Any
    expected: Any

    @property
    def values(self) -> str:
        """Both, shortened."""
        return f"{self.found!r:.60} stands there, {self.expected!r:.60} is expected"


def first_difference(found: Any, expected: Any, field: str = "") -> Difference | None:
    """Go through all of two JSON contents, in the order of the expected one. Types differ too: 1 is not true."""
    if type(found) is not type(expected):
        return Difference(field, found, expected)
    if isinstance(expected, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            inner = f"{field}.{key}" if field else key
            if key not in found or key not in expected:
                return Difference(inner, found.get(key), expected.get(key))
            if difference := first_difference(found[key], expected[key], inner):
                return difference
        return None
    if isinstance(expected, list):
        for index, (one, other) in enumerate(zip(found, expected, strict=False)):
            if difference := first_difference(one, other, f"{field}[{index}]"):
                return difference
        if len(found) != len(expected):
            at = min(len(found), len(expected))
            return Difference(f"{field}[{at}]", *(part[at] if at < len(part) else None for part in (found, expected)))
        return None
    return None if found == expected else Difference(field, found, expected)


def fields_by_line(content: Any, field: str = "") -> Iterator[str]:
    """The field that each line of a content's file has, where the file is written with ``json.dumps(indent=...)``."""
    yield field
    inner: list[tuple[str, Any]] = []
    if isinstance(content, dict):
        inner = [(f"{field}.{key}" if field else key, value) for key, value in content.items()]
    elif isinstance(content, list):
        inner = [(f"{field}[{index}]", value) for index, value in enumerate(content)]
    for name, value in inner:
        yield from fields_by_line(value, name)
    if inner:
        yield field


def first_changed_line(found: bytes, original: bytes) -> int:
    """The line, from 1, in which the first byte that differs stood."""
    low, high = 0, min(len(found), len(original))
    while low < high:  # bytes that are equal up to ``low``
        middle = (low + high + 1) // 2
        if found[low:middle] == original[low:middle]:
            low = middle
        else:
            high = middle - 1
    return original.count(b"\n", 0, low) + 1
