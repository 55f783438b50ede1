"""Names the processes of a run that use torch where the analytic hook is not loaded: nothing in them is counted.

The hook comes with variables of the environment. A program may start another without them (``env -i``, a Popen with an
environment of its own), and ``python -I``, ``-E`` and ``-S`` do not read them. One that has become another user (gosu,
sudo) may have the hook, and no right to write a journal or to say so. Seen from outside, by /proc.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from ftprof.measure.analytic.environment import BOOTSTRAP
from ftprof.measure.run_processes import process_status
from ftprof.record.reasons import NOT_COUNTED
from ftprof.record.run_files import FAILURES

_SHORTEST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 15.0
_SHARE = 300  # of the time, for looking: a few milliseconds a second on one core, beside the command
_TORCH = re.compile(rb"/libtorch(_cpu)?\.so")
_TORCH_OF_PYTHON = b"/libtorch_python.so"
_ISOLATING = re.compile(rb"-[bBdiOPqsuvx]*[IES]")  # after options that take no value
# Processes that torch starts to compile, with a PYTHONPATH of its own, and that run no operator: workers
# (torch/_inductor/compile_worker, torch/_vendor/quack) and the check of the processor's vector units
# (torch/_inductor/cpu_vec_isa.py).
_COMPILES = re.compile(rb"torch[/.][\w/.]*compile_worker|\s*import (sys|torch)\b[^;]{0,200}\bcdll\.LoadLibrary\(")
_TELLS = re.compile(rb"^process (\d+):", re.MULTILINE)
_LONGEST_COMMAND = 100
NO_ENVIRONMENT = "it was started without ftprof's environment (PYTHONPATH, FTPROF_RUN_DIR); pass that on"
ISOLATED = "its Python reads no PYTHONPATH (-I, -E or -S); leave that out"
NO_PYTHON = "it is no Python process; only counters see it"
NEVER_LOADED = (
    "it had ftprof's environment, but ftprof's hook did not act in it (another file system or user, an import hook of"
    " its own), or it ended while it imported torch; let it reach ftprof's files and the run directory"
)
_PYTHON = re.compile(rb"(?:.*/)?python[\d.]*$")

_Process = tuple[int, int]  # its id, and when it started


def of_another_user(user: int) -> str:
    """Why nothing in a process of this user was counted, and what to do."""
    return (
        f"it ran as user {user} and kept no journal; pass ftprof's environment on to it, and give a --run-dir where it "
        "may write"
    )


class UnhookedProcesses:
    """Looks through the descendants of ``command_pid`` now and then; see ``found``."""

    def __init__(self, folder: Path, command_pid: int, proc: Path = Path("/proc")) -> None:
        self._folder = folder
        self._command_pid = command_pid
        self._proc = proc
        self._failures = (folder / FAILURES).stat()
        self._hooked: set[_Process] = set()
        self._started_as: dict[_Process, int] = {}  # a hash of the command line and the environment
        self._found: dict[_Process, tuple[str, str]] = {}  # what it did, and why that is not counted
        # Those that may begin a journal after the look, each with its parent, where that is of the same user.
        self._of_others: dict[_Process, int] = {}
        self._next_look = 0.0

    def tick(self) -> None:
        """Look, unless that would take too much of the time."""
        began = time.monotonic()
        if began >= self._next_look:
            self.look()
            ended = time.monotonic()
            self._next_look = ended + min(max(_SHARE * (ended - began), _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)

    def suspended(self) -> None:
        """Nothing to do."""

    def look(self) -> None:
        """Look at every process that is there now, and again at those where the hook was not, which may have come."""
        for process in self._descendants():
            if process not in self._hooked:
                self._examine(process)

    def found(self) -> list[str]:
        """A sentence for each: its id and command, why nothing in it is counted, and what to do."""
        told = self._told()
        # It was looked at in the midst of importing torch, and has kept a journal since or said why it has none.
        hooked = self._hooked | {process for process in self._found if self._keeps_journal(process)}
        acting = {self._started_as[process] for process in hooked if process in self._started_as}
        return [
            f"process {process[0]} {did}: {why}"
            for process, (did, why) in sorted(self._found.items())
            if process not in hooked
            and str(process[0]).encode() not in told
            # One that closed all files has forked it, or it has ended before it was where its like have come.
            and not (why == NEVER_LOADED and self._started_as.get(process) in acting)
        ]

    def _told(self) -> set[bytes]:
        """The processes that said themselves why they are not counted."""
        try:
            return set(_TELLS.findall((self._folder / FAILURES).read_bytes()))
        except OSError:
            return set()  # the run directory has gone, which is named elsewhere

    def _keeps_journal(self, process: _Process) -> bool:
        """It, or where it is another user's the one that forked it: a fork begins its own when it counts something."""
        forked_by = self._of_others.get(process)
        mine = self._has_journal(f"{process[0]}-{process[1]}")
        return mine or (forked_by is not None and self._has_journal(f"{forked_by}-*"))

    def _has_journal(self, process: str) -> bool:
        return any(self._folder.glob(f"*-{process}.journal"))

    def _descendants(self) -> list[_Process]:
        """The command's process and all that it started, those excepted whose parents have ended."""
        children = _children_by_task if self._tells_children() else self._children_by_all()
        found, waiting = [], [self._command_pid]
        while waiting:
            pid = waiting.pop()
            status = process_status(pid, self._proc)
            if status is not None:
                found.append((pid, status.start_ticks))
                waiting += children(self._proc / str(pid))
        return found

    def _tells_children(self) -> bool:
        """Whether this kernel does (CONFIG_PROC_CHILDREN): then what else runs on the machine costs nothing."""
        pid = str(self._command_pid)
        return (self._proc / pid / "task" / pid / "children").exists()

    def _children_by_all(self) -> Callable[[Path], list[int]]:
        children: dict[str, list[int]] = {}
        for entry in self._proc.iterdir():
            status = process_status(int(entry.name), self._proc) if entry.name.isdecimal() else None
            if status is not None:
                children.setdefault(str(status.parent), []).append(int(entry.name))
        return lambda folder: children.get(folder.name, [])

    def _examine(self, process: _Process) -> None:
        folder = self._proc / str(process[0])
        try:
            maps = (folder / "maps").read_bytes()
            if _TORCH.search(maps) is None:
                return
            arguments = _arguments(folder)
            environment = (folder / "environ").read_bytes()
            self._started_as[process] = hash((*arguments, environment))
            if self._is_hooked(process, folder):
                self._hooked.add(process)
                self._found.pop(process, None)
                return
            user = _effective_user(folder)
        except PermissionError:
            self._examine_from_afar(process, folder)
            return
        except OSError:
            return  # it has just ended
        if any(_COMPILES.search(argument) for argument in arguments):
            return
        why = self._why(environment.split(b"\0"), arguments, _TORCH_OF_PYTHON in maps, user)
        if why is not None:
            self._note(process, user, f"({_shown(arguments)}) {NOT_COUNTED}", why)

    def _examine_from_afar(self, process: _Process, folder: Path) -> None:
        """Another user's, which may not be looked into: what it maps is not known, but whether it is Python is."""
        try:
            user, arguments = _effective_user(folder), _arguments(folder)
        except OSError:
            return
        if user != os.geteuid() and arguments and _PYTHON.match(arguments[0]):
            did = f"({_shown(arguments)}) was not counted, and whether it used torch could not be seen"
            self._note(process, user, did, of_another_user(user))

    def _note(self, process: _Process, user: int, did: str, why: str) -> None:
        self._found[process] = did, why
        if user != os.geteuid():
            status = process_status(process[0], self._proc)
            parent = status.parent if status is not None else 0
            with contextlib.suppress(OSError):
                self._of_others[process] = parent if _effective_user(self._proc / str(parent)) == user else 0

    def _is_hooked(self, process: _Process, folder: Path) -> bool:
        """The hook keeps a file of the run open, also in forked children; one that closed all files has a journal."""
        ours = self._failures.st_dev, self._failures.st_ino
        for descriptor in (folder / "fd").iterdir():
            try:
                status = descriptor.stat()
            except OSError:
                continue  # closed meanwhile
            if (status.st_dev, status.st_ino) == ours:
                return True
        return self._has_journal(f"{process[0]}-{process[1]}")

    def _why(self, variables: list[bytes], arguments: list[bytes], in_python: bool, user: int) -> str | None:
        """None for a process of a run inside this one."""
        if not in_python:
            return NO_PYTHON
        values = dict(variable.split(b"=", 1) for variable in variables if b"=" in variable)
        if values.get(b"FTPROF_RUN_DIR", b"") not in (b"", os.fsencode(self._folder)):
            return None
        paths = values.get(b"PYTHONPATH", b"").split(os.fsencode(os.pathsep))
        if b"FTPROF_RUN_DIR" not in values or os.fsencode(BOOTSTRAP) not in paths:
            return NO_ENVIRONMENT
        if _is_isolated(arguments):
            return ISOLATED
        return of_another_user(user) if user != os.geteuid() else NEVER_LOADED


def _is_isolated(arguments: list[bytes]) -> bool:
    for argument in arguments[1:]:
        if not argument.startswith(b"-") or argument[:2] in (b"-c", b"-m", b"--"):
            return False
        if _ISOLATING.match(argument):
            return True
    return False


def _arguments(folder: Path) -> list[bytes]:
    return (folder / "cmdline").read_bytes().split(b"\0")[:-1]


def _shown(arguments: list[bytes]) -> str:
    command = " ".join(argument.decode("ascii", "replace") for argument in arguments)
    return f"{' '.join(command.split()):.{_LONGEST_COMMAND}}"


def _effective_user(folder: Path) -> int:
    """By its status: the folder itself is root's where the process may not be looked into (setuid without exec)."""
    status = (folder / "status").read_text(errors="replace")
    return next((int(line.split()[2]) for line in status.splitlines() if line.startswith("Uid:")), os.geteuid())


def _children_by_task(folder: Path) -> list[int]:
    """A child is that of the thread that started it."""
    found = []
    with contextlib.suppress(OSError):  # it has just ended
        for task in (folder / "task").iterdir():
            found += [int(pid) for pid in (task / "children").read_bytes().split()]
    return found
