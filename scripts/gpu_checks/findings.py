"""What an experiment found: figures with their spread, facts and sentences, written as soon as they are known."""

from __future__ import annotations

import base64
import hashlib
import json
import statistics
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_checks import place

Number = int | float
FIXTURE_SCHEMA = "ftprof.counter-data/1"


@dataclass(frozen=True)
class Wanted:
    """What a figure should be, in words and as a test of all its values."""

    text: str
    holds: Callable[[Sequence[Number]], bool]


def exactly(value: Number) -> Wanted:
    """Every single value."""
    return Wanted(f"exactly {value:,}", lambda values: all(v == value for v in values))


def at_most(limit: Number) -> Wanted:
    """The median."""
    return Wanted(f"at most {limit:g}", lambda values: statistics.median(values) <= limit)


def at_least(limit: Number) -> Wanted:
    """The median."""
    return Wanted(f"at least {limit:g}", lambda values: statistics.median(values) >= limit)


def between(low: Number, high: Number) -> Wanted:
    """Every single value."""
    return Wanted(f"{low:,} to {high:,}", lambda values: all(low <= v <= high for v in values))


def within(share: float) -> Wanted:
    """The median of relative differences."""
    return Wanted(f"within {100 * share:g} %", lambda values: abs(statistics.median(values)) <= share)


def figure_of(name: str, values: Sequence[Number], unit: str, wanted: Wanted | None) -> dict[str, Any]:
    """A figure as the evidence has it: the median with the least and the most of so many rounds."""
    whole = all(isinstance(value, int) for value in values)
    return {
        "name": name,
        "unit": unit,
        "median": statistics.median_low(values) if whole else statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
        "wanted": wanted.text if wanted else None,
        "ok": wanted.holds(values) if wanted else None,
    }


class Refused(Exception):
    """The counters are refused on this machine: nothing else is worth trying."""


class Findings:
    """An experiment's results. The file is whole after every call, so that a crash loses only what came after."""

    def __init__(self, path: Path, output: Path) -> None:
        self._path = path
        self._output = output
        self._data: dict[str, Any] = {"figures": [], "facts": {}, "notes": [], "fixtures": []}
        self._write()

    def figure(self, name: str, values: Sequence[Number], unit: str = "", wanted: Wanted | None = None) -> None:
        """A measured figure. No values at all are a note: a figure that is missing must be seen to be missing."""
        if not values:
            self.note(f"{name}: no value")
            return
        self._data["figures"].append(figure_of(name, list(values), unit, wanted))
        self._write()

    def claim(self, name: str, holds: bool, because: str = "") -> None:
        """Something that should hold, and did or did not."""
        entry = figure_of(name, [int(holds)], "", exactly(1))
        self._data["figures"].append({**entry, "unit": "holds", "because": because})
        self._write()

    def fact(self, name: str, value: Any) -> None:
        """Something to be kept beside the figures."""
        self._data["facts"][name] = value
        self._write()

    def note(self, sentence: str) -> None:
        """A sentence for the reader."""
        self._data["notes"].append(sentence)
        self._write()

    def fixture(self, name: str, content: Mapping[str, Any], image: bytes, availability: bytes) -> None:
        """A decoded counter-data image, for tests that have no GPU."""
        folder = place.fixtures(self._output)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"counter-data-{name}.json"
        data = {"schema": FIXTURE_SCHEMA, **content, "availability": packed(availability), "image": packed(image)}
        file.write_text(json.dumps(data, indent=1) + "\n", encoding="ascii")
        self._data["fixtures"].append(file.name)
        self._write()

    def _write(self) -> None:
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(self._data))
        beside.replace(self._path)


def packed(content: bytes) -> dict[str, Any]:
    """Bytes as JSON has them."""
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "zlib_base64": base64.b64encode(zlib.compress(content, 9)).decode("ascii"),
    }


def unpacked(data: Mapping[str, Any]) -> bytes:
    """The bytes again. Raises ``ValueError`` where they are not the ones that were packed."""
    content = zlib.decompress(base64.b64decode(data["zlib_base64"]))
    if len(content) != data["bytes"] or hashlib.sha256(content).hexdigest() != data["sha256"]:
        raise ValueError("the bytes are not the ones that were packed")
    return content
