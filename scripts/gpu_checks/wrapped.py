"""Runs programs under ``ftprof wrap``, and reads the record and the counters' windows."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_checks import place

TENSOR = "floating"
_RESULT = "RESULT "


@dataclass(frozen=True)
class Window:
    """One window of one context. Times in microseconds since the epoch, counts by metric and not weighted."""

    role: str
    group: int
    begin_us: int
    end_us: int
    counts: Mapping[str, int]


@dataclass
class Counters:
    """What one context's journal lines say."""

    device: Mapping[str, Any]
    windows: list[Window] = field(default_factory=list)
    gaps: list[Mapping[str, Any]] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)  # by metric
    precisions: dict[str, str] = field(default_factory=dict)  # by metric

    def around(self, began_us: int, ended_us: int) -> Window | None:
        """The window that was open all that time, if one was."""
        return next((w for w in self.windows if w.begin_us <= began_us and ended_us <= w.end_us), None)

    def edges_ms(self, between: tuple[int, int] | None = None) -> list[float]:
        """The time from each window's end to the next one's begin."""
        pairs = itertools.pairwise(self.windows)
        inside = (p for p in pairs if between is None or (between[0] <= p[0].end_us and p[1].begin_us <= between[1]))
        return [(after.begin_us - before.end_us) / 1000 for before, after in inside]

    def measured(self, metric: str) -> int:
        """All that its windows counted."""
        return sum(window.counts.get(metric, 0) for window in self.windows)


@dataclass
class Wrapped:
    """What came of one command, bare or wrapped."""

    code: int
    out: str
    err: str
    record: dict[str, Any] | None
    contexts: list[Counters]

    @property
    def result(self) -> dict[str, Any]:
        """What the program printed as its last line. Raises ``RuntimeError`` where it printed nothing."""
        for line in reversed(self.out.splitlines()):
            if line.startswith(_RESULT):
                return dict(json.loads(line[len(_RESULT) :]))
        raise RuntimeError(f"the program ended with {self.code} and no result: {self.err[-1500:]}")

    def floating(self, kind: str = TENSOR, part: str = "flops") -> int:
        """Operations of one kind by the record, in all precisions."""
        rows = (self.record or {}).get("precisions", [])
        return sum(int(row[part] or 0) for row in rows if row["kind"] == kind)

    def reasons(self) -> list[str]:
        """Why the record is not complete."""
        return list((self.record or {}).get("reasons", ["there is no record"]))


def program(name: str, *arguments: object) -> list[str]:
    """The command that runs one of ``programs.py`` or ``tiny.py`` in this interpreter."""
    return [place.PYTHON, str(place.REPOSITORY / "scripts" / "gpu_check"), "--program", name, *map(str, arguments)]


def bare(command: Sequence[str], timeout_s: float = 120, **environment: str) -> Wrapped:
    """Run a command without ftprof."""
    done = subprocess.run(
        list(command),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=_environment(environment),
        cwd=place.work(),
    )
    return Wrapped(done.returncode, done.stdout, done.stderr, None, [])


def wrap(command: Sequence[str], options: Sequence[str] = (), timeout_s: float = 120, **environment: str) -> Wrapped:
    """Run a command under ``ftprof wrap`` with counters."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=place.work()))
    try:
        with Start(command, folder, options, **environment) as running:
            return running.wait(timeout_s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Start:
    """A wrapped command that goes on beside the caller."""

    def __init__(self, command: Sequence[str], folder: Path, options: Sequence[str] = (), **environment: str) -> None:
        self._folder = folder
        self.record = folder / "record.json"
        self.journals = folder / "journals"
        wrapped = [place.FTPROF, "wrap", "-q", "-o", str(self.record), "--run-dir", str(self.journals)]
        wrapped += ["--method", "counters", *options, "--", *command]
        self.process = subprocess.Popen(
            wrapped, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment(environment),
            cwd=place.work(),
        )  # fmt: skip

    def __enter__(self) -> Start:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def until_ready(self) -> None:
        """Wait for the program's first line. Raises ``RuntimeError`` where it is another."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if line.strip() != "ready":
            raise RuntimeError(f"the program said {line!r} instead of 'ready'")

    def wait(self, timeout_s: float = 120) -> Wrapped:
        """Until it has ended."""
        out, err = self.process.communicate(timeout=timeout_s)
        record = json.loads(self.record.read_text()) if self.record.exists() else None
        return Wrapped(self.process.returncode, out, err, record, read_counters(self.journals))


def read_counters(folder: Path) -> list[Counters]:
    """Every context of every counters journal in a run directory."""
    found = []
    for path in sorted(folder.glob("*counters.journal")):
        contexts: dict[int, Counters] = {}
        groups: dict[int, list[dict[str, Any]]] = {}
        for line in _lines(path):
            _enter(line, contexts, groups)
        found += list(contexts.values())
    return found


def _enter(line: dict[str, Any], contexts: dict[int, Counters], groups: dict[int, list[dict[str, Any]]]) -> None:
    number = line.get("context", -1)
    if line["kind"] == "context":
        context = contexts.setdefault(number, Counters(line["device"]))
        context.device = line["device"]
        groups[number] = line["groups"]
        metrics = [metric for group in line["groups"] for metric in group["metrics"]]
        context.kinds |= {metric["name"]: metric["kind"] for metric in metrics}
        context.precisions |= {metric["name"]: metric["precision"] for metric in metrics}
    elif line["kind"] == "counts" and number in contexts:
        group = groups[number][line["group"]]
        names = [metric["name"] for metric in group["metrics"]]
        counts = dict(zip(names, map(int, line["counts"]), strict=True))
        window = Window(group["role"], line["group"], line["begin_us"], line["end_us"], counts)
        contexts[number].windows.append(window)
    elif line["kind"] == "gap" and number in contexts:
        contexts[number].gaps.append(line)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_text(encoding="ascii").split("\n")[:-1]:  # a torn last line is left out
        yield json.loads(text)


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Clean of an outer run, and of the source folder, which has no native module."""
    dropped = ("FTPROF_RUN_DIR", "FTPROF_RUN_ID", "CUDA_INJECTION64_PATH", "PYTHONPATH", "PRETRAIN_FLOPS")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PYTHONUNBUFFERED": "1", **changes}
