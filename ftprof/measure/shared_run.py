"""A run directory that several ``ftprof wrap`` share: who takes part, who still goes on, and who writes the record.

Each has a journal of its own there and touches it every few seconds, so that another host can tell whether it lives.
Clocks of hosts are not compared: one that is waited for must touch its journal while somebody watches. Whoever ends and
finds nobody going on makes a file that only one can make (O_EXCL, atomic on NFS too), and writes the record. It names
what it saw: one who comes or ends later has seen more, and replaces the record.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftprof.errors import EXIT_REFUSED, FtprofError, UntrustedInput
from ftprof.measure.child import end_is_asked_for
from ftprof.measure.run_processes import INITIAL_PID_NAMESPACE, process_status
from ftprof.record.journal import JOURNALS, ProcessIdentity, read_journal
from ftprof.record.launch import Launch
from ftprof.record.reasons import parts_missing
from ftprof.record.run_files import RUN_SUFFIX

HEARTBEAT_S = 5.0
SILENCE_S = 20.0
LATE_S = 30.0
_WRITING_S = 60.0
_LOOK_S = 0.2
_TELL_AFTER_S = 1.0
_LONGEST_LINE = 65536
_CLAIM = ".claim"


@dataclass(frozen=True)
class Part:
    """One ``ftprof wrap`` of the run. ``touched`` changes whenever it shows that it lives."""

    journal: str
    process: ProcessIdentity
    launch: Launch | None
    ended: bool
    touched: tuple[int, int]

    def __str__(self) -> str:
        if self.launch is None or self.launch.part is None:
            return self.process.host
        return f"{self.process.host} ({self.launch.named(self.launch.part)})"


class SharedRun:
    """The directory as one of the parts sees it."""

    def __init__(self, folder: Path, launch: Launch) -> None:
        self.folder = folder
        self._launch = launch
        self._began = self._touched = time.monotonic()
        self._known: dict[str, tuple[ProcessIdentity, Launch | None]] = {}

    def refuse_another_run(self) -> None:
        """Raise ``FtprofError`` (125) where the directory holds another run, which this one would be added to."""
        try:
            for part in self.look():
                if why := self._is_another(part):
                    raise FtprofError(
                        f"run directory {self.folder} holds {why}; give a fresh one with --run-dir", EXIT_REFUSED
                    )
            self._refuse_a_run_not_shared()
        except UntrustedInput as error:
            raise FtprofError(f"{error.message}; give a fresh run directory", EXIT_REFUSED) from error

    def _is_another(self, part: Part) -> str:
        """What the directory holds, if this part belongs to another run; else nothing."""
        own, other = self._launch, part.launch
        if own.part is None or other is None or other.part is None:
            return "a run that has ended" if part.ended else ""
        # A restart of the workers (torchrun) may change how many there are.
        same = own.attempt != other.attempt or own.parts == other.parts
        if (own.launcher, own.id) != (other.launcher, other.id) or not same:
            return f"a run of another start ({' '.join(filter(None, (other.launcher, other.id))) or 'not known'})"
        if own.part == other.part and own.attempt <= other.attempt:
            return f"a run that has ended ({other.named(other.part)} is there)" if part.ended else f"{part} already"
        return ""

    def _refuse_a_run_not_shared(self) -> None:
        for path in self.folder.glob(JOURNALS):
            if not path.name.endswith(f"{RUN_SUFFIX}.journal") and first_line(path).get("role") != "process":
                journal = read_journal(path)
                if journal is not None and journal.header["role"] == "run" and journal.end is not None:
                    raise FtprofError(
                        f"run directory {self.folder} holds a run that has ended; give a fresh one with --run-dir",
                        EXIT_REFUSED,
                    )

    def touch(self, journal: Path) -> None:
        """Show the others that this part lives; cheap enough for every tick."""
        if time.monotonic() - self._touched >= HEARTBEAT_S:
            self._touched = time.monotonic()
            with contextlib.suppress(OSError):  # the directory has gone, which the record's writer will say
                os.utime(journal)

    def look(self) -> tuple[Part, ...]:
        """All parts that have begun, in the order of their journals' names."""
        found = (self._part(path) for path in sorted(self.folder.glob(f"*{RUN_SUFFIX}.journal")))
        return tuple(part for part in found if part is not None)

    def _part(self, path: Path) -> Part | None:
        if path.name not in self._known:
            header = first_line(path)
            if not header:
                return None  # its first line is being written, or its command could not be started
            try:
                process = ProcessIdentity(*(header[key] for key in ("host", "boot", "pid", "start_ticks")))
                launch = Launch.from_json(header["launch"]) if "launch" in header else None
            except (KeyError, TypeError, ValueError) as error:
                raise UntrustedInput(f"journal {path} has no header that this ftprof can read") from error
            self._known[path.name] = process, launch
        try:
            ended, touched = _end_of(path)
        except OSError:
            return None  # its command could not be started
        return Part(path.name, *self._known[path.name], ended, touched)

    def turn(self, own: str, tell: Callable[[str], None]) -> tuple[Part, ...]:
        """Those that go on: to be called when this part has ended. Nobody: it is this one's turn to write the record.

        ``own`` is the name of this part's journal, whose last line a full disk may have kept from being written. It
        waits until that is known, and tells what for: for a sign of life at most ``SILENCE_S`` seconds, and for parts
        that the launcher starts and that have not begun until ``LATE_S`` seconds after this one did. Asked to end by a
        signal it waits no more, and answers from what it knows: who ends later replaces the record.
        """
        first: dict[str, tuple[tuple[int, int], float]] = {}
        asked, told = time.monotonic(), False
        while True:
            parts, now = self.look(), time.monotonic()
            going = [part for part in parts if not part.ended and part.journal != own]
            for part in going:
                first.setdefault(part.journal, (part.touched, now))
            living = [part for part in going if part.touched != first[part.journal][0] or _is_here(part.process)]
            if living:
                return tuple(living)
            silent = all(_was_here(part.process) or now - first[part.journal][1] >= SILENCE_S for part in going)
            late = any(parts_missing([part.launch for part in parts if part.launch is not None]))
            if (silent and not (late and now - self._began < LATE_S)) or end_is_asked_for():
                return ()
            if not told and now - asked > _TELL_AFTER_S:
                told = True
                whom = f"a sign of life of {names(going)}" if going else "parts that have not begun"
                longest = f"{max(SILENCE_S, LATE_S):.0f} s at most (Ctrl-C: no more)"
                tell(f"waiting for {whom}, {longest}, to know who writes the record")
            time.sleep(_LOOK_S)

    def claim(self) -> Claim | None:
        """The right to write the record of what is there now; ``None`` where another one has it.

        It waits for those who had the right before, with less to write, until they have written, or until a signal asks
        it to end.
        """
        seen = self._seen()
        path = self.folder / f"{seen}{_CLAIM}"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        except FileExistsError:
            return None
        except FileNotFoundError as error:
            raise UntrustedInput(f"run directory {self.folder} is gone, or was moved") from error
        deadline = time.monotonic() + _WRITING_S
        while any(not _content(other) for other in self._claims() if other != path) and time.monotonic() < deadline:
            if end_is_asked_for():
                break
            time.sleep(_LOOK_S)
        return Claim(path, is_stale=self._seen() != seen)

    def wrote(self, record: Path) -> bool:
        """Whether this file is a record that this run has written: one that may be replaced."""
        return has_written(self.folder, record)

    def earlier_record(self) -> Path | None:
        """Where a part that ended before has written the record, if it is still there."""
        paths = [Path(text) for claim in self._claims() if isinstance(text := _content(claim).get("record"), str)]
        return next((path for path in paths if self.wrote(path)), None)

    def _seen(self) -> str:
        """What tells one state of the directory from another, for a file's name."""
        states = [[part.journal, part.ended] for part in self.look()]
        return hashlib.sha256(json.dumps(states).encode()).hexdigest()[:16]

    def _claims(self) -> list[Path]:
        return _claims(self.folder)


def has_written(folder: Path, record: Path) -> bool:
    """Whether this file is a record that the run of a directory has written, and not another one since."""
    claims = _claims(folder)
    digest = _digest_of(record) if claims else None
    return digest is not None and any(_content(claim).get("digest") == digest for claim in claims)


def _claims(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_CLAIM}"))


@dataclass(frozen=True)
class Claim:
    """The right to write the record. ``is_stale``: somebody came or ended meanwhile, so look again."""

    path: Path
    is_stale: bool

    def settle(self, record: Path) -> None:
        """Say that the record is written, and which."""
        content = {"record": str(record.absolute()), "digest": _digest_of(record)}
        with contextlib.suppress(OSError):  # the record is there; only a part that ends later will not replace it
            self.path.write_text(json.dumps(content))

    def withdraw(self) -> None:
        """Leave it to who looks next."""
        self.path.unlink(missing_ok=True)


def settled(path: Path) -> None:
    """Bring a journal's lines to the server, so that other hosts see them."""
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def names(parts: Sequence[Part]) -> str:
    """Parts for a person: the first few."""
    return ", ".join(map(str, parts[:3])) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")


def _is_here(process: ProcessIdentity) -> bool:
    """Whether it is a living process that this one can see."""
    return _is_on_this_host(process) and _start_ticks(process.pid) == process.start_ticks


def _was_here(process: ProcessIdentity) -> bool:
    """Whether it ran on this host and is gone: only who sees all processes of the host can tell."""
    if _own_process_namespace() != INITIAL_PID_NAMESPACE:
        return False
    return _is_on_this_host(process) and _start_ticks(process.pid) != process.start_ticks


def _own_process_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _is_on_this_host(process: ProcessIdentity) -> bool:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return False
    return (process.host, process.boot) == (os.uname().nodename, boot)


def _start_ticks(pid: int) -> int | None:
    """A living process's start; one that has ended stays visible until its parent has taken notice."""
    status = process_status(pid)
    return None if status is None or status.state in "ZX" else status.start_ticks


def first_line(path: Path) -> dict[str, Any]:
    """A journal's first line; empty where it is not whole, or no object. The record's reader verifies it."""
    try:
        with path.open("rb") as file:
            text = file.readline()
        line = json.loads(text) if text.endswith(b"\n") else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}


def _end_of(path: Path) -> tuple[bool, tuple[int, int]]:
    """Whether a journal's last line is its end, and its time and size. Opened anew: so NFS asks its server."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        file.seek(max(status.st_size - _LONGEST_LINE, 0))
        last = file.read().split(b"\n")[-2:]
    ended = len(last) == 2 and not last[1] and b'"kind":"end"' in last[0]
    return ended, (status.st_mtime_ns, status.st_size)


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}  # it is being written
    return content if isinstance(content, dict) else {}


def _digest_of(record: Path) -> str | None:
    digest = _content(record).get("digest")
    return digest if isinstance(digest, str) else None
