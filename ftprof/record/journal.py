"""Reads the journal that one process wrote: append-only JSON lines, each with the hash of the one before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftprof.errors import UntrustedInput
from ftprof.record.canonical import FIRST_HASH, canonical, is_hash_of_line
from ftprof.record.fields import (
    parse_count,
    parse_list,
    parse_object,
    parse_text,
    parse_whole,
)
from ftprof.record.launch import Launch
from ftprof.record.timeline import Timeline

if TYPE_CHECKING:
    from ftprof.record.counted_context import CountedContext
    from ftprof.record.device_window import DeviceWindow

JOURNAL_SCHEMA = "ftprof.journal/1"
JOURNALS = "*.journal"
METHODS = ("counters", "gpm", "analytic", "peak-bound")
_DECODER = json.JSONDecoder()
PHASES = ("train", "recompute", "evaluate", "generate", "auxiliary")
_KINDS = frozenset(
    (
        "header",
        "program",
        "window",
        "problem",
        "end",
        "context",
        "context-end",
        "counts",
        "gap",
        "rollup",
        "uncounted",
        "device-window",
    )
)


@dataclass(frozen=True, order=True)
class ProcessIdentity:
    """What tells one process from every other: its host, the host's boot, its id and its start (clock ticks)."""

    host: str
    boot: str
    pid: int
    start_ticks: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True, order=True)
class Cell:
    """Where counted operations belong: an operator or counter, a precision, a device, a phase of the training."""

    operator: str
    precision: str
    device: str
    phase: str = "train"


@dataclass(frozen=True, order=True)
class UncountedWork:
    """Something that did work and is not counted. ``family`` is set where nothing bounds that work."""

    kind: str
    name: str
    family: str | None


@dataclass
class Journal:
    """A journal's content. Counts are operations (``flops``) and calls, exact."""

    path: Path
    header: dict[str, Any]
    head: str = FIRST_HASH
    lines: int = 0
    windows: int = 0
    torn: bool = False
    end: dict[str, Any] | None = None
    last_us: int = 0
    problems: list[str] = field(default_factory=list)
    programs: list[dict[str, Any]] = field(default_factory=list)
    devices: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[Cell, tuple[int, int]] = field(default_factory=dict)  # (calls, flops)
    uncounted: dict[UncountedWork, int] = field(default_factory=dict)
    contexts: list[CountedContext] = field(default_factory=list)  # of a counters journal
    earlier_contexts: int = 0  # of programs that this process was before an exec: their numbers come again
    unseen: list[str] = field(default_factory=list)  # work that counters could not see, a sentence each
    device_windows: list[DeviceWindow] = field(default_factory=list)  # of a run's journal
    timeline: Timeline = field(default_factory=Timeline)  # of what its windows counted

    @property
    def identity(self) -> ProcessIdentity:
        """The process that wrote this journal."""
        header = self.header
        return ProcessIdentity(header["host"], header["boot"], header["pid"], header["start_ticks"])

    @property
    def who(self) -> str:
        """The process for a person, with its rank where it has one."""
        rank = self.header["rank"] or {}
        return f"{self.identity} (rank {rank['rank']})" if "rank" in rank else str(self.identity)

    @property
    def launch(self) -> Launch | None:
        """Of a run's journal: what the launcher that started it says."""
        return Launch.from_json(self.header["launch"]) if "launch" in self.header else None

    @property
    def flops(self) -> int:
        """All operations in its windows."""
        return sum(flops for _, flops in self.counts.values())


class BrokenJournal(UntrustedInput):
    """A line of a journal that does not hold. ``line`` counts from 1; ``why`` is a clause without the place."""

    def __init__(self, path: Path, line: int, why: str) -> None:
        super().__init__(f"journal {path}, line {line}: {why}")
        self.path = path
        self.line = line
        self.why = why

    def __reduce__(self) -> tuple[type[BrokenJournal], tuple[Path, int, str]]:
        return BrokenJournal, (self.path, self.line, self.why)


def read_journal(path: Path) -> Journal | None:
    """Read and verify a journal, as ``parse_journal`` does. Raises ``UntrustedInput``, also where it is unreadable."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UntrustedInput(f"journal {path} cannot be read: {error.strerror}") from error
    return parse_journal(path, content)


def parse_journal(path: Path, content: bytes, timelines: dict[str, Timeline] | None = None) -> Journal | None:
    """Verify a journal's bytes; ``None`` where its process was killed before its first line was whole.

    With ``timelines``, by method, it shares one with all journals of its method that are read with them.

    A torn last line is dropped and noted in ``torn``. Anything else that does not hold raises ``BrokenJournal``: a
    broken chain, a line that is no canonical JSON, a field that is missing or of the wrong form.
    """
    *lines, rest = content.split(b"\n")
    journal: Journal | None = None
    for number, (line, text) in enumerate(_verified(path, lines), 1):
        try:
            if journal is None:
                journal = _begin(path, line, {} if timelines is None else timelines)
            else:
                _enter(journal, line)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BrokenJournal(
                path,
                number,
                f"this {text!r:.20} line has not the form of {JOURNAL_SCHEMA} ({error!r:.80}); was it written by "
                "another version of ftprof?",
            ) from error
        journal.head, journal.lines = line["hash"], number
    if journal is not None:
        journal.torn = bool(rest)
    return journal


def _verified(path: Path, lines: list[bytes]) -> Iterator[tuple[dict[str, Any], str]]:
    previous = FIRST_HASH
    for number, text in enumerate(lines, 1):
        try:
            written = text.decode("utf-8")
            line, end = _DECODER.raw_decode(written)
            if end < len(written):
                raise ValueError("more than one value")
        except (ValueError, RecursionError) as error:
            raise _broken(path, number, "it is no JSON") from error
        if not isinstance(line, dict) or not isinstance(line.get("kind"), str) or line["kind"] not in _KINDS:
            raise _broken(path, number, "it is no line of a journal")
        if line.get("previous") != previous:
            raise _broken(path, number, "it does not follow the line before it")
        if canonical(line) != text or not is_hash_of_line(text, line):
            raise _broken(path, number, "its content does not match its hash")
        previous = line["hash"]
        yield line, line["kind"]


def _broken(path: Path, number: int, why: str) -> BrokenJournal:
    return BrokenJournal(path, number, f"the chain is broken, {why}; the file was changed after it was written")


def _begin(path: Path, line: dict[str, Any], timelines: dict[str, Timeline]) -> Journal:
    if line["kind"] != "header" or line["schema"] != JOURNAL_SCHEMA:
        raise ValueError(f"the first line is no header of {JOURNAL_SCHEMA}")
    devices = _check_program(line)
    if line["role"] == "run":
        for word in parse_list(line["command"]):
            parse_text(word)
        parse_object(line["policy_inputs"])
        parse_text(line["software"]["ftprof"])
        if "launch" in line:
            Launch.from_json(line["launch"])
    timeline = timelines.setdefault(line["method"], Timeline())
    return Journal(path, line, last_us=line["time_us"], devices=devices, timeline=timeline)


def _check_program(line: dict[str, Any]) -> list[dict[str, Any]]:
    """What a ``header`` and a ``program`` line have in common; its devices."""
    for key in ("host", "boot", "run"):
        parse_text(line[key])
    for key in ("pid", "start_ticks", "parent_pid", "time_us"):
        parse_whole(line[key])
    if line["role"] not in ("process", "run") or line["method"] not in METHODS:
        raise ValueError("no role, or no method")
    if line["rank"] is not None:
        for number in parse_object(line["rank"]).values():
            parse_whole(number)
    for text in parse_object(line["software"]).values():
        if text is not None:
            parse_text(text)
    for name in parse_list(line["unwatched"]):
        parse_text(name)
    return _devices(line)


def _devices(line: dict[str, Any]) -> list[dict[str, Any]]:
    devices = [parse_object(device) for device in parse_list(line["devices"])]
    for device in devices:
        for name in ("device", "name"):
            parse_text(device[name])
    return devices


def _enter(journal: Journal, line: dict[str, Any]) -> None:
    kind = line["kind"]
    journal.end = None
    if kind == "window":
        journal.windows += 1
        journal.last_us = parse_whole(line["end_us"])
        journal.devices += _devices(line)
        _add_window(journal, line)
    elif kind == "problem":
        journal.problems.append(parse_text(line["what"]))
    elif kind == "program":
        _check_program(line)
        journal.programs.append(line)
        journal.earlier_contexts = len(journal.contexts)
    elif kind == "end":
        journal.end = line
        journal.last_us = parse_whole(line["time_us"])
        parse_text(line["reason"])
        if journal.header["role"] == "run":
            parse_whole(line["exit_code"])
            for name in parse_list(line.get("journals", [])):
                parse_text(name)
    elif kind == "header":
        raise ValueError("a second header")
    else:
        _counter_lines()[kind](journal, line)


@cache
def _counter_lines() -> Mapping[str, Callable[[Journal, dict[str, Any]], None]]:
    """They bring the estimates with them, for which a run that has none of them should not wait: 30 ms."""
    from ftprof.record.counter_lines import ENTER

    return ENTER


def cell_of(row: dict[str, Any]) -> Cell:
    """Where a row of counts belongs; without a phase it is the training itself. Raises ``ValueError``."""
    phase = row.get("phase", "train")
    if phase not in PHASES:
        raise ValueError(f"no phase: {phase!r:.40}")
    return Cell(parse_text(row["operator"]), parse_text(row["precision"]), parse_text(row["device"]), phase)


def _add_window(journal: Journal, line: dict[str, Any]) -> None:
    total = 0
    for row in parse_list(line["counts"]):
        cell = cell_of(row)
        calls, flops = journal.counts.get(cell, (0, 0))
        added = parse_count(row["flops"])
        journal.counts[cell] = (calls + parse_count(row["calls"]), flops + added)
        total += added
    journal.timeline.add(parse_whole(line["begin_us"]), line["end_us"], total)
    for row in parse_list(line["uncounted"]):
        family = None if row["family"] is None else parse_text(row["family"])
        work = UncountedWork(parse_text(row["kind"]), parse_text(row["name"]), family)
        journal.uncounted[work] = journal.uncounted.get(work, 0) + parse_count(row["calls"])
