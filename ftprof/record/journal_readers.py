"""Reads a run's journals: here, or where there are many by several processes, each with its share.

A reader is a Python of its own, not a fork: the caller may have threads. It gets names and gives journals whose windows
are surveyed already, in the order of the names, so that the record does not hang on how many readers there were.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePath
from typing import IO

from ftprof.errors import FtprofError, UntrustedInput
from ftprof.record.journal import Journal, parse_journal
from ftprof.record.run_files import COUNTERS_SUFFIX, RUN_SUFFIX, RunFiles
from ftprof.record.timeline import Timeline

_MANY = 1024
_CHUNK = 64
_MOST_READERS = 16
_PROGRAM = "import sys; sys.path[:] = {}; from ftprof.record.journal_readers import read_for_parent; read_for_parent()"


def read_all(folder: Path, files: Mapping[str, bytes], names: Sequence[str]) -> list[Journal | None]:
    """The journals of these names, in their order. Raises ``UntrustedInput`` for the first that does not verify."""
    readers = min(len(os.sched_getaffinity(0)), _MOST_READERS)
    if len(names) < _MANY or readers < 2 or not isinstance(files, RunFiles):
        return [parse_journal(folder / name, files[name]) for name in names]
    chunks = [list(names[at : at + _CHUNK]) for at in range(0, len(names), _CHUNK)]
    # Beside operators it matters which process counted what when.
    only_counters = all(PurePath(name).stem.endswith((COUNTERS_SUFFIX, RUN_SUFFIX)) for name in names)
    with without_collector():
        return [journal for chunk in _read_by(readers, folder, chunks, only_counters) for journal in chunk]


@contextmanager
def without_collector() -> Iterator[None]:
    """Millions of objects without a cycle among them: looking for one, again and again, takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_by(readers: int, folder: Path, chunks: list[list[str]], one_timeline: bool) -> Iterator[list[Journal | None]]:
    """Chunk by chunk; the next ones are read meanwhile."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(_Reader(folder, chunks[first::readers], one_timeline)) for first in range(readers)
        ]
        for number in range(len(chunks)):
            yield started[number % readers].take()


class _Reader:
    """A process that reads its chunks, one after the other."""

    def __init__(self, folder: Path, chunks: list[list[str]], one_timeline: bool) -> None:
        self._work = pickle.dumps((str(folder), chunks, one_timeline))
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> _Reader:
        paths = [str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)]
        command = [sys.executable, "-I", "-c", _PROGRAM.format(repr(paths))]  # nothing of the current directory
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stdin = self._pipe(self._process.stdin)
        with suppress(BrokenPipeError):  # it is gone already, which ``take`` will say
            stdin.write(self._work)
            stdin.close()
        return self

    def take(self) -> list[Journal | None]:
        """Its next chunk. Raises what reading it raised."""
        try:
            found = pickle.load(self._pipe(self._process.stdout))  # of a process of our own
        except (EOFError, pickle.UnpicklingError) as error:
            code = self._process.wait()
            raise FtprofError(f"a process that read journals ended with {code}; is there enough memory?") from error
        if isinstance(found, FtprofError):
            raise found
        return list(found)

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it has given all, or nobody wants the rest
        self._pipe(self._process.stdout).close()
        self._process.wait()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


def read_for_parent() -> None:
    """What a reader runs: work comes by standard input, journals go to standard output."""
    folder, chunks, one_timeline = pickle.load(sys.stdin.buffer)
    files = RunFiles(Path(folder))
    gc.disable()
    for names in chunks:
        sys.stdout.buffer.write(pickle.dumps(_surveyed(Path(folder), files, names, one_timeline), protocol=5))
        sys.stdout.buffer.flush()


def _surveyed(
    folder: Path, files: RunFiles, names: list[str], one_timeline: bool
) -> list[Journal | None] | UntrustedInput:
    from ftprof.record.counted import surveyed
    from ftprof.record.rollup import Tally

    journals: list[Journal | None] = []
    timelines: dict[str, Timeline] | None = {} if one_timeline else None
    try:
        for name in names:
            journal = parse_journal(folder / name, files[name], timelines)
            for context in [] if journal is None else journal.contexts:
                if context.windows:
                    context.surveyed = surveyed(context)
                    context.tally = Tally(())
            journals.append(journal)
    except UntrustedInput as error:
        return error
    if one_timeline:
        _part_timelines([found for found in journals if found is not None and found.header["role"] == "process"])
    return journals


def _part_timelines(journals: list[Journal]) -> None:
    """The first journal of each method keeps the timeline that they share: a record has the sum of all."""
    kept = set()
    for journal in journals:
        if journal.header["method"] in kept:
            journal.timeline = Timeline()
        kept.add(journal.header["method"])
