"""Runs a command as if ftprof were not there: streams untouched, signals passed on, its exit code returned."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
_FORWARDED = frozenset(
    (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
        signal.SIGTSTP,
        signal.SIGCONT,
        signal.SIGALRM,
        signal.SIGXCPU,  # what a batch system sends before its limit
    )
)
_ASK_FOR_THE_END = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))
_SENT_BY_KERNEL = 0x80  # SI_KERNEL of sigaction(2): what the terminal sends, to the whole group at once
# Of a timer that was set before ftprof was started in its place (alarm, then exec): it was meant for the command.
_OF_A_TIMER = frozenset((signal.SIGALRM,))


class Watcher(Protocol):
    """What goes on beside the command."""

    def tick(self) -> None:
        """Called now and then while the command runs."""

    def suspended(self) -> None:
        """Called before ftprof stops itself, since its command was stopped from the terminal."""


class CommandNotStarted(Exception):
    """The command could not be started; ``exit_code`` is 126 or 127 as for env(1)."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def end_is_asked_for() -> bool:
    """Whether a signal that asks ftprof to end has come since its command ended: whatever waits should wait no more."""
    return not _ASK_FOR_THE_END.isdisjoint(signal.sigpending())


def _why_missing(name: str) -> str:
    """A script whose interpreter is missing fails as one that is missing itself."""
    here = os.sep in name and Path(name).is_file()
    if here:
        return "its interpreter was not found; look at its first line"
    if any(character.isspace() for character in name):
        return (
            "command not found; no shell takes it apart: leave out the quotes, or give bash -c and the line in quotes"
        )
    return "command not found"


class Child:
    """One command, started without a shell. Signals that a process sends to ftprof are sent on to it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start ``command``; raises ``CommandNotStarted``.

        From here on ftprof's own signals stay blocked, so that none of them ends it before the record is written.
        """
        self.killed_by: int | None = None  # the signal that ended it, once it has ended
        self._waited_for = _FORWARDED | {signal.SIGCHLD}
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited as ignored, it would hide the exit code
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._waited_for)
        try:
            # Python ignores these two for itself; the command gets them as it would from a shell. What ftprof was
            # started with cannot be known: Python has set them before any code of ours runs, and keeps no note of it.
            default = [signal.SIGPIPE, signal.SIGXFSZ]
            self.pid = os.posix_spawnp(command[0], list(command), environment, setsigmask=before, setsigdef=default)
        except (OSError, ValueError) as error:  # ValueError: an empty name
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            missing = isinstance(error, (FileNotFoundError, ValueError))
            reason = _why_missing(command[0]) if missing else str(getattr(error, "strerror", error)).lower()
            raise CommandNotStarted(
                f"{command[0] or 'an empty name'}: {reason}",
                EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE,
            ) from error

    def wait(self, watcher: Watcher, interval_s: float) -> int:
        """Wait for the command's end and return its exit code, 128 + n if signal n killed it."""
        stop_asked = False
        next_tick = time.monotonic() + interval_s
        while True:
            received = signal.sigtimedwait(self._waited_for, max(next_tick - time.monotonic(), 0))
            if time.monotonic() >= next_tick:  # also where signals come all the time
                watcher.tick()
                next_tick = time.monotonic() + interval_s
            if received is not None and received.si_signo != signal.SIGCHLD:
                if received.si_code != _SENT_BY_KERNEL or received.si_signo in _OF_A_TIMER:
                    self._send(received.si_signo)
                stop_asked = stop_asked or received.si_signo == signal.SIGTSTP
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid and not os.WIFSTOPPED(status):
                self.killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
                return os.WEXITSTATUS(status) if self.killed_by is None else 128 + self.killed_by
            if pid and stop_asked:
                # The shell waits for ftprof: it must stop too. One who stops the command alone will also continue
                # it alone, so that ftprof goes on.
                stop_asked = False
                watcher.suspended()
                os.kill(os.getpid(), signal.SIGSTOP)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended; the wait that follows finds it
            os.kill(self.pid, number)
