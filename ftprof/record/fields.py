"""Reads single fields of a record or a journal, each in its one allowed form."""

from __future__ import annotations

import re
from typing import Any

_LONGEST_COUNT = 60
_LARGEST_COUNT = 10**_LONGEST_COUNT - 1
_HASH = re.compile(r"[0-9a-f]{64}\Z")


def parse_count(value: Any) -> int:
    """An exact count from its decimal string.

    Raises ``ValueError`` for anything but the one canonical form of a number from 0 to below 10^60.
    """
    # A big run has millions of them: this takes a third of the time of a regular expression.
    is_number = type(value) is str and value.isdecimal() and value.isascii() and len(value) <= _LONGEST_COUNT
    if not is_number or (value[0] == "0" and value != "0"):
        raise ValueError(f"not a count: {value!r:.60}")
    return int(value)


def parse_counts(values: Any) -> list[int]:
    """A list of exact counts, as ``parse_count`` takes them. Raises ``TypeError`` or ``ValueError``."""
    numbers = list(map(int, parse_list(values)))
    # One spelling only: what is written back is what was read. A big run has millions of counts.
    if numbers and (list(map(str, numbers)) != values or min(numbers) < 0 or max(numbers) > _LARGEST_COUNT):
        raise ValueError(f"not counts: {values!r:.60}")
    return numbers


def parse_whole(value: Any) -> int:
    """A number that fits a JSON number: a time, an id, a size. Raises ``ValueError``."""
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"not a whole number: {value!r:.40}")
    return value


def parse_optional_whole(value: Any) -> int | None:
    """A number as ``parse_whole`` takes it, or ``None`` for null. Raises ``ValueError``."""
    return None if value is None else parse_whole(value)


def parse_list(value: Any) -> list[Any]:
    """A list; of a text or an object one could otherwise go through the characters or keys. Raises ``ValueError``."""
    if not isinstance(value, list):
        raise ValueError(f"not a list: {value!r:.40}")
    return value


def parse_object(value: Any) -> dict[str, Any]:
    """An object, copied. Raises ``ValueError``."""
    if not isinstance(value, dict):
        raise ValueError(f"not an object: {value!r:.40}")
    return dict(value)


def parse_hash(value: Any) -> str:
    """A SHA-256 in hexadecimal digits. Raises ``ValueError``."""
    if not isinstance(value, str) or not _HASH.match(value):
        raise ValueError(f"not a hash: {value!r:.70}")
    return value


def parse_text(value: Any) -> str:
    """A string. Raises ``ValueError``."""
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r:.40}")
    return value
