"""Which processes belong to a run, and which GPUs they hold open: read from /proc."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel's proc_ns.h
_MOST_ANCESTORS = 64
_MOST_KEPT = 10_000


class ProcessStatus(NamedTuple):
    """A process as the kernel tells of it."""

    state: str  # Z and X: it has ended, and its parent has not taken notice
    parent: int
    start_ticks: int  # clock ticks since boot


class RunProcesses:
    """The processes that carry the run's id in their environment, or descend from its command.

    ``process in run`` asks for one id. A member stays one for as long as it lives, also when its parents have ended.
    """

    def __init__(self, run_id: str, command_pid: int, root: Path = Path("/")) -> None:
        self._mark = f"FTPROF_RUN_ID={run_id}".encode()
        self._command_pid = command_pid
        self._proc = root / "proc"
        self._found: set[tuple[int, int]] = set()  # ids and start times of members

    def __contains__(self, pid: object) -> bool:
        if not isinstance(pid, int):
            return False
        status = process_status(pid, self._proc)
        if status is None:
            return False
        identity = pid, status.start_ticks
        if identity in self._found:
            return True
        # That one is no member is not kept: between fork and exec a process has not its own environment yet.
        if not (self._marked(pid) or self._descends(pid)):
            return False
        if len(self._found) > _MOST_KEPT:
            self._found.clear()
        self._found.add(identity)
        return True

    def holds_device_file(self, minor: int) -> bool:
        """Whether one of them has /dev/nvidia<minor> open, as every process that uses that GPU has."""
        wanted = f"/dev/nvidia{minor}"
        return any(wanted in self._open_files(pid) for pid in self._living() if pid in self)

    def ids_are_the_drivers(self) -> bool:
        """Whether process ids here are those that the driver tells: not so in most containers."""
        return _target(self._proc / "self" / "ns" / "pid") == INITIAL_PID_NAMESPACE

    def _living(self) -> list[int]:
        try:
            return [int(entry.name) for entry in self._proc.iterdir() if entry.name.isdecimal()]
        except OSError:
            return []

    def _marked(self, pid: int) -> bool:
        try:
            return self._mark in (self._proc / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            return False  # it has just ended, or is another user's

    def _descends(self, pid: int) -> bool:
        for _ in range(_MOST_ANCESTORS):
            if pid == self._command_pid:
                return True
            status = process_status(pid, self._proc)
            if status is None or status.parent <= 1:
                return False
            pid = status.parent
        return False

    def _open_files(self, pid: int) -> set[str | None]:
        try:
            return {_target(link) for link in (self._proc / str(pid) / "fd").iterdir()}
        except OSError:
            return set()


def process_status(pid: int, proc: Path = Path("/proc")) -> ProcessStatus | None:
    """What the kernel tells of a process; ``None`` where there is none of this id."""
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()  # a program's name may hold blanks and brackets
        return ProcessStatus(fields[0], int(fields[1]), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def _target(link: Path) -> str | None:
    try:
        return str(link.readlink())
    except OSError:
        return None  # it has gone meanwhile
