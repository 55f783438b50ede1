"""Reads single fields of a record or a journal, each in its one allowed form."""

from __future__ import annotations

import re
from typing import Any

_COUNT = re.compile(r"(?:0|[1-9][0-9]{0,59})\Z", re.ASCII)


def parse_count(value: Any) -> int:
    """An exact count from its decimal string.

    Raises ``ValueError`` for anything but the one canonical form of a number from 0 to below 10^60.
    """
    if not isinstance(value, str) or not _COUNT.match(value):
        raise ValueError(f"not a count: {value!r:.60}")
    return int(value)


def parse_whole(value: Any) -> int:
    """A number that fits a JSON number: a time, an id, a size. Raises ``ValueError``."""
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"not a whole number: {value!r:.40}")
    return value


def parse_text(value: Any) -> str:
    """A string. Raises ``ValueError``."""
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r:.40}")
    return value
