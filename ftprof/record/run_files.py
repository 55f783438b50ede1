"""A run directory's files: its processes' journals, and what processes said that could keep none."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from ftprof.errors import UntrustedInput
from ftprof.record.journal import JOURNALS

RUN_SUFFIX = "-run"  # of the names of the runs' own journals where parts share a folder: found among thousands of ranks
COUNTERS_SUFFIX = "-counters"
FAILURES = "failures.txt"  # what processes say that cannot keep a journal


def is_journal(name: str) -> bool:
    """Whether a file of this name in a run directory is a journal."""
    return fnmatchcase(name, JOURNALS)


def is_of_a_run(name: str) -> bool:
    """Whether it is the journal of one that wrapped the run, on this machine or on another."""
    return is_journal(name) and Path(name).stem.endswith(RUN_SUFFIX)


class RunFiles(Mapping[str, bytes]):
    """Their contents by name, each read when it is asked for. Other files are none of the run's."""

    def __init__(self, folder: Path) -> None:
        """Raises ``UntrustedInput`` where the directory cannot be read."""
        self.folder = folder
        try:
            names = [path.name for path in folder.iterdir()]
        except FileNotFoundError as error:
            raise UntrustedInput(f"run directory {folder} is gone, or was moved") from error
        except OSError as error:
            raise UntrustedInput(f"run directory {folder} cannot be read: {error.strerror}") from error
        self._names = dict.fromkeys(sorted(name for name in names if name == FAILURES or is_journal(name)))

    def __getitem__(self, name: str) -> bytes:
        """Raises ``UntrustedInput`` where the file cannot be read."""
        if name not in self._names:
            raise KeyError(name)
        what = name if name == FAILURES else f"journal {self.folder / name}"
        try:
            if not stat.S_ISREG((self.folder / name).stat().st_mode):
                raise UntrustedInput(f"{what} is no file; a run directory holds what 'ftprof wrap' wrote there")
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise UntrustedInput(f"{what} cannot be read: {error.strerror}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
