"""Tries cases, a group of the chip's plan at a time: to change the group takes ten times as long as a window."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from ftprof.record.spans import Metric
from ftprof.selftest.bench import Bench, NothingToCount
from ftprof.selftest.cases import Case, Work
from ftprof.selftest.counts import Counts, NotCounted
from ftprof.selftest.gpu import GpuProblem
from ftprof.selftest.rows import Row

LEFT_OUT = "left out, since the time was over"
Tell = Callable[[int, Row, str], None]


@dataclass
class _Trial:
    """A case on its way: its work, the groups that have not counted it, and what the others counted."""

    number: int
    case: Case
    row: Row
    work: Work | None = None
    missing: list[int] = field(default_factory=list)
    counted: tuple[tuple[Metric, int], ...] = ()


class Trials:
    """Of one bench. What refuses one window everywhere ends all of them."""

    def __init__(self, bench: Bench, deadline: float, tell: Tell) -> None:
        """After ``deadline`` (``time.monotonic``) nothing is begun. ``tell`` gets each row with a verdict, its number
        and the remedy, if there is one.
        """
        self._bench = bench
        self._deadline = deadline
        self._tell = tell
        self._refused: NotCounted | None = None

    def run(self, cases: Sequence[Case], first: int) -> None:
        """These, numbered from ``first`` on. A library that crashes takes along what is tried together with it."""
        trials = [_Trial(first + number, case, case.row) for number, case in enumerate(cases)]
        for trial in trials:
            self._step(trial, self._prepare)
        for group in sorted({group for trial in trials for group in trial.missing}):
            for trial in trials:
                if group in trial.missing and not trial.row.verdict:
                    self._step(trial, partial(self._count, group))

    def _step(self, trial: _Trial, act: Callable[[_Trial], None]) -> None:
        if self._refused is None:
            trial.row, problem = self._outcome(trial, act)
        else:
            trial.row, problem = trial.case.row.not_counted(self._refused.why), self._refused
        if problem is not None and problem.everywhere:
            self._refused = problem
        if trial.row.verdict:
            self._tell(trial.number, trial.row, problem.remedy if problem else "")

    def _prepare(self, trial: _Trial) -> None:
        trial.work = trial.case.prepare()
        trial.missing = self._bench.counters.groups_of(trial.case.roles)

    def _count(self, group: int, trial: _Trial) -> None:
        """In a window of this group; the last one's makes the verdict."""
        assert trial.work is not None
        trial.counted += self._bench.count(group, trial.work)
        trial.missing.remove(group)
        if not trial.missing:
            trial.row = trial.case.judge(trial.case.row, Counts(trial.counted))

    def _outcome(self, trial: _Trial, act: Callable[[_Trial], None]) -> tuple[Row, NotCounted | None]:
        """The row after an act, and why it could not be counted where the counters are why."""
        row = trial.case.row
        if time.monotonic() > self._deadline:
            return row.not_counted(LEFT_OUT), None
        try:
            act(trial)
        except NotCounted as problem:
            return row.not_counted(problem.why), problem
        except NothingToCount as why:
            return row.skipped(str(why)), None
        except GpuProblem as failed:
            return row.not_counted(failed.what), NotCounted(failed.what, failed.remedy)
        except Exception as error:  # such as torch's own, in a window: the other rows may still be counted
            return row.not_counted(f"{type(error).__name__}: {' '.join(str(error).split()):.200}"), None
        return trial.row, None
