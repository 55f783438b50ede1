"""Blocks inside ``ftprof wrap``: what the injection library counts in this process, between two cuts of its windows."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftprof.errors import UntrustedInput
from ftprof.measure.analytic.hook import now_us, process_identity
from ftprof.measure.block import EDGES, PATIENCE_S, CannotCount, Line, end_line, problem_lines, waited
from ftprof.measure.cuda_block import (
    UNSETTLED_AFTER,
    UNSETTLED_BEFORE,
    capturing,
    clipped,
    contexts,
    settle,
    strata_line,
    uncounted_line,
    why_not,
)
from ftprof.measure.injection import LIBRARY, VARIABLE, mapped_library
from ftprof.record.counted_context import AbnormalGap, CountedContext
from ftprof.record.journal import Journal, read_journal
from ftprof.record.rollup import Stratum, Sums
from ftprof.record.spans import Group

OTHER_CONTEXT = "the CUDA context in use is not the device's primary one and was not counted; wrap with --subscribe"
_REOPEN_PATIENCE_MS = 2000


def is_wrapped() -> bool:
    """Whether ftprof's injection library counts in this process, or will once that uses CUDA.

    It may be that of another installation of ftprof, which runs the command.
    """
    library = Path(os.environ.get(VARIABLE, "")).name
    return library == LIBRARY.name and bool(os.environ.get("FTPROF_RUN_DIR")) and not _forked.is_set()


_forked = threading.Event()  # the library does not count in a child that has not its own
os.register_at_fork(after_in_child=_forked.set)


class WrappedBlock:
    """See ``Block``."""

    method = "counters"

    def __init__(self, run_id: str) -> None:
        self.problems: list[str] = []
        self._run_id = run_id
        self._folder = Path(os.environ["FTPROF_RUN_DIR"])
        self._library = _Library(os.environ[VARIABLE])
        self._before: Journal | None = None
        self._after: Journal | None = None
        self._begin_us = 0
        self._cut_us = 0
        self._end_us: int | None = None
        self._uncounted: list[Line] = []

    def begin(self) -> None:
        """Raises ``CannotCount`` where the library has found that it cannot."""
        with EDGES:
            settled = settle(_contexts(), PATIENCE_S)
            if not self._library.cut(PATIENCE_S) or not settled:
                self.problems.append(UNSETTLED_BEFORE)
            self._before = self._read()
            if why := _why_blind(self._before):
                raise CannotCount(why)
            self._library.await_windows()
            self._begin_us = now_us()

    def end(self, patience_s: float) -> None:
        """Close the windows and read what came since the beginning."""
        deadline = time.monotonic() + patience_s
        with EDGES:
            found = _contexts()
            settled = settle(found, patience_s)
            self._end_us = now_us()
            if not self._library.cut(deadline - time.monotonic()) or not settled:
                self.problems.append(UNSETTLED_AFTER)
            self._after = self._read()
            if found and not found[0].primary and os.environ.get("FTPROF_SUBSCRIBE") != "1":
                self._uncounted = [uncounted_line(found[0].device, OTHER_CONTEXT)]
            self._library.await_windows()

    def cut(self, patience_s: float) -> list[str]:
        """Close the windows once the GPU has done what was launched, and open the next ones."""
        deadline = time.monotonic() + patience_s
        with EDGES:
            settled = settle(_contexts(), patience_s)
            self._cut_us = now_us()
            closed = self._library.cut(max(0.0, deadline - time.monotonic()))
            self._library.await_windows()
        return [] if settled and closed else [UNSETTLED_AFTER]

    def flops(self) -> None:
        """Extrapolating takes a look at all windows."""

    def lines(self) -> list[Line]:
        """Up to the last window that is closed, as long as the block goes on. Empty where no context was seen."""
        journal = self._read() if self._end_us is None else self._after
        if journal is None or not journal.contexts:
            return []
        until_us = max(self._begin_us, self._cut_us) if self._end_us is None else self._end_us
        header = {name: value for name, value in journal.header.items() if name not in ("previous", "hash")}
        software = {**header["software"], "excerpt_of": f"{journal.path.name}, up to {journal.head}"}
        told = 0 if self._before is None else len(self._before.problems)
        return [
            {**header, "run": self._run_id, "time_us": self._begin_us, "software": software},
            *(line for number in range(len(journal.contexts)) for line in self._context(journal, number, until_us)),
            *({"kind": "uncounted", "context": None, "device": "", "what": what} for what in journal.unseen),
            *self._uncounted,
            *problem_lines([*self.problems, *journal.problems[told:]], until_us),
            end_line(until_us),
        ]

    def _context(self, journal: Journal, number: int, until_us: int) -> Iterator[Line]:
        context = journal.contexts[number]
        before = self._before.contexts[number : number + 1] if self._before is not None else []
        strata = list(_since(before[0] if before else None, context, self._begin_us))
        time_us = sum(sums.time_us for stratum in strata for sums in stratum.groups.values())
        last_us = max((stratum.end_us for stratum in strata), default=0)
        # The windows were open before the block's own code began.
        begin_us = max(context.begin_us, min(self._begin_us, max(until_us, last_us) - time_us))
        yield {
            "kind": "context",
            "context": number,
            "device": context.device,
            "groups": [_group_line(group) for group in context.groups],
            "unsupported": list(context.unsupported),
            "seed": "0",
            "begin_us": begin_us,
        }
        gaps = [_gap_line(gap) for gap in context.gaps]
        yield from clipped(gaps, number, begin_us, max(until_us, last_us))
        yield from strata_line([stratum.to_json(number) for stratum in strata])

    def _read(self) -> Journal | None:
        identity = process_identity()
        for path in self._folder.glob(f"*-{identity['pid']}-{identity['start_ticks']}-counters.journal"):
            try:
                journal = read_journal(path)
            except UntrustedInput as error:
                if error.message not in self.problems:
                    self.problems.append(error.message)
                continue
            if journal is not None and journal.header["boot"] == identity["boot"]:
                return journal
        return None


def _since(before: CountedContext | None, after: CountedContext, begin_us: int) -> Iterator[Stratum]:
    """The windows that were closed in between. Sums by stratum only grow, also where a journal is rolled up."""
    old = {} if before is None else {stratum.number: stratum for stratum in before.tally.strata}
    for stratum in after.tally.strata:
        groups = {}
        for group, sums in stratum.groups.items():
            earlier = old[stratum.number].groups.get(group) if stratum.number in old else None
            new = sums if earlier is None else _difference(sums, earlier)
            if new.windows:
                groups[group] = new
        if groups:
            begin = stratum.begin_us if stratum.number not in old else max(stratum.begin_us, begin_us)
            yield Stratum(stratum.number, min(begin, stratum.end_us), stratum.end_us, groups)


def _difference(later: Sums, earlier: Sums) -> Sums:
    sums, squares, products = (
        [now - then for now, then in zip(*pair, strict=True)]
        for pair in (
            (later.sums, earlier.sums),
            (later.squares, earlier.squares),
            (later.products, earlier.products),
        )
    )
    windows, time_us = later.windows - earlier.windows, later.time_us - earlier.time_us
    found = Sums(windows, time_us, sums, squares, products, later.continued - earlier.continued)
    found.bound_draws()
    return found


def _group_line(group: Group) -> Line:
    metrics = [{"name": m.name, "precision": m.precision, "kind": m.kind, "weight": m.weight} for m in group.metrics]
    return {"role": group.role, "metrics": metrics}


def _gap_line(gap: AbnormalGap) -> Line:
    return {
        "begin_us": gap.begin_us,
        "end_us": gap.end_us,
        "reason": gap.reason,
        "call": gap.call,
        "code": gap.code,
        "remedy": gap.remedy,
    }


def _why_blind(journal: Journal | None) -> str | None:
    """Why the library counts on none of the contexts that it has found."""
    seen = [] if journal is None else journal.contexts
    failed = [gaps[-1] for context in seen if not context.windows and (gaps := _with_length(context.gaps))]
    return why_not(_gap_line(failed[0])) if failed and len(failed) == len(seen) else None


def _with_length(gaps: list[AbnormalGap]) -> list[AbnormalGap]:
    return [gap for gap in gaps if gap.end_us > gap.begin_us]


def _contexts() -> list[Any]:
    try:
        return contexts()
    except CannotCount:
        return []  # what the library counts does not hang on it


class _Library:
    """The injection library, once the driver has loaded it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def cut(self, patience_s: float) -> bool:
        """Close the windows of all contexts. True also where there are none."""
        library = mapped_library(self._path)
        return library is None or waited(lambda s: _cut(library, s), patience_s, hopeless=capturing)

    def await_windows(self) -> None:
        """What the caller does next lies in a window."""
        await_windows = getattr(mapped_library(self._path), "ftprof_inject_await_windows", None)
        if await_windows is not None:
            await_windows(_REOPEN_PATIENCE_MS)


def _cut(library: ctypes.CDLL, patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    done = bool(library.ftprof_inject_cut(int(patience_s * 1000)))
    if not done:
        time.sleep(max(0.0, until - time.monotonic()))
    return done
