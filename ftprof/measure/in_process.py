"""One ``ftprof.count()``: a block of code of this process, counted by the best method to be had, and its record.

The block's journals are put into a directory for the moment in which the record is made of them, by the same code that
makes that of ``ftprof wrap``.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftprof import __version__
from ftprof.errors import FtprofError
from ftprof.measure.analytic.hook import now_us, process_identity
from ftprof.measure.block import PATIENCE_S, Block, CannotCount, Line, end_line, problem_lines
from ftprof.measure.context_block import ContextBlock
from ftprof.measure.operator_block import OperatorBlock
from ftprof.measure.run import new_run_id
from ftprof.measure.wrapped_block import WrappedBlock, is_wrapped
from ftprof.record.canonical import FIRST_HASH, canonical, chained_hash
from ftprof.record.interval import NOTHING_COUNTED
from ftprof.record.journal import JOURNAL_SCHEMA
from ftprof.record.merge import merge_journals
from ftprof.record.record import Record

_FAILED_PATIENCE_S = 5.0  # where the block failed, the GPU may hang
_NOTHING_SEEN = "nothing in the block could be counted: no CUDA context was in use, and torch was not imported"
_GOES_ON = "the block goes on: this is what was counted so far"
_FORKED = "this process was forked inside the block, whose count is its parent's; begin a count of its own here"
_log = logging.getLogger("ftprof")


class InProcessRun:
    """Nothing of it raises into the user's code but what ``begin`` says."""

    def __init__(self, policy_inputs: Mapping[str, Any]) -> None:
        self.fallback: str | None = None  # why hardware counters do not count
        self.run_id = new_run_id()
        self._policy_inputs = dict(policy_inputs)
        self._process = os.getpid()
        self._block: Block | None = None
        self._problems: list[str] = []
        self._began_us = now_us()
        self._ended_us: int | None = None
        self._exit_code = 0
        self._record: Record | None = None

    @property
    def is_forked(self) -> bool:
        """Whether this is a child of the process that began to count."""
        return os.getpid() != self._process

    def begin(self) -> None:
        """Count from now on. Raises ``FtprofError`` inside a signal handler that interrupts another count's edge."""
        counters: Callable[[str], Block] = WrappedBlock if is_wrapped() else ContextBlock
        for method in (counters, OperatorBlock):
            block = method(self.run_id)
            try:
                block.begin()
            except CannotCount as why:
                self.fallback = str(why)
            except FtprofError:
                raise
            except Exception as problem:
                self._failed("the count could not begin", problem)
                self.fallback = f"an error of ftprof: {problem!r:.200}"
                self._end(block, 0.0)
            except BaseException:  # such as Ctrl-C
                self._end(block, 0.0)
                raise
            else:
                self._block = block
                break
        self._began_us = now_us()

    def end(self, failed: bool) -> None:
        """Count no more. ``failed`` where the block was left by an exception: then a GPU is not waited for long."""
        if self.is_forked or self._ended_us is not None:
            return
        self._ended_us = now_us()
        self._exit_code = int(failed)
        if self._block is not None:
            self._end(self._block, _FAILED_PATIENCE_S if failed else PATIENCE_S)
        self._ended_us = now_us()

    def _end(self, block: Block, patience_s: float) -> None:
        try:
            block.end(patience_s)
        except Exception as problem:
            self._failed("the count could not be ended", problem)

    def _failed(self, what: str, problem: Exception) -> None:
        self._problems.append(f"{what}: {problem!r:.300}")
        _log.warning("ftprof.count(): %s", what, exc_info=problem)

    def record(self) -> Record:
        """What was counted: so far, as long as the block goes on."""
        if self._record is not None:
            return self._record
        if self.is_forked:
            return self._empty(_FORKED)
        try:
            record = self._merged()
        except Exception as problem:
            _log.warning("ftprof.count(): no record could be made", exc_info=problem)
            return self._empty(f"no record could be made: {problem}")
        if self._ended_us is not None:
            self._record = record
        return record

    def snapshot(self) -> Record:
        """What was counted until now, as of a block that ends here; this one goes on."""
        if self._record is not None or self.is_forked or self._ended_us is not None:
            return self.record()
        problems: list[str] = []
        try:
            if self._block is not None:
                problems = self._block.cut(PATIENCE_S)
            return self._merged(goes_on=False, problems=problems)
        except Exception as problem:
            _log.warning("ftprof.count(): no snapshot could be made", exc_info=problem)
            return self._empty(f"no snapshot could be made: {problem}")

    def quick_flops(self) -> int | None:
        """The operations so far or in all; ``None`` where only the record tells."""
        if self._block is None or self.is_forked or self._problems:
            return None
        try:
            return self._block.flops()
        except Exception as problem:
            _log.debug("ftprof.count(): no quick figure", exc_info=problem)
            return None

    def _empty(self, reason: str) -> Record:
        method = "analytic" if self._block is None else self._block.method
        return Record(method, NOTHING_COUNTED, False, (reason,), (), (), {}, {}, policy_inputs=self._policy_inputs)

    def _merged(self, goes_on: bool = True, problems: Sequence[str] = ()) -> Record:
        """``goes_on``: unless it has ended, the record says that more will come."""
        process = [] if self._block is None else self._block.lines()
        problems = [*self._problems, *problems]
        if self._ended_us is None and goes_on:
            problems.append(_GOES_ON)
        elif not process:
            problems.append(_NOTHING_SEEN)
        run = self._run_lines(process[0]["method"] if process else "analytic", problems)
        try:
            with tempfile.TemporaryDirectory(prefix="ftprof-") as folder:
                return _merge(Path(folder), run, process)
        except OSError:  # a full or read-only disk; in memory there may still be space
            with tempfile.TemporaryDirectory(prefix="ftprof-", dir="/dev/shm") as folder:
                return _merge(Path(folder), run, process)

    def _run_lines(self, method: str, problems: list[str]) -> list[Line]:
        ended_us = self._ended_us or now_us()
        software = {"ftprof": __version__, "python": platform.python_version(), "system": platform.platform()}
        header = {
            "kind": "header",
            "schema": JOURNAL_SCHEMA,
            "run": self.run_id,
            "role": "run",
            "method": method,
            **process_identity(),
            "parent_pid": os.getppid(),
            "time_us": self._began_us,
            "rank": None,
            "software": {**software, **({"no_counters": self.fallback} if self.fallback else {})},
            "devices": [],
            "unwatched": [],
            "command": sys.orig_argv or [sys.executable],
            "policy_inputs": self._policy_inputs,
        }
        end = {**end_line(ended_us), "exit_code": self._exit_code}
        return [header, *problem_lines(problems, ended_us), end]


def _merge(folder: Path, run: Sequence[Line], process: Sequence[Line]) -> Record:
    identity = process_identity()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", "{host}-{boot:.8}-{pid}-{start_ticks}".format(**identity))
    _write(folder / f"{name}.journal", run)
    if process:
        _write(folder / f"{name}-{process[0]['method']}.journal", process)
    return merge_journals(folder)


def _write(path: Path, lines: Sequence[Line]) -> None:
    previous = FIRST_HASH
    with path.open("wb") as file:
        for line in lines:
            chained = {**line, "previous": previous}
            previous = chained["hash"] = chained_hash(chained)
            file.write(canonical(chained) + b"\n")
