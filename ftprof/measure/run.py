"""One ``ftprof wrap``: its directory of journals, the journal of its own, and the record at its end."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ftprof import __version__
from ftprof.errors import EXIT_REFUSED, FtprofError
from ftprof.measure.analytic.environment import with_hook
from ftprof.measure.analytic.hook import Journal, now_us, process_identity
from ftprof.record.journal import JOURNAL_SCHEMA, ProcessIdentity, read_journal
from ftprof.record.merge import merge_journals
from ftprof.record.record import Record

_PATIENCE_S = 2.0


def default_record_name(run_id: str) -> str:
    """Sorts by time, and does not meet another run's."""
    return f"ftprof-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{run_id[:8]}.json"


def new_run_id() -> str:
    """Sixteen random hexadecimal digits."""
    return secrets.token_hex(8)


class Run:
    """A run in progress. Its directory is one that it made, unless the user named one."""

    def __init__(
        self, run_id: str, folder: Path, command: Sequence[str], method: str, policy_inputs: Mapping[str, Any]
    ) -> None:
        """Make the directory and begin the journal. Raises ``FtprofError`` with exit code 125 if it is unusable."""
        self.run_id = run_id
        self.folder = folder.absolute()
        self.method = method
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._refuse_an_ended_run()
            identity = process_identity()
            self._journal = Journal(str(self.folder), identity)
        except OSError as error:
            raise FtprofError(
                f"run directory {folder} is unusable ({error.strerror or error}); give another with --run-dir",
                EXIT_REFUSED,
            ) from error
        written = self._journal.write(
            "header",
            schema=JOURNAL_SCHEMA,
            run=run_id,
            role="run",
            method=method,
            **identity,
            parent_pid=os.getppid(),
            time_us=now_us(),
            rank=None,
            software={"ftprof": __version__, "python": platform.python_version(), "system": platform.platform()},
            devices=[],
            unwatched=[],
            command=list(command),
            policy_inputs=dict(policy_inputs),
        )
        if not written:
            raise FtprofError(f"run directory {folder} cannot be written to; is the disk full?", EXIT_REFUSED)

    def _refuse_an_ended_run(self) -> None:
        """A directory is shared by the nodes of one run; a second run in it would be added to the first."""
        for path in self.folder.glob("*.jsonl"):
            journal = read_journal(path)
            if journal is not None and journal.header["role"] == "run" and journal.end is not None:
                raise FtprofError(
                    f"run directory {self.folder} holds a run that has ended; give a fresh one with --run-dir",
                    EXIT_REFUSED,
                )

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What the command gets: unchanged but for the method's own variables."""
        if self.method == "analytic":
            return with_hook(environment, self.folder, self.run_id)
        return dict(environment)

    def note_problem(self, what: str) -> None:
        """Put into the record that, and why, the meter did not do all that was asked of it."""
        self._journal.write("problem", what=what, time_us=now_us())

    def finish(self, exit_code: int) -> Record:
        """End the journal and make the record. Raises ``UntrustedInput`` where a journal does not verify."""
        self._wait_for_stragglers()
        self._journal.write("end", reason="the command ended", exit_code=exit_code, time_us=now_us())
        return merge_journals(self.folder)

    def _wait_for_stragglers(self) -> None:
        """Processes that end just after the command (workers, ranks) may still write their last line."""
        deadline = time.monotonic() + _PATIENCE_S
        waiting = [path for path in self.folder.glob("*.jsonl") if str(path) != self._journal.path]
        while waiting and time.monotonic() < deadline:
            waiting = [path for path in waiting if _still_runs(path)]
            if waiting:
                time.sleep(0.02)

    def discard(self) -> None:
        """Remove the directory with all journals."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def abandon(self) -> None:
        """The command never started: leave nothing behind."""
        self._journal.close()
        Path(self._journal.path).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is shared with other nodes
            self.folder.rmdir()


def _still_runs(path: Path) -> bool:
    """Whether a journal has no end yet and its process is alive on this host."""
    journal = read_journal(path)
    if journal is None or journal.end is not None:
        return False
    return _is_alive(journal.identity)


def _is_alive(identity: ProcessIdentity) -> bool:
    if identity.host != os.uname().nodename:
        return False
    try:
        stat = Path(f"/proc/{identity.pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    fields = stat.rpartition(")")[2].split()
    return fields[0] != "Z" and int(fields[19]) == identity.start_ticks
