"""What the ways to count inside this process have in common: each counts for the time of a block of code."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from ftprof.errors import FtprofError
from ftprof.measure.analytic.hook import header_of, process_identity

Line = dict[str, Any]  # of a journal, without its hashes

PATIENCE_S = 60.0  # for a GPU to do what was launched before an edge of a block
_PORTION_S = 0.05


class CannotCount(Exception):
    """Why a method cannot count here, in a few words for the user."""


class Block(Protocol):
    """One block of code, counted in one way. Several may be counted at the same time, also by the same meter."""

    method: str
    problems: list[str]  # why something in the block may not be in its figures

    def begin(self) -> None:
        """Begin to count. Raises ``CannotCount``, and ``FtprofError`` in a signal handler."""

    def end(self, patience_s: float) -> None:
        """Count no more. What cannot be read within this time is lost, and said to be."""

    def cut(self, patience_s: float) -> list[str]:
        """Let ``lines`` tell of all until now, and go on. Why something may not be in them, a sentence each."""

    def flops(self) -> int | None:
        """The operations so far or in all, where that is quick to tell; else ``None``."""

    def lines(self) -> list[Line]:
        """This process's journal of the block, so far or in all; empty where there is nothing to tell of."""


class Edges:
    """The edges of blocks come one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise FtprofError(
                "a count cannot begin or end in a signal handler that comes while another one begins or ends; "
                "let the handler set a flag instead"
            )
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._owner = None
        self._lock.release()

    def forget(self) -> None:
        """In a forked child: whoever held it is not there."""
        self._lock, self._owner = threading.Lock(), None


EDGES = Edges()
os.register_at_fork(after_in_child=EDGES.forget)


def waited(done: Callable[[float], bool], patience_s: float, hopeless: Callable[[], bool] = lambda: False) -> bool:
    """Whether ``done``, which waits so many seconds at most, came true. In portions, so that Ctrl-C is heard.

    Not where it is ``hopeless``: it cannot come true before the caller has gone on.
    """
    deadline = time.monotonic() + patience_s
    while not done(max(0.0, min(_PORTION_S, deadline - time.monotonic()))):
        if time.monotonic() >= deadline or hopeless():
            return False
    return True


def process_header(run_id: str, method: str, begin_us: int, software: dict[str, Any], unwatched: list[str]) -> Line:
    """The first line of a process's journal. ``software`` is added to what is known anyway."""
    header = header_of(run_id, process_identity(), unwatched)
    return {
        **header,
        "kind": "header",
        "method": method,
        "time_us": begin_us,
        "software": {**header["software"], **software},
    }


def end_line(time_us: int) -> Line:
    """The last line of a journal of a block."""
    return {"kind": "end", "reason": "the block ended", "time_us": time_us}


def problem_lines(problems: list[str], time_us: int) -> list[Line]:
    """What makes the block's figures incomplete."""
    return [{"kind": "problem", "what": what, "time_us": time_us} for what in problems]
