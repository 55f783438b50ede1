"""A running total of a run's journals, read as they grow."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftprof.record.journal import JOURNALS

_FLOATING = ("floating", "cuda-core")


@dataclass(frozen=True)
class Snapshot:
    """What has been counted so far: ``flops`` in operations by ``processes`` processes."""

    flops: int
    processes: int


@dataclass
class _Reading:
    """How far one journal has been read, and what it held. ``weights``: by context and group, of each count.

    ``counts`` tells that it holds any, ``counters`` that they are of hardware counters.
    """

    inode: int
    read: int = 0
    flops: int = 0
    counts: bool = False
    counters: bool = False
    weights: dict[int, list[list[int]]] = field(default_factory=dict)


class Progress:
    """Reads only what was appended since the last look. It trusts the lines: the record's reader verifies them.

    Of hardware counters it shows what windows measured, with nothing extrapolated.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journals: dict[Path, _Reading] = {}

    def look(self) -> Snapshot:
        """The total of all whole lines."""
        for path in self._folder.glob(JOURNALS):
            with path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                known = self._journals.get(path)
                if known is None or known.inode != inode:  # new, or a roll-up has taken the old one's place
                    known = self._journals[path] = _Reading(inode)
                file.seek(known.read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            known.read += len(whole)
            for text in whole.splitlines():
                _enter(known, json.loads(text))
        counting = [journal for journal in self._journals.values() if journal.counts]
        # Operators may be counted beside counters, which have the first word.
        counting = [journal for journal in counting if journal.counters] or counting
        return Snapshot(sum(journal.flops for journal in counting), len(counting))


def _enter(journal: _Reading, line: dict[str, Any]) -> None:
    if line["kind"] == "window":
        journal.counts = True
        journal.flops += sum(int(row["flops"]) for row in line["counts"])
    elif line["kind"] == "context":
        journal.weights[line["context"]] = [
            [metric["weight"] if metric["kind"] in _FLOATING else 0 for metric in group["metrics"]]
            for group in line["groups"]
        ]
    elif line["kind"] == "counts":
        journal.counts = journal.counters = True
        journal.flops += _weighed(journal.weights[line["context"]][line["group"]], line["counts"])
    elif line["kind"] == "rollup":
        for stratum in line["strata"]:
            for group in stratum["groups"]:
                journal.flops += _weighed(journal.weights[stratum["context"]][group["group"]], group["sums"])


def _weighed(weights: list[int], counts: list[str]) -> int:
    return sum(weight * int(count) for weight, count in zip(weights, counts, strict=True))
