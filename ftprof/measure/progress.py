"""A running total of a run's journals, read as they grow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ftprof.record.journal import JOURNALS


@dataclass(frozen=True)
class Snapshot:
    """What has been counted so far: ``flops`` in operations by ``processes`` processes."""

    flops: int
    processes: int


class Progress:
    """Reads only what was appended since the last look. It trusts the lines: the record's reader verifies them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._flops = 0
        self._counting: set[Path] = set()

    def look(self) -> Snapshot:
        """The total of all whole lines."""
        for path in self._folder.glob(JOURNALS):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for text in whole.splitlines():
                line = json.loads(text)
                if line["kind"] == "window":
                    self._counting.add(path)
                    self._flops += sum(int(row["flops"]) for row in line["counts"])
        return Snapshot(self._flops, len(self._counting))
