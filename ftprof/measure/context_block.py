"""Blocks counted by a native meter of this process's own, on each CUDA context that it has when a block begins.

Blocks that overlap share the meters: at a block's edge the open windows are cut, so that every window lies inside or
outside it. With the last block the meters end.
"""

from __future__ import annotations

import copy
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ftprof.measure.analytic.hook import now_us
from ftprof.measure.block import EDGES, PATIENCE_S, CannotCount, Line, end_line, problem_lines, process_header, waited
from ftprof.measure.cuda_block import (
    UNSETTLED_AFTER,
    UNSETTLED_BEFORE,
    announce_captures,
    capturing,
    clipped,
    contexts,
    native,
    settle,
    strata_line,
    uncounted_line,
    why_not,
)
from ftprof.measure.cupti_search import search_roots
from ftprof.measure.injection import CUDA_CORE_VARIABLE, NO_DRIVER, driver_is_there
from ftprof.record.counted_context import CountedContext
from ftprof.record.rollup import Stratum

if TYPE_CHECKING:
    from ftprof import _native

NO_CONTEXT = (
    "no CUDA context is in use in this process (where it is to use a GPU, begin the count once something lies on it)"
)
LATE_CONTEXT = "its CUDA context began inside the block and was not counted; begin the count once every GPU is in use"
NOT_CLOSED: Line = {
    "reason": "the last window could not be closed in time",
    "call": "count",
    "code": 0,
    "remedy": "",
}
_START_PATIENCE_S = 30.0  # CUPTI is loaded, and the chip's groups are planned
_REOPEN_PATIENCE_S = 2.0


@dataclass(eq=False)
class _Metered:
    """A meter on one context, and what the blocks that it counts for have of it."""

    context: _native.CudaContext
    meter: _native.ContextMeter
    shares: list[_Share] = field(default_factory=list)
    gaps: list[Line] = field(default_factory=list)  # before its first block
    known: Line = field(default_factory=dict)  # its device and plan

    def collect(self) -> None:
        """Hand out what came since the last time, under ``_found``."""
        found = self.meter.take()
        self.known = found.context
        if not self.shares:
            self.gaps += found.gaps
        for share in self.shares:
            share.add(found)

    def failure(self) -> str | None:
        """Why no window could be opened, if that is so."""
        with _found:
            self.collect()
        failed = [gap for gap in self.gaps if gap["end_us"] > gap["begin_us"]]
        return why_not(failed[-1]) if failed else None


class _Share:
    """What one block has of one context."""

    def __init__(self, metered: _Metered, number: int) -> None:
        self.metered = metered
        self._number = number
        self._gaps = list(metered.gaps)
        self._began_in_slot = bool(metered.shares)  # of a meter that counted for another block already
        self._counted: CountedContext | None = None
        self._ticket: int | None = None
        self.was_lost = False
        self.began_in_window = False

    def add(self, found: _native.Findings) -> None:
        self._gaps += found.gaps
        for stratum in found.strata:
            if self._counted is None:
                self._counted = CountedContext.from_json(self._line(0))
            self._counted.add_stratum(stratum)

    @property
    def last_us(self) -> int:
        """When its last window was closed; 0 where it has none."""
        return 0 if self._counted is None else self._counted.last_us

    @property
    def is_alone(self) -> bool:
        """Whether no other block has a share of the meter."""
        return self.metered.shares == [self]

    def close(self) -> None:
        """Ask for the open window to be closed, and for the meter's end where it counts for nobody else."""
        if self.is_alone:
            self.metered.meter.stop()
        else:
            self._ticket = self.metered.meter.ask_cut()

    def is_closed(self, patience_s: float) -> bool:
        """Whether the window that was open is closed, or is within this time."""
        meter = self.metered.meter
        if self.is_alone:
            return meter.ended(patience_s)
        return self._ticket is None or meter.await_cut(self._ticket, patience_s)

    def leave(self, begin_us: int, end_us: int) -> None:
        """Take what has come. Where the window was not closed, the time since the last one is lost."""
        if not self.is_closed(0) and self.last_us < end_us:
            self._gaps.append({**NOT_CLOSED, "begin_us": max(self.last_us, begin_us), "end_us": end_us})
        self.was_lost = self.metered.meter.lost
        if self.is_alone:
            _metered.remove(self.metered)
            _ending.append(self.metered)
        self.metered.shares.remove(self)

    def lines(self, begin_us: int, end_us: int) -> list[Line]:
        """The context, its gaps and its windows."""
        strata = self._strata()
        failed = any(gap["begin_us"] <= begin_us < gap["end_us"] for gap in self._gaps)
        if strata and self.began_in_window and not failed:
            begin_us = strata[0].begin_us  # a meter looks at the clock when its window is open already
        return [
            self._line(begin_us),
            *clipped(self._gaps, self._number, begin_us, max(end_us, self.last_us)),
            *strata_line([stratum.to_json(self._number) for stratum in strata]),
        ]

    def _strata(self) -> list[Stratum]:
        strata = [] if self._counted is None else list(self._counted.tally.strata)
        if self._began_in_slot and strata:
            strata[0] = copy.deepcopy(strata[0])  # more may come into it
            for sums in strata[0].groups.values():
                sums.bound_draws()
        return strata

    def _line(self, begin_us: int) -> Line:
        seed = str(self._number)
        return {**self.metered.known, "kind": "context", "context": self._number, "seed": seed, "begin_us": begin_us}


_metered: list[_Metered] = []
_ending: list[_Metered] = []  # their blocks are over, and they may still wait for their GPU
_found = threading.Lock()  # held only to hand out findings


def _in_child() -> None:
    """The meters are the parent's."""
    global _found
    _metered.clear()
    _ending.clear()
    _found = threading.Lock()


os.register_at_fork(after_in_child=_in_child)


class ContextBlock:
    """See ``Block``."""

    method = "counters"

    def __init__(self, run_id: str, cuda_core: bool = False) -> None:
        self.problems: list[str] = []
        self._run_id = run_id
        self._cuda_core = cuda_core or os.environ.get(CUDA_CORE_VARIABLE) == "1"
        self._shares: list[_Share] = []
        self._begin_us = 0
        self._cut_us = 0
        self._end_us: int | None = None
        self._uncounted: list[Line] = []
        self._software: dict[str, Any] = {}

    def begin(self) -> None:
        """Raises ``CannotCount`` where no context is in use, or on none of them anything can be counted."""
        found = contexts()
        if not found:
            raise CannotCount(NO_CONTEXT if driver_is_there() else NO_DRIVER)
        with EDGES:
            self._software = _software()
            _watch_captures()
            settled = settle(found, PATIENCE_S)
            meters = _meters_on(found, self._cuda_core)
            if not _cut([metered for metered in meters if metered.shares], PATIENCE_S) or not settled:
                self.problems.append(UNSETTLED_BEFORE)
            with _found:
                for number, metered in enumerate(meters):
                    metered.collect()
                    share = _Share(metered, number)
                    metered.shares.append(share)
                    self._shares.append(share)
            for share in self._shares:
                share.began_in_window = _await_window(share.metered)
            self._begin_us = now_us()

    def end(self, patience_s: float) -> None:
        """Close the windows; end the meters that count for no other block."""
        deadline = time.monotonic() + patience_s
        with EDGES:
            try:
                if not settle([share.metered.context for share in self._shares], patience_s):
                    self.problems.append(UNSETTLED_AFTER)
                self._end_us = now_us()
                for share in self._shares:
                    share.close()
                for share in self._shares:
                    waited(share.is_closed, deadline - time.monotonic(), hopeless=capturing)
            finally:
                self._end_us = self._end_us or now_us()
                with _found:
                    for share in self._shares:
                        share.metered.collect()
                        share.leave(self._begin_us, self._end_us)
            self._find_uncounted()
            for share in self._shares:
                if share.metered.shares:
                    _await_window(share.metered)

    def cut(self, patience_s: float) -> list[str]:
        """Close the windows once the GPU has done what was launched, and open the next ones."""
        deadline = time.monotonic() + patience_s
        with EDGES:
            meters = [share.metered for share in self._shares]
            settled = settle([metered.context for metered in meters], patience_s)
            closed = _cut(meters, max(0.0, deadline - time.monotonic()))
            self._cut_us = now_us()
            with _found:
                for metered in meters:
                    metered.collect()
            self._find_uncounted()
            for metered in meters:
                _await_window(metered)
        return [] if settled and closed else [UNSETTLED_AFTER]

    def flops(self) -> None:
        """Extrapolating takes a look at all windows."""

    def _find_uncounted(self) -> None:
        counted = {share.metered.context.handle for share in self._shares if not share.was_lost}
        try:
            found = contexts()
        except CannotCount:
            return  # the driver has gone, and with it every context
        self._uncounted = [
            uncounted_line(context.device, LATE_CONTEXT) for context in found if context.handle not in counted
        ]

    def lines(self) -> list[Line]:
        """Up to the last window that is closed, as long as the block goes on."""
        if self._end_us is None and _found.acquire(timeout=0.5):  # a signal handler may have come in its midst
            try:
                for share in self._shares:
                    share.metered.collect()
            finally:
                _found.release()
        until_us = max(self._begin_us, self._cut_us) if self._end_us is None else self._end_us
        counted = [line for share in self._shares for line in share.lines(self._begin_us, until_us)]
        header = process_header(self._run_id, "counters", self._begin_us, self._software, [])
        return [header, *counted, *self._uncounted, *problem_lines(self.problems, until_us), end_line(until_us)]


def _watch_captures() -> None:
    """Where they are not told of, no window of patched code is opened."""
    graph = getattr(getattr(sys.modules.get("torch"), "cuda", None), "CUDAGraph", None)
    if hasattr(graph, "capture_begin") and hasattr(graph, "capture_end"):
        announce_captures(graph)


def load_cupti() -> Any:
    """CUPTI's ``LibraryInfo``. Raises ``CannotCount``."""
    module = native()
    try:
        return module.load_cupti(search_roots())
    except module.CuptiError as error:
        raise CannotCount(str(error)) from error


def _software() -> dict[str, Any]:
    module, info = native(), load_cupti()
    try:
        driver = module.driver_version()
    except module.CuptiError as error:
        raise CannotCount(f"the CUDA driver failed: {error}") from error
    return {
        "cupti": info.version,
        "cupti_path": info.path,
        "cupti_origin": info.origin,
        "cupti_warning": info.warning,
        "driver": driver,
        "contexts": "current",
    }


def _meters_on(found: Sequence[_native.CudaContext], cuda_core: bool) -> list[_Metered]:
    """A meter on each of these contexts: the running ones, and new ones that have opened their first window.

    Raises ``CannotCount`` where none can.
    """
    _await_ending(found)
    running = {metered.context.handle: metered for metered in _metered if not metered.meter.lost}
    started: list[_Metered] = []
    try:
        started += [_start(context, cuda_core) for context in found if context.handle not in running]
        failures = _failures(started)
        if started and len(failures) == len(found):
            raise CannotCount(failures[0])
    except BaseException:
        for metered in started:
            metered.meter.stop()
        raise
    _metered.extend(started)
    running |= {metered.context.handle: metered for metered in started}
    return [running[context.handle] for context in found]


def _await_ending(found: Sequence[_native.CudaContext]) -> None:
    """A context takes one meter at a time. Raises ``CannotCount`` where an earlier one does not come to its end."""
    handles = {context.handle for context in found}
    for metered in list(_ending):
        if metered.meter.ended(0) or metered.meter.lost:
            _ending.remove(metered)
        elif metered.context.handle in handles and not waited(metered.meter.ended, PATIENCE_S, hopeless=capturing):
            raise CannotCount(f"an earlier count still waits for cuda:{metered.context.device}, which does not answer")


def _start(context: _native.CudaContext, cuda_core: bool) -> _Metered:
    module = native()
    seed = int(os.environ.get("FTPROF_COUNTERS_SEED") or random.SystemRandom().getrandbits(64))
    slots = os.environ.get("FTPROF_SLOT_US", "").split(",")
    try:
        meter = module.ContextMeter(
            context,
            (seed + context.device) % 2**64,
            (int(slots[0]), int(slots[1])) if len(slots) == 2 else None,
            cuda_core,
        )
    except (RuntimeError, ValueError) as error:  # CuptiError, or no thread can be had
        raise CannotCount(str(error)) from error
    return _Metered(context, meter)


def _failures(started: Sequence[_Metered]) -> list[str]:
    """Wait until each has opened a window or failed; why, of those that failed."""
    failures: list[str] = []
    deadline = time.monotonic() + _START_PATIENCE_S
    waiting = list(started)
    while waiting and time.monotonic() < deadline and not capturing():
        for metered in list(waiting):
            if metered.meter.await_window(0.02):
                waiting.remove(metered)
            elif why := metered.failure():
                failures.append(why)
                waiting.remove(metered)
    return failures


def _cut(meters: Sequence[_Metered], patience_s: float) -> bool:
    """Close the open windows of all at once. False where that took too long."""
    deadline = time.monotonic() + patience_s
    asked = [(metered.meter, metered.meter.ask_cut()) for metered in meters]
    closed = True
    for meter, ticket in asked:
        if ticket is not None:
            cut = partial(meter.await_cut, ticket)
            closed &= waited(cut, deadline - time.monotonic(), hopeless=capturing)
    return closed


def _await_window(metered: _Metered) -> bool:
    """Whether what the caller does next lies in a window: not where the meter cannot open one."""
    meter = metered.meter
    decided = waited(lambda s: meter.await_window(s) or meter.ended(0), _REOPEN_PATIENCE_S, hopeless=capturing)
    return decided and not meter.ended(0)
