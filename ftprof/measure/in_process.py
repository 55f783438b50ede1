"""One ``ftprof.count()``: a block of code of this process, counted by the best method to be had, and its record.

The block's journals are put into a directory for the moment in which the record is made of them, by the same code that
makes that of ``ftprof wrap``.
"""

from __future__ import annotations

import functools
import logging
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftprof import __version__
from ftprof.errors import FtprofError
from ftprof.measure.analytic.hook import now_us, process_identity
from ftprof.measure.block import PATIENCE_S, Block, CannotCount, Line, end_line, problem_lines
from ftprof.measure.context_block import ContextBlock
from ftprof.measure.device_edges import DeviceEdges
from ftprof.measure.operator_block import OperatorBlock
from ftprof.measure.run import new_run_id
from ftprof.measure.wrapped_block import WrappedBlock, is_wrapped
from ftprof.record.canonical import FIRST_HASH, canonical, chained_hash
from ftprof.record.interval import NOTHING_COUNTED
from ftprof.record.journal import JOURNAL_SCHEMA
from ftprof.record.merge import merge_journals
from ftprof.record.reasons import GOES_ON
from ftprof.record.record import Record

_FAILED_PATIENCE_S = 5.0  # where the block failed, the GPU may hang
_NOTHING_SEEN = "nothing in the block could be counted: no CUDA context was in use, and torch was not imported"
_FORKED = "this process was forked inside the block, whose count is its parent's; begin a count of its own here"
_log = logging.getLogger("ftprof")


@dataclass(frozen=True)
class CountOptions:
    """What a count does only where it is asked to, since it is not free: see ``ftprof.count()``."""

    operators: bool = False
    cuda_core: bool = False


class InProcessRun:
    """Nothing of it raises into the user's code but what ``begin`` says."""

    def __init__(self, policy_inputs: Mapping[str, Any], options: CountOptions = CountOptions()) -> None:
        self.fallback: str | None = None  # why hardware counters do not count
        self.run_id = new_run_id()
        self._policy_inputs = dict(policy_inputs)
        self._options = options
        self._process = os.getpid()
        self._block: Block | None = None
        self._beside: Block | None = None  # operators, where counters have the first word
        self._devices = DeviceEdges()
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
        self._guarded("the GPUs' energy cannot be read", self._devices.begin)
        own = functools.partial(ContextBlock, cuda_core=self._options.cuda_core)
        counters: Callable[[str], Block] = WrappedBlock if is_wrapped() else own
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
        if self._options.operators and self._block is not None and self._block.method != OperatorBlock.method:
            self._begin_beside(self._block, OperatorBlock(self.run_id))
        self._began_us = now_us()

    def _begin_beside(self, block: Block, beside: Block) -> None:
        try:
            self._guarded("operators cannot be counted beside counters", beside.begin)
        except BaseException:  # such as Ctrl-C
            self._end(block, 0.0)
            raise
        self._beside = beside

    def end(self, failed: bool) -> None:
        """Count no more. ``failed`` where the block was left by an exception: then a GPU is not waited for long."""
        if self.is_forked or self._ended_us is not None:
            return
        self._ended_us = now_us()
        self._exit_code = int(failed)
        for block in self._blocks():
            self._end(block, _FAILED_PATIENCE_S if failed else PATIENCE_S)
        self._ended_us = now_us()
        self._guarded("the GPUs' energy cannot be read", self._devices.end)

    def _blocks(self) -> list[Block]:
        return [block for block in (self._block, self._beside) if block is not None]

    def _end(self, block: Block, patience_s: float) -> None:
        self._guarded("the count could not be ended", lambda: block.end(patience_s))

    def _guarded(self, failure: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as problem:
            self._failed(failure, problem)

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
            for block in self._blocks():
                problems += block.cut(PATIENCE_S)
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
        processes = [lines for block in self._blocks() if (lines := block.lines())]
        problems = [*self._problems, *problems]
        if self._ended_us is None and goes_on:
            problems.append(GOES_ON)
        elif not processes:
            problems.append(_NOTHING_SEEN)
        run = self._run_lines(processes, problems)
        try:
            with tempfile.TemporaryDirectory(prefix="ftprof-") as folder:
                return _merge(Path(folder), run, processes)
        except OSError:  # a full or read-only disk; in memory there may still be space
            with tempfile.TemporaryDirectory(prefix="ftprof-", dir="/dev/shm") as folder:
                return _merge(Path(folder), run, processes)

    def _run_lines(self, processes: Sequence[Sequence[Line]], problems: list[str]) -> list[Line]:
        ended_us = self._ended_us or now_us()
        software = {"ftprof": __version__, "python": platform.python_version(), "system": platform.platform()}
        header = {
            "kind": "header",
            "schema": JOURNAL_SCHEMA,
            "run": self.run_id,
            "role": "run",
            "method": processes[0][0]["method"] if processes else "analytic",
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
        windows = self._devices.windows(_used_devices(processes), self._began_us, ended_us)
        devices = [{"kind": "device-window", **window.to_json()} for window in windows]
        return [header, *devices, *problem_lines(problems, ended_us), end]


def _used_devices(processes: Sequence[Sequence[Line]]) -> set[str]:
    """The UUIDs of the GPUs on which something was counted."""
    lines = [line for process in processes for line in process]
    used = {line["device"]["uuid"] for line in lines if line["kind"] == "context"}
    return used | {device["uuid"] for line in lines for device in line.get("devices", ()) if "uuid" in device}


def _merge(folder: Path, run: Sequence[Line], processes: Sequence[Sequence[Line]]) -> Record:
    identity = process_identity()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", "{host}-{boot:.8}-{pid}-{start_ticks}".format(**identity))
    _write(folder / f"{name}.journal", run)
    for process in processes:
        _write(folder / f"{name}-{process[0]['method']}.journal", process)
    return merge_journals(folder, now_us())


def _write(path: Path, lines: Sequence[Line]) -> None:
    previous = FIRST_HASH
    with path.open("wb") as file:
        for line in lines:
            chained = {**line, "previous": previous}
            previous = chained["hash"] = chained_hash(chained)
            file.write(canonical(chained) + b"\n")
