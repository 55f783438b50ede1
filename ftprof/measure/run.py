"""One ``ftprof wrap``: its directory of journals, the journal of its own, and the record at its end."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ftprof import __version__
from ftprof.errors import EXIT_REFUSED, FtprofError, UntrustedInput
from ftprof.measure.analytic.environment import with_hook
from ftprof.measure.analytic.hook import Journal, now_us, open_high, process_identity
from ftprof.measure.injection import CounterOptions, with_counters
from ftprof.measure.launch import current_host, sagemaker_output, training_job_name
from ftprof.measure.methods import Methods
from ftprof.measure.run_processes import process_status
from ftprof.measure.shared_run import Part, SharedRun, first_line, settled
from ftprof.record.journal import JOURNAL_SCHEMA, JOURNALS, read_journal
from ftprof.record.launch import Launch
from ftprof.record.merge import merge_journals
from ftprof.record.reasons import SEE_MORE
from ftprof.record.record import Record
from ftprof.record.run_files import FAILURES, RUN_SUFFIX

_PATIENCE_S = 2.0
_YOUNG_S = 20.0
_LOOKS = 5  # for processes that still work, while others end: on a busy machine some always do
_LONGEST_WORD = 63  # of a training job's name; the record's name has room for two


def default_record(run_id: str, environment: Mapping[str, str], sagemaker_root: Path | None = None) -> Path:
    """Sorts by time, and does not meet another run's; in a SageMaker container, in the folder that it keeps.

    ``sagemaker_root`` is that of ``sagemaker_output``.
    """
    job, host = training_job_name(environment), current_host(environment)
    words = [re.sub(r"[^A-Za-z0-9._-]", "_", word)[:_LONGEST_WORD] for word in (job, host if job else None) if word]
    name = "-".join(["ftprof", *words, f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}", f"{run_id[:8]}.json"])
    return (sagemaker_output(environment, sagemaker_root) or Path()) / name


def new_run_id() -> str:
    """Sixteen random hexadecimal digits."""
    return os.urandom(8).hex()


class Run:
    """A run in progress. Its directory is one that it made, unless the user named one."""

    def __init__(
        self,
        run_id: str,
        folder: Path,
        command: Sequence[str],
        methods: Methods,
        policy_inputs: Mapping[str, Any],
        launch: Launch,
    ) -> None:
        """Make the directory and begin the journal. Raises ``FtprofError`` with exit code 125 if it is unusable."""
        self.run_id = run_id
        self.methods = methods
        self.shared: SharedRun | None = None  # where other parts of the same start may write there too
        try:
            self.folder = folder.absolute()
            self.folder.mkdir(parents=True, exist_ok=True)
            if launch.shared:
                self.shared = SharedRun(self.folder, launch)
                self.shared.refuse_another_run()
            identity = process_identity()
            self._journal = Journal(str(self.folder), identity, RUN_SUFFIX if launch.shared else "")
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
            method=methods.label,
            **identity,
            parent_pid=os.getppid(),
            time_us=now_us(),
            rank=None,
            software={
                "ftprof": __version__,
                "python": platform.python_version(),
                "system": platform.platform(),
                **({"no_counters": methods.fallback} if methods.fallback else {}),
            },
            devices=[],
            unwatched=[],
            command=list(command),
            policy_inputs=dict(policy_inputs),
            **({} if launch == Launch(shared=False) else {"launch": launch.to_json()}),
        )
        if not written:
            self.abandon()
            raise FtprofError(f"run directory {folder} cannot be written to; is the disk full?", EXIT_REFUSED)
        with contextlib.suppress(OSError):
            self._make_failure_file()

    def _make_failure_file(self) -> None:
        """Before any process needs it, which may not make one there; where several users may write, it is for all."""
        file = open_high(str(self.folder / FAILURES), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            others = self.folder.stat().st_mode & 0o022
            os.fchmod(file, os.fstat(file).st_mode & 0o777 | others)
        finally:
            os.close(file)

    def environment(self, environment: Mapping[str, str], options: CounterOptions | None = None) -> dict[str, str]:
        """What the command gets: unchanged but for the methods' own variables."""
        changed = dict(environment)
        if self.methods.counters:
            changed = with_counters(changed, self.folder, self.run_id, options or CounterOptions())
        if self.methods.counters or self.methods.operators:
            # Beside counters the hook leaves operators alone: it only tells of what the injection library cannot see.
            changed = with_hook(changed, self.folder, self.run_id, "analytic" if self.methods.operators else "counters")
        return changed

    def write_device_window(self, content: dict[str, Any]) -> None:
        """A line on what a whole GPU did, for the run's own journal."""
        self._journal.write("device-window", **content)

    def note_devices(self, notes: Sequence[str]) -> None:
        """What went wrong with watching whole GPUs: a problem only where the run's figure depends on that."""
        if self.methods.label in ("gpm", "peak-bound"):
            for note in notes:
                self.note_problem(note)

    def note_users(self, users: Iterable[tuple[tuple[str, ...], int]]) -> None:
        """Name the processes that had a GPU though none of their contexts on it was counted.

        A GPU is told by its UUID, and by those of its instances.
        """
        if not self.methods.counters:
            return
        from ftprof.record.device_window import bare_uuid

        counted = set()
        for path in self.folder.glob(JOURNALS):
            if first_line(path).get("host") != os.uname().nodename:
                continue  # its own ftprof sees that host's GPUs; to verify all of them takes long on a shared disk
            try:
                journal = read_journal(path)
            except UntrustedInput:
                return  # the record will say so
            if journal is not None:
                counted |= {(bare_uuid(context.device["uuid"]), journal.identity.pid) for context in journal.contexts}
        for uuids, pid in sorted(set(users)):
            if counted.isdisjoint((bare_uuid(uuid), pid) for uuid in uuids):
                self.note_problem(
                    f"process {pid} used {uuids[0]}, but no CUDA context of its own was counted there; {SEE_MORE}"
                )

    def note_problem(self, what: str) -> None:
        """Put into the record that, and why, the meter did not do all that was asked of it."""
        self._journal.write("problem", what=what, time_us=now_us())

    def tick(self) -> None:
        """To be called every second or so while the command runs."""
        if self.shared is not None:
            self.shared.touch(Path(self._journal.path))

    def suspended(self) -> None:
        """ftprof is about to be stopped, as its command was."""

    def end(self, exit_code: int) -> None:
        """The command has ended: end the journal."""
        for what in self._wait_for_stragglers():
            self.note_problem(what)
        self._journal.write(
            "end", reason="the command ended", exit_code=exit_code, time_us=now_us(), journals=self._journals_here()
        )
        if self.shared is not None:
            settled(Path(self._journal.path))

    def _journals_here(self) -> list[str]:
        """The names of the processes' journals that there are of this host: one that is lost later will be missed."""
        own = Path(self._journal.path)
        host = own.name.removesuffix(f"{RUN_SUFFIX}.journal" if self.shared is not None else ".journal")
        host = host.rsplit("-", 3)[0]  # before the boot's id, the process's and its start
        found = (path.name for path in self.folder.glob(JOURNALS) if path.name.startswith(f"{host}-"))
        return sorted(name for name in found if name != own.name and not name.endswith(f"{RUN_SUFFIX}.journal"))

    def turn(self, tell: Callable[[str], None]) -> tuple[Part, ...]:
        """Of a shared run that has ended: the others that go on. Nobody: the record is to be written now."""
        return () if self.shared is None else self.shared.turn(Path(self._journal.path).name, tell)

    def record(self) -> Record:
        """The record of all that is in the directory. Raises ``UntrustedInput`` where a journal does not verify."""
        return merge_journals(self.folder, now_us())

    def _wait_for_stragglers(self) -> list[str]:
        """Processes of the run (workers, ranks) may still write their last line; those that do not end are named."""
        deadline = time.monotonic() + _PATIENCE_S
        while working := still_working(self.run_id):
            if time.monotonic() >= deadline:
                return [f"process {pid} outlived the command: what it did then is not counted" for pid in working]
            time.sleep(0.02)
        return []

    def discard(self) -> None:
        """Remove the directory with all journals."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def abandon(self) -> None:
        """The command never started: leave nothing behind."""
        self._journal.close()
        Path(self._journal.path).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is shared with other nodes
            if not any(self.folder.glob(JOURNALS)) and (self.folder / FAILURES).stat().st_size == 0:
                (self.folder / FAILURES).unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def still_working(run_id: str) -> list[int]:
    """Living processes of this run on this host that count, or are just about to import torch.

    One that ended during the look may have left a child that was not there when it began: a daemon forks twice.
    """
    mark = f"FTPROF_RUN_ID={run_id}".encode()
    for _ in range(_LOOKS):
        looks = {int(folder.name): _may_use_torch(folder, mark) for folder in Path("/proc").glob("[0-9]*")}
        working = [pid for pid, may in looks.items() if may]
        if working or None not in looks.values():
            return working
    return []


def _may_use_torch(process: Path, mark: bytes) -> bool | None:
    """Whether a process of the run has torch mapped, or is a young Python that may import it yet. None: it is gone."""
    try:
        environment = (process / "environ").read_bytes()
        if mark not in environment:
            status = process_status(int(process.name)) if not environment else None
            return None if status is not None and status.state in "ZX" else False
        maps = (process / "maps").read_bytes()
        young = time.time() - process.stat().st_mtime < _YOUNG_S
    except PermissionError:
        return False  # not ours to look at
    except OSError:
        return None
    return b"libtorch" in maps or b"libftprof_inject" in maps or (young and b"python" in maps)
