"""The record: a run's result, as exact integers with their interval, method, devices, software and policy inputs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ftprof.errors import UntrustedInput
from ftprof.record.canonical import FIRST_HASH, digest, indented
from ftprof.record.comparison import comparisons
from ftprof.record.device_use import DeviceUse
from ftprof.record.estimate_rows import FLOATING, EstimateRow, PrecisionRow
from ftprof.record.fields import parse_count, parse_list, parse_object, parse_optional_whole, parse_text, parse_whole
from ftprof.record.interval import Interval
from ftprof.record.journal import Cell, ProcessIdentity, UncountedWork, cell_of
from ftprof.record.launch import Launch
from ftprof.record.timeline import Timeline

RECORD_SCHEMA = "ftprof.record/1"
COUNTER_METHODS = ("counters", "sampled")
METHODS = ("counters", "sampled", "gpm", "analytic", "peak-bound", "given")


@dataclass(frozen=True)
class ProcessRecord:
    """One process of a run. Times are in microseconds since the epoch, ``flops`` in operations."""

    identity: ProcessIdentity
    method: str
    flops: int
    windows: int
    began_us: int
    last_us: int
    end: str | None
    rank: dict[str, int] | None
    software: dict[str, Any]
    devices: tuple[dict[str, Any], ...]
    journal: str
    journal_lines: int
    journal_head: str

    def counts_in(self, method: str) -> bool:
        """Whether its operations are in a total of this method: not beside what counts whole devices."""
        return self.method == method or {self.method, method} <= {*COUNTER_METHODS}

    def to_json(self) -> dict[str, Any]:
        """As the record's schema has it."""
        return {
            "host": self.identity.host,
            "boot": self.identity.boot,
            "pid": self.identity.pid,
            "start_ticks": self.identity.start_ticks,
            "method": self.method,
            "flops": str(self.flops),
            "windows": self.windows,
            "began_us": self.began_us,
            "last_us": self.last_us,
            "end": self.end,
            "rank": self.rank,
            "software": self.software,
            "devices": list(self.devices),
            "journal": {"name": self.journal, "lines": self.journal_lines, "head": self.journal_head},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ProcessRecord:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form is not the schema's."""
        journal = data["journal"]
        return cls(
            identity=_identity(data),
            method=_one_of(METHODS, data["method"]),
            flops=parse_count(data["flops"]),
            windows=parse_whole(data["windows"]),
            began_us=parse_whole(data["began_us"]),
            last_us=parse_whole(data["last_us"]),
            end=None if data["end"] is None else parse_text(data["end"]),
            rank=None
            if data["rank"] is None
            else {parse_text(key): parse_whole(value) for key, value in parse_object(data["rank"]).items()},
            software=dict(data["software"]),
            devices=tuple(_device(device) for device in parse_list(data["devices"])),
            journal=parse_text(journal["name"]),
            journal_lines=parse_whole(journal["lines"]),
            journal_head=parse_text(journal["head"]),
        )


@dataclass(frozen=True)
class RunInfo:
    """One ``ftprof wrap``: what it ran, when, and how that ended. Times in microseconds since the epoch.

    ``launch`` is what a launcher said of it, where one did.
    """

    run: str
    command: tuple[str, ...]
    host: str
    began_us: int
    ended_us: int | None
    exit_code: int | None
    ftprof: str
    head: str = FIRST_HASH
    launch: Launch | None = None

    def to_json(self) -> dict[str, Any]:
        """As the record's schema has it."""
        return {
            "run": self.run,
            "command": list(self.command),
            "host": self.host,
            "began_us": self.began_us,
            "ended_us": self.ended_us,
            "exit_code": self.exit_code,
            "ftprof": self.ftprof,
            "head": self.head,
            **({} if self.launch is None else {"launch": self.launch.to_json()}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunInfo:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form is not the schema's."""
        return cls(
            run=parse_text(data["run"]),
            command=tuple(parse_text(word) for word in parse_list(data["command"])),
            host=parse_text(data["host"]),
            began_us=parse_whole(data["began_us"]),
            ended_us=None if data["ended_us"] is None else parse_whole(data["ended_us"]),
            exit_code=parse_optional_whole(data["exit_code"]),
            ftprof=parse_text(data["ftprof"]),
            head=parse_text(data["head"]),
            launch=Launch.from_json(data["launch"]) if "launch" in data else None,
        )


@dataclass(frozen=True)
class Record:
    """A run's result. ``counts`` are (calls, operations); ``uncounted`` are calls.

    ``until_us`` (microseconds since the epoch) is set where nobody saw the run's end and the time until this record was
    made bounds it: with it the same record can be made again.
    """

    method: str
    interval: Interval
    complete: bool
    reasons: tuple[str, ...]
    runs: tuple[RunInfo, ...]
    processes: tuple[ProcessRecord, ...]
    counts: dict[Cell, tuple[int, int]]
    uncounted: dict[UncountedWork, int]
    unwatched: tuple[str, ...] = ()
    policy_inputs: dict[str, Any] = field(default_factory=dict)
    verdicts: tuple[dict[str, Any], ...] = ()
    estimates: tuple[EstimateRow, ...] = ()  # of counters: each metric on each context
    precisions: tuple[PrecisionRow, ...] = ()  # of counters: their sums
    cross_checks: tuple[dict[str, Any], ...] = ()  # what other methods say of the same run
    devices: tuple[DeviceUse, ...] = ()  # the GPUs that the run used, as NVML saw it
    timeline: Timeline = field(default_factory=Timeline)  # of counters: what windows measured
    guidelines: dict[str, Any] | None = None  # the guidelines-basis figure and its parts
    until_us: int | None = None

    @property
    def starts(self) -> frozenset[Any]:
        """The starts of a command that it holds parts of: as their launcher tells them apart, else each run alone."""
        launches = ((run, run.launch) for run in self.runs)
        return frozenset(
            launch.start if launch is not None and launch.id is not None else run.run for run, launch in launches
        )

    @property
    def by_precision(self) -> dict[str, int]:
        """Operations by precision, the largest first."""
        return _sums((cell.precision, flops) for cell, (_, flops) in self.counts.items())

    @property
    def by_operator(self) -> dict[str, int]:
        """Operations by operator, the largest first."""
        return _sums((cell.operator, flops) for cell, (_, flops) in self.counts.items())

    @property
    def by_phase(self) -> dict[str, int]:
        """Operations by phase of the training, the largest first; counters cannot tell phases apart."""
        return _sums((cell.phase, flops) for cell, (_, flops) in self.counts.items())

    @property
    def by_device(self) -> dict[str, int]:
        """Operations by device, the largest first."""
        return _sums((cell.device, flops) for cell, (_, flops) in self.counts.items())

    def judged(
        self, policy_inputs: dict[str, Any], verdicts: tuple[dict[str, Any], ...], guidelines: dict[str, Any]
    ) -> Record:
        """The same record with the policies' inputs and verdicts, and the guidelines-basis figure."""
        return replace(self, policy_inputs=policy_inputs, verdicts=verdicts, guidelines=guidelines)

    def to_json(self) -> dict[str, Any]:
        """As ``schemas/record-1.json`` has it: every count a decimal string."""
        content = self._content()
        return {**content, "digest": digest(content)}

    def _content(self) -> dict[str, Any]:
        return {
            "schema": RECORD_SCHEMA,
            "method": self.method,
            "flops": _optional(self.interval.value),
            "low": str(self.interval.low),
            "high": _optional(self.interval.high),
            "complete": self.complete,
            "reasons": list(self.reasons),
            "until_us": self.until_us,
            "by_precision": {name: str(flops) for name, flops in self.by_precision.items()},
            "by_phase": {name: str(flops) for name, flops in self.by_phase.items()},
            "counts": [
                {
                    "operator": cell.operator,
                    "precision": cell.precision,
                    "device": cell.device,
                    "phase": cell.phase,
                    "calls": str(calls),
                    "flops": str(flops),
                }
                for cell, (calls, flops) in sorted(self.counts.items())
            ],
            "not_counted": [
                {"kind": work.kind, "name": work.name, "family": work.family, "calls": str(calls)}
                for work, calls in sorted(self.uncounted.items(), key=lambda item: (item[0].kind, item[0].name))
            ],
            "not_watched": list(self.unwatched),
            "precisions": [row.to_json() for row in self.precisions],
            "estimates": [row.to_json() for row in self.estimates],
            "cross_checks": list(self.cross_checks),
            "comparisons": list(comparisons(self.interval, self.cross_checks)),
            "devices": [use.to_json() for use in self.devices],
            "timeline": self.timeline.to_json(),
            "runs": [run.to_json() for run in self.runs],
            "processes": [process.to_json() for process in self.processes],
            "policy_inputs": self.policy_inputs,
            "guidelines_basis": self.guidelines,
            "verdicts": list(self.verdicts),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form or a sum does not hold."""
        if data["schema"] != RECORD_SCHEMA:
            raise ValueError(f"its schema is {data['schema']!r:.40}, not {RECORD_SCHEMA}")
        if digest(data) != data["digest"]:
            raise ValueError("its content does not match its digest; it was changed after it was written")
        if type(data["complete"]) is not bool:
            raise TypeError("complete is neither true nor false")
        record = cls(
            method=_one_of(METHODS, data["method"]),
            interval=Interval(
                parse_count(data["low"]),
                None if data["flops"] is None else parse_count(data["flops"]),
                None if data["high"] is None else parse_count(data["high"]),
            ),
            complete=data["complete"],
            reasons=tuple(parse_text(reason) for reason in parse_list(data["reasons"])),
            runs=tuple(RunInfo.from_json(run) for run in data["runs"]),
            processes=tuple(ProcessRecord.from_json(process) for process in data["processes"]),
            counts={cell_of(row): (parse_count(row["calls"]), parse_count(row["flops"])) for row in data["counts"]},
            uncounted={_work(row): parse_count(row["calls"]) for row in data["not_counted"]},
            unwatched=tuple(parse_text(name) for name in parse_list(data["not_watched"])),
            policy_inputs=dict(data["policy_inputs"]),
            verdicts=tuple(dict(verdict) for verdict in data["verdicts"]),
            estimates=tuple(EstimateRow.from_json(row) for row in data["estimates"]),
            precisions=tuple(PrecisionRow.from_json(row) for row in data["precisions"]),
            cross_checks=tuple(_cross_check(check) for check in parse_list(data["cross_checks"])),
            devices=tuple(DeviceUse.from_json(use) for use in parse_list(data["devices"])),
            timeline=Timeline.from_json(data["timeline"]),
            guidelines=None if data["guidelines_basis"] is None else parse_object(data["guidelines_basis"]),
            until_us=parse_optional_whole(data["until_us"]),
        )
        record.check_sums(data["by_precision"], data["by_phase"])
        if list(comparisons(record.interval, record.cross_checks)) != data["comparisons"]:
            raise ValueError("comparisons are not what the cross-checks give")
        return record

    def check_sums(self, by_precision: dict[str, Any], by_phase: dict[str, Any]) -> None:
        """Every figure that can be computed from others must be what they give; else ``ValueError``."""
        total = sum(flops for _, flops in self.counts.values())
        if sum(process.flops for process in self.processes if process.counts_in(self.method)) != total:
            raise ValueError("the processes' operations are not the sum of the counts")
        if {name: str(flops) for name, flops in self.by_precision.items()} != by_precision:
            raise ValueError("by_precision is not the sum of the counts")
        if {name: str(flops) for name, flops in self.by_phase.items()} != by_phase:
            raise ValueError("by_phase is not the sum of the counts")
        if self.method in COUNTER_METHODS:
            self._check_estimates(total)
        elif self.method == "analytic":
            self._check_analytic(total)

    def _check_estimates(self, total: int) -> None:
        if sum(row.flops for row in self.estimates if row.kind in FLOATING) != total:
            raise ValueError("the counts are not the sum of the estimates")
        if sum(row.flops for row in self.precisions if row.kind in FLOATING) != total:
            raise ValueError("the precisions are not the sum of the counts")
        low, value, high = self.interval.low, self.interval.value, self.interval.high
        if (value or 0) != total or low > total or (high is not None and high < total):
            raise ValueError("flops, low and high do not hold the sum of the counts")

    def _check_analytic(self, total: int) -> None:
        if self.timeline.flops != total:
            raise ValueError("the timeline does not hold the sum of the counts")
        if (self.interval.value or 0) != total or self.interval.low != total:
            raise ValueError("flops or low is not the sum of the counts")
        if self.interval.high is not None:
            if self.interval.high != total:
                raise ValueError("high is not the sum of the counts")
            if not self.complete or any(work.family for work in self.uncounted):
                raise ValueError("high is given although work went uncounted that nothing bounds")


def load_record(path: Path) -> Record:
    """Read a record and check its sums. Raises ``UntrustedInput``."""
    try:
        if path.is_char_device() or path.is_block_device():
            raise UntrustedInput(f"record {path} is a device; name the file that 'ftprof wrap' wrote")
        data = json.loads(path.read_bytes())
    except OSError as error:
        hint = f"; 'ftprof merge {path} -o RECORD' makes a record of a run directory" if path.is_dir() else ""
        raise UntrustedInput(f"record {path} cannot be read: {error.strerror}{hint}") from error
    except (ValueError, RecursionError) as error:
        raise UntrustedInput(f"record {path} is no JSON; is it a record that 'ftprof wrap' wrote?") from error
    return record_of(data, f"record {path}")


def record_of(data: Any, name: str) -> Record:
    """A record of its JSON, its sums checked. ``name`` is for errors. Raises ``UntrustedInput``."""
    if not isinstance(data, dict):
        raise UntrustedInput(f"{name} is no JSON object; is it a record that 'ftprof wrap' wrote?")
    try:
        return Record.from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise UntrustedInput(f"{name} cannot be trusted: {what:.200}") from error


def record_bytes(content: dict[str, Any]) -> bytes:
    """The one form in which a record's file has its content."""
    return indented(content).encode("ascii") + b"\n"


def save_record(record: Record, path: Path, overwrite: bool) -> None:
    """Write a record so that the file is either whole or not there.

    Raises ``OSError``, and of these ``FileExistsError`` where the file is there and may not be overwritten.
    """
    content = record_bytes(record.to_json())
    target = Path(os.path.realpath(path)) if overwrite else path  # through a link, to the file that it names
    # Random: processes of one id, on several nodes, may write into one shared folder.
    beside = target.with_name(f".ftprof-{os.getpid()}-{os.urandom(8).hex()}")
    try:
        beside.write_bytes(content)
        if overwrite:
            beside.replace(target)
        else:
            os.link(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def _sums(pairs: Any) -> dict[str, int]:
    sums: dict[str, int] = {}
    for name, flops in pairs:
        sums[name] = sums.get(name, 0) + flops
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def _optional(number: int | None) -> str | None:
    return None if number is None else str(number)


def _one_of(allowed: tuple[str, ...], value: Any) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r:.40} is none of {', '.join(allowed)}")
    return str(value)


def _cross_check(data: Any) -> dict[str, Any]:
    check = parse_object(data)
    _one_of(METHODS, check["method"])
    if check["device"] is not None:
        parse_text(parse_object(check["device"])["name"])
    value, high = (None if check[end] is None else parse_count(check[end]) for end in ("flops", "high"))
    Interval(parse_count(check["low"]), value, high)
    processes = [parse_object(row) for row in parse_list(check.get("by_process", []))]
    for row in processes:
        _identity(row)
        if not isinstance(row.get("on_cpu", False), bool):
            raise ValueError("on_cpu is no truth value")
        if "meanwhile" in row:
            Interval(*(parse_count(row["meanwhile"][name]) for name in ("low", "flops", "high")))
    for phases in (check.get("by_phase", {}), *(row["by_phase"] for row in processes)):
        for flops in parse_object(phases).values():
            parse_count(flops)
    return check


def _identity(row: dict[str, Any]) -> ProcessIdentity:
    return ProcessIdentity(
        parse_text(row["host"]), parse_text(row["boot"]), parse_whole(row["pid"]), parse_whole(row["start_ticks"])
    )


def _device(data: Any) -> dict[str, Any]:
    device = parse_object(data)
    parse_text(device["device"])
    for name in ("name", "uuid"):
        if device.get(name) is not None:
            parse_text(device[name])
    return dict(device)


def _work(row: dict[str, Any]) -> UncountedWork:
    family = row["family"]
    return UncountedWork(
        parse_text(row["kind"]), parse_text(row["name"]), None if family is None else parse_text(family)
    )
