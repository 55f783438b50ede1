"""Blocks counted by operators' formulas, with the same hook that ``ftprof wrap`` puts into Python processes.

Once there, its kernels stay until the process ends: torch has no safe moment to take them away.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ftprof.measure.after_import import after_import
from ftprof.measure.analytic import hook
from ftprof.measure.block import EDGES, Line, end_line, problem_lines, process_header

_LOOK_S = 30.0  # for operators of extensions that were loaded since
_COMPILED_BEFORE = ("compiled code", "what Inductor compiled before operators were watched")


class _Watch:
    """The one counter of this process: of the hook that ``ftprof wrap`` put here, else our own."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.compiled_before = False
        self._own: hook.OperatorCounter | None = None
        self._lock = threading.Lock()
        self._waiting = False

    @property
    def counter(self) -> Any:
        """``None`` as long as torch has not been imported."""
        wrapped = getattr(sys.modules.get("_ftprof_hook"), "_meter", None)
        return self._own if wrapped is None else wrapped.counter

    def begin(self) -> None:
        """Watch operators from now on, or from the moment on when torch is imported."""
        with self._lock:
            if self._waiting:
                return
            self._waiting = True
        after_import("torch", self._start)

    def _start(self, torch: ModuleType) -> None:
        begin = getattr(getattr(sys.modules.get("_ftprof_hook"), "phases", None), "at_first", None)
        if begin is not None:
            # Inside ``ftprof wrap`` by counters the hook waits for the first phase; two may not watch the same ones.
            sys.modules["_ftprof_hook"].phases.at_first = None
            begin()
        if self.counter is not None:
            return
        try:
            counter = hook.OperatorCounter(self._look)
            counter.deadline = time.monotonic() + _LOOK_S
            counter.watch_operators()
        except Exception as problem:
            self.problem = f"operators cannot be watched: {problem!r:.300}"
            return
        self._own = counter
        hook.watch_cuda_graphs(torch.cuda.CUDAGraph, counter)
        hook.watch_registrations(torch, counter)
        hook.watch_ahead_of_time(getattr(torch._C, "_aoti", None), counter.note)
        self.compiled_before = _has_compiled()
        patches: dict[str, Callable[[ModuleType, Callable[[hook.Other], None]], None]] = {
            "torch._inductor.async_compile": hook.watch_inductor,
            "torch._inductor.codecache": hook.watch_compiled_code,
            "torch._inductor.runtime.triton_heuristics": hook.watch_inductor_triton,
            "triton.runtime.jit": hook.watch_triton,
        }
        for name, patch in patches.items():
            after_import(name, lambda module, patch=patch: patch(module, counter.note))  # type: ignore[misc]
        for name, watch in hook.PHASE_WATCHERS.items():
            after_import(name, watch)

    def _look(self) -> None:
        """Called from an operator of the user's: never waits, never raises."""
        counter = self._own
        if counter is not None:
            counter.deadline = time.monotonic() + _LOOK_S
            if self._lock.acquire(blocking=False):
                try:
                    counter.watch_operators()
                except Exception as problem:
                    self.problem = f"operators that came later cannot be watched: {problem!r:.300}"
                finally:
                    self._lock.release()

    def totals(self) -> hook.Totals:
        """What was counted since the process began, and from now on also operators that came meanwhile."""
        if self.counter is not None:
            self._look()
        return self.counted()

    def counted(self) -> hook.Totals:
        """What was counted since the process began."""
        counter = self.counter
        totals: hook.Totals = hook.Totals() if counter is None else counter.totals()
        return totals

    def forget(self) -> None:
        """In a forked child: whoever held the lock is not there."""
        self._lock = threading.Lock()


_WATCH = _Watch()
os.register_at_fork(after_in_child=_WATCH.forget)


class OperatorBlock:
    """See ``Block``."""

    method = "analytic"

    def __init__(self, run_id: str) -> None:
        self.problems: list[str] = []
        self._run_id = run_id
        self._begin_us = 0
        self._end_us: int | None = None
        self._before = hook.Totals()
        self._after = hook.Totals()

    def begin(self) -> None:
        """Where torch has not been imported yet, counting begins when it is."""
        with EDGES:
            _WATCH.begin()
            self._before = _WATCH.totals()
            self._begin_us = hook.now_us()

    def end(self, patience_s: float) -> None:
        """There is nothing to wait for."""
        with EDGES:
            self._after = _WATCH.totals()
            self._end_us = hook.now_us()
            if _WATCH.problem is not None:
                self.problems.append(_WATCH.problem)

    def cut(self, patience_s: float) -> list[str]:
        """Operators are counted as they run."""
        return [] if _WATCH.problem is None else [_WATCH.problem]

    def flops(self) -> int:
        """Exact."""
        now = _WATCH.counted() if self._end_us is None else self._after
        return _operations(now) - _operations(self._before)

    def lines(self) -> list[Line]:
        """Empty where torch was not imported."""
        counter = _WATCH.counter
        if counter is None and not self.problems:
            return []
        end_us = self._end_us or hook.now_us()
        new = (_WATCH.totals() if self._end_us is None else self._after).since(self._before)
        unwatched = [] if counter is None else sorted(counter.unwatched)
        return [
            process_header(self._run_id, "analytic", self._begin_us, {}, unwatched),
            _window_line(new, self._begin_us, end_us),
            *problem_lines(self.problems, end_us),
            end_line(end_us),
        ]


def _has_compiled() -> bool:
    """Whether Inductor has made code in this process: libraries import its modules and compile nothing."""
    cache = getattr(sys.modules.get("torch._inductor.codecache"), "PyCodeCache", None)
    if cache is None:
        return False
    loaded = [getattr(cache, name, None) for name in ("modules", "modules_no_attr", "cache")]  # torch 2.4 to 2.14
    return all(found is None for found in loaded) or any(loaded)


def _operations(totals: hook.Totals) -> int:
    return sum(flops for _, flops in totals.cells.values())


def _window_line(counted: hook.Totals, begin_us: int, end_us: int) -> Line:
    counted.others |= {("extension", name): 1 for name in hook.UNSEEN_EXTENSIONS if name in sys.modules}
    if _WATCH.compiled_before:
        counted.others[_COMPILED_BEFORE] = 1
    return {
        "kind": "window",
        "method": "analytic",
        "begin_us": begin_us,
        "end_us": end_us,
        "devices": [_device_line(device) for device in sorted({cell[2] for cell in counted.cells} - {"cpu"})],
        **counted.to_json(),
    }


def _device_line(device: str) -> Line:
    """Operators were counted on it, so that it is in use already."""
    if not device.startswith("cuda:"):
        return {"device": device, "name": ""}
    properties = sys.modules["torch"].cuda.get_device_properties(device)
    return {
        "device": device,
        "name": properties.name,
        "uuid": f"GPU-{properties.uuid}",
        "capability": f"{properties.major}.{properties.minor}",
    }
