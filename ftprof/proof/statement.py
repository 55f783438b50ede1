"""The in-toto Statement (v1) about a record: its subjects, and what an auditor wants at a glance."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftprof.proof.holding import DoesNotHold, Place, first_difference
from ftprof.proof.subjects import JOURNALS, Chain, Subject, sha256
from ftprof.record.canonical import FIRST_HASH, canonical
from ftprof.record.journal import parse_journal
from ftprof.record.run_files import is_journal

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:ftprof:attestation:training-compute:1"
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z\Z", re.ASCII)


@dataclass(frozen=True)
class Statement:
    """``record`` is the first subject, then come the run directory's files, then the adapter's or checkpoint's."""

    record: Subject
    journals: tuple[Subject, ...]
    files: tuple[Subject, ...]
    predicate: dict[str, Any]

    def to_bytes(self) -> bytes:
        """The one form of an envelope's payload."""
        subjects = [self.record, *self.journals, *self.files]
        content = {
            "_type": STATEMENT_TYPE,
            "subject": [subject.to_json() for subject in subjects],
            "predicateType": PREDICATE_TYPE,
            "predicate": self.predicate,
        }
        return canonical(content)


def predicate_of(record: Mapping[str, Any], with_journals: bool, signed_at: str, signed_with: str) -> dict[str, Any]:
    """Of a record's content: only what stands in it, and by whom and when it was signed as the signer's clock has it.

    Raises ``KeyError`` or ``TypeError`` where the record has not its form.
    """
    return {
        "record": {"schema": record["schema"], "digest": record["digest"]},
        "flops": record["flops"],
        "low": record["low"],
        "high": record["high"],
        "byPrecision": record["by_precision"],
        "method": record["method"],
        "complete": record["complete"],
        "verdicts": [
            {
                "policy": verdict["policy"],
                "scenario": verdict["scenario"],
                "thresholdFlops": verdict["threshold_flops"],
                "verdict": verdict["verdict"],
            }
            for verdict in record["verdicts"]
        ],
        "chainHeads": [
            *(run["head"] for run in record["runs"]),
            *(process["journal"]["head"] for process in record["processes"]),
        ],
        "journalsAreSubjects": with_journals,
        "signedAt": signed_at,
        "signedWith": signed_with,
    }


def journal_subjects(files: Mapping[str, bytes], folder: Path) -> list[Subject]:
    """Of a run directory's files. Raises ``UntrustedInput`` where a journal does not verify."""
    subjects = []
    for name in sorted(files):
        content = files[name]
        chain = None
        if is_journal(name):
            journal = parse_journal(folder / name, content)
            chain = Chain(FIRST_HASH, 0) if journal is None else Chain(journal.head, journal.lines)
        subjects.append(Subject(JOURNALS + name, sha256(content), chain))
    return subjects


def read_statement(payload: bytes, envelope: str) -> Statement:
    """Read an envelope's payload. ``envelope`` is the name of its file.

    Raises ``DoesNotHold`` for anything but the strict form.
    """
    try:
        data = json.loads(payload)
        if canonical(data) != payload:
            raise ValueError("it is not written in its one form")
    except (ValueError, RecursionError) as error:
        what = "it is not canonical JSON (sorted keys, no spaces, ASCII)"
        raise DoesNotHold(Place(envelope, 1, "payload"), what) from error
    for key, expected in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if not isinstance(data, dict) or data.get(key) != expected:
            raise DoesNotHold(Place(envelope, 1, f"payload.{key}"), f"it is not {expected}")
    subjects = _subjects(data.get("subject"), envelope)
    predicate = data.get("predicate")
    if not isinstance(predicate, dict):
        raise DoesNotHold(Place(envelope, 1, "payload.predicate"), "it is no object")
    if not isinstance(predicate.get("signedAt"), str) or not _TIME.match(predicate["signedAt"]):
        raise DoesNotHold(
            Place(envelope, 1, "payload.predicate.signedAt"), "it is no time such as 2026-11-21T21:41:09Z"
        )
    if not isinstance(predicate.get("signedWith"), str):
        raise DoesNotHold(Place(envelope, 1, "payload.predicate.signedWith"), "it is no text")
    of_run = [subject for subject in subjects[1:] if subject.name.startswith(JOURNALS)]
    others = [subject for subject in subjects[1:] if not subject.name.startswith(JOURNALS)]
    statement = Statement(subjects[0], tuple(of_run), tuple(others), predicate)
    if statement.to_bytes() != payload:
        field = "payload"
        if difference := first_difference(data, json.loads(statement.to_bytes())):
            field = f"payload.{difference.field}"
        raise DoesNotHold(Place(envelope, 1, field), "it has not the form of a statement that ftprof writes")
    return statement


def _subjects(data: Any, envelope: str) -> list[Subject]:
    if not isinstance(data, list) or not data:
        raise DoesNotHold(Place(envelope, 1, "payload.subject"), "it is no list of subjects")
    subjects: list[Subject] = []
    names: set[str] = set()
    for number, one in enumerate(data):
        place = Place(envelope, 1, f"payload.subject[{number}]")
        try:
            subject = Subject.from_json(one)
        except (KeyError, ValueError, TypeError) as error:
            raise DoesNotHold(place, "it is not a name, its SHA-256 and for a journal its chain") from error
        if subject.name in names:
            raise DoesNotHold(place, f"{subject.name} is there twice")
        names.add(subject.name)
        if is_a_journals(subject) != (subject.chain is not None):
            raise DoesNotHold(place, "a journal has a chain, and nothing else has one")
        subjects.append(subject)
    return subjects


def is_a_journals(subject: Subject) -> bool:
    """Whether it is that of a journal, by its name."""
    return subject.name.startswith(JOURNALS) and is_journal(subject.name.removeprefix(JOURNALS))


def statement_of(
    name: str,
    record: bytes,
    data: Mapping[str, Any],
    journals: Sequence[Subject] | None,
    files: Sequence[Subject],
    signed_at: str,
    signed_with: str,
) -> Statement:
    """About a record's bytes and their content, its run directory's files where they are there, and other files."""
    predicate = predicate_of(data, journals is not None, signed_at, signed_with)
    return Statement(Subject(name, sha256(record)), tuple(journals or ()), tuple(files), predicate)
