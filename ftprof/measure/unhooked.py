"""Names the processes of a run that use torch where the analytic hook is not loaded: nothing in them is counted.

The hook comes with variables of the environment. A program may start another without them (``env -i``, a Popen with an
environment of its own), and ``python -I``, ``-E`` and ``-S`` do not read them. Seen from outside, by /proc.
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

_Process = tuple[int, int]  # its id, and when it started


class UnhookedProcesses:
    """Looks through the descendants of ``command_pid`` now and then; see ``found``."""

    def __init__(self, folder: Path, command_pid: int, proc: Path = Path("/proc")) -> None:
        self._folder = folder
        self._command_pid = command_pid
        self._proc = proc
        self._failures = (folder / FAILURES).stat()
        self._hooked: set[_Process] = set()
        self._found: dict[_Process, tuple[str, str]] = {}  # command, and why
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
        return [
            f"process {process[0]} ({command}) used torch and was not counted: {why}"
            for process, (command, why) in sorted(self._found.items())
            # It was looked at in the midst of importing torch, and has kept a journal since or said why it has none.
            if not self._has_journal(process) and str(process[0]).encode() not in told
        ]

    def _told(self) -> set[bytes]:
        """The processes that said themselves why they are not counted."""
        try:
            return set(_TELLS.findall((self._folder / FAILURES).read_bytes()))
        except OSError:
            return set()  # the run directory has gone, which is named elsewhere

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
            if self._is_hooked(process, folder):
                self._hooked.add(process)
                self._found.pop(process, None)
                return
            arguments = (folder / "cmdline").read_bytes().split(b"\0")[:-1]
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            return  # it has just ended, or is another user's
        if any(_COMPILES.search(argument) for argument in arguments):
            return
        why = self._why(variables, arguments, _TORCH_OF_PYTHON in maps)
        if why is not None:
            command = " ".join(argument.decode("ascii", "replace") for argument in arguments)
            self._found[process] = f"{' '.join(command.split()):.{_LONGEST_COMMAND}}", why

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
        return self._has_journal(process)

    def _has_journal(self, process: _Process) -> bool:
        return any(self._folder.glob(f"*-{process[0]}-{process[1]}.journal"))

    def _why(self, variables: list[bytes], arguments: list[bytes], in_python: bool) -> str | None:
        """None for a process of a run inside this one."""
        if not in_python:
            return NO_PYTHON
        values = dict(variable.split(b"=", 1) for variable in variables if b"=" in variable)
        if values.get(b"FTPROF_RUN_DIR", b"") not in (b"", os.fsencode(self._folder)):
            return None
        paths = values.get(b"PYTHONPATH", b"").split(os.fsencode(os.pathsep))
        if b"FTPROF_RUN_DIR" not in values or os.fsencode(BOOTSTRAP) not in paths:
            return NO_ENVIRONMENT
        return ISOLATED if _is_isolated(arguments) else NEVER_LOADED


def _is_isolated(arguments: list[bytes]) -> bool:
    for argument in arguments[1:]:
        if not argument.startswith(b"-") or argument[:2] in (b"-c", b"-m", b"--"):
            return False
        if _ISOLATING.match(argument):
            return True
    return False


def _children_by_task(folder: Path) -> list[int]:
    """A child is that of the thread that started it."""
    found = []
    with contextlib.suppress(OSError):  # it has just ended
        for task in (folder / "task").iterdir():
            found += [int(pid) for pid in (task / "children").read_bytes().split()]
    return found
