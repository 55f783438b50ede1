"""For a program that may run under ``ftprof wrap``: what the counters do in this very process, and cuts of theirs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

_PATIENCE_MS = 1000
_TICK = os.sysconf("SC_CLK_TCK")


def now_us() -> int:
    """Microseconds since the epoch, as in the journals."""
    return time.time_ns() // 1000


class Counting:
    """Bare, it does nothing: a program is the same with and without ftprof."""

    def __init__(self) -> None:
        folder, library = os.environ.get("FTPROF_RUN_DIR"), os.environ.get("CUDA_INJECTION64_PATH")
        self._folder = Path(folder) if folder and library else None
        self._library = library

    @property
    def on(self) -> bool:
        """Whether this process is counted."""
        return self._folder is not None

    def wait(self, timeout_s: float = 30.0) -> bool:
        """Until a window is open on every context, or that took too long."""
        if self._library is None:
            return False
        return bool(ctypes.CDLL(self._library).ftprof_inject_await_windows(round(1000 * timeout_s)))

    def cut(self) -> bool:
        """Close the window that is open now."""
        if self._library is None:
            return False
        return bool(ctypes.CDLL(self._library).ftprof_inject_cut(_PATIENCE_MS))

    def alone(self, act: Callable[[], object], settle_s: float = 0.15) -> tuple[int, int]:
        """Do something inside a window of its own. When it began and ended, for :func:`wrapped.Counters.around`."""
        before = time.monotonic()
        self.cut()
        time.sleep(max(settle_s, 2 * (time.monotonic() - before)))  # until the next window is open
        began = now_us()
        act()
        ended = now_us()
        self.cut()
        return began, ended


def thread_seconds() -> dict[str, float]:
    """CPU time of this process's threads that are ftprof's, by name."""
    found: dict[str, float] = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            name = (task / "comm").read_text().strip()
            if name.startswith("ftprof"):
                found[name] = found.get(name, 0.0) + _cpu_seconds(task)
    return found


def _cpu_seconds(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):  # a kernel without it
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK


def memory_kib() -> dict[str, int]:
    """This process's memory: all that is resident, and the part that is its own."""
    wanted = {"VmRSS": "resident", "RssAnon": "anonymous", "VmHWM": "highest"}
    lines = Path("/proc/self/status").read_text().splitlines()
    return {wanted[n]: int(v.split()[0]) for n, _, v in (line.partition(":") for line in lines) if n in wanted}


def library_kib() -> dict[str, int]:
    """Resident memory of the mapped CUPTI libraries, by file name."""
    found: dict[str, int] = {}
    name = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if "-" in first and not first.endswith(":"):
            name = Path(line.split(maxsplit=5)[5]).name if line.count("/") else ""
        elif first == "Rss:" and name.startswith(("libcupti", "libnvperf", "libftprof")):
            found[name] = found.get(name, 0) + int(line.split()[1])
    return found
