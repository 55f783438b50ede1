"""The answer's rows: what was expected, what was counted, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

PASS, FAIL, NOT_COUNTED, SKIPPED = "pass", "fail", "not counted", "skipped"
EXIT_WRONG = 1
EXIT_NOT_COUNTED = 5


@dataclass(frozen=True)
class Row:
    """One case. Expected are ``low`` to ``high``, operations or (``unit``) instructions of threads; equal where exact.

    ``proved``: what is executed was proved from the very machine code. Without a verdict it has not been tried.
    """

    name: str
    precision: str
    low: int
    high: int
    proved: bool
    unit: str = "FLOP"
    counted: int | None = None
    verdict: str = ""
    why: str | None = None

    def judged(self, counted: int, problem: str | None = None) -> Row:
        """With what was counted. A ``problem`` fails it, whatever the number is."""
        if problem is None and not self.low <= counted <= self.high:
            problem = "the counters say something else than what was executed"
            if not self.proved:
                problem += ", or this kernel, which is not proved, executes something else than known ones do"
        return replace(self, counted=counted, verdict=PASS if problem is None else FAIL, why=problem)

    def not_counted(self, why: str) -> Row:
        """Where the counters, or the time, were not to be had."""
        return replace(self, verdict=NOT_COUNTED, why=why)

    def skipped(self, why: str) -> Row:
        """Where there is nothing to count: this machine cannot do the work."""
        return replace(self, verdict=SKIPPED, why=why)

    def to_json(self) -> dict[str, Any]:
        """As ``schemas/selftest-1.json`` has it."""
        expected = {"low": str(self.low), "high": str(self.high)}
        counted = None if self.counted is None else str(self.counted)
        return {**asdict(self), **expected, "counted": counted}


def row_from_json(row: dict[str, Any]) -> Row:
    """What ``to_json`` wrote."""
    counted = None if row["counted"] is None else int(row["counted"])
    return Row(**{**row, "low": int(row["low"]), "high": int(row["high"]), "counted": counted})


def verdict_of(rows: Sequence[Row]) -> str:
    """Of all: one wrong count fails it, and there is no pass where something could not be counted, or nothing was."""
    verdicts = {row.verdict for row in rows}
    if FAIL in verdicts:
        return FAIL
    return PASS if verdicts <= {PASS, SKIPPED} and PASS in verdicts else NOT_COUNTED


def exit_code_of(verdict: str) -> int:
    """Of the command."""
    return {PASS: 0, FAIL: EXIT_WRONG}.get(verdict, EXIT_NOT_COUNTED)
