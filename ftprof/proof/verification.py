"""Checks a record and all that it rests on, in order, and names the first thing that does not hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ftprof import __version__
from ftprof.errors import FtprofError
from ftprof.policy.judged import judged
from ftprof.proof.envelope import Envelope, check_signature, open_envelope
from ftprof.proof.evidence import Evidence, GivenFile
from ftprof.proof.holding import FAILS, HOLDS, NOT_CHECKED, Check, DoesNotHold, Place, first_difference
from ftprof.proof.places import place_in_journal, place_in_record
from ftprof.proof.remade import NOT_OF_JOURNALS, parsed_inputs, remade_record, verdicts_of
from ftprof.proof.statement import Statement, predicate_of, read_statement
from ftprof.proof.subjects import JOURNALS, Chain, Subject, sha256
from ftprof.record.canonical import FIRST_HASH, digest
from ftprof.record.journal import BrokenJournal, parse_journal
from ftprof.record.record import Record, record_bytes
from ftprof.record.run_files import is_journal

SCHEMA = "ftprof.verify/1"


@dataclass(frozen=True)
class Verification:
    """Every check in order, up to the first that failed. ``place`` is where it did."""

    checks: tuple[Check, ...]
    place: Place | None
    key_id: str | None

    @property
    def holds(self) -> bool:
        """Whether nothing failed; what was not checked is named in ``checks``."""
        return self.place is None

    def to_json(self, record: str) -> dict[str, Any]:
        """As ``ftprof verify --json`` gives it."""
        place = self.place
        return {
            "schema": SCHEMA,
            "record": record,
            "holds": self.holds,
            "key_id": self.key_id,
            "place": None if place is None else {"file": place.file, "line": place.line, "field": place.field},
            "checks": [check.to_json() for check in self.checks],
        }


def verify(evidence: Evidence) -> Verification:
    """Check all that is at hand. Raises ``FtprofError`` only where a file cannot be read at all."""
    work = _Work(evidence)
    steps: dict[str, Callable[[], list[Check]]] = {
        "envelope": work.envelope,
        "signature": work.signature,
        "record": work.record,
        "journals": work.journals,
        "sums": work.sums,
        "remade": work.remade,
        "verdicts": work.verdicts,
        "files": work.files,
    }
    checks: list[Check] = []
    for name, step in steps.items():
        found, place = _outcome(name, step)
        checks += found
        if place is not None:
            return Verification(tuple(checks), place, work.key_id)
    return Verification(tuple(checks), None, work.key_id)


def _outcome(name: str, step: Callable[[], list[Check]]) -> tuple[list[Check], Place | None]:
    try:
        return step(), None
    except DoesNotHold as error:
        return [Check(name, FAILS, str(error))], error.place


class _Work:
    """What was found so far."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._envelope: Envelope | None = None
        self._statement: Statement | None = None
        self._data: dict[str, Any] = {}
        self._loaded: Record | None = None
        self.key_id: str | None = None

    def envelope(self) -> list[Check]:
        evidence = self._evidence
        if evidence.envelope is None:
            return [Check("envelope", NOT_CHECKED, "no envelope was given: nobody vouches for this record")]
        self._envelope = open_envelope(evidence.envelope, evidence.envelope_name)
        self._statement = read_statement(self._envelope.payload, evidence.envelope_name)
        signed_at = self._statement.predicate["signedAt"]
        return [Check("envelope", HOLDS, f"{evidence.envelope_name}, in its one form, made at {signed_at}")]

    def signature(self) -> list[Check]:
        if self._envelope is None:
            return []
        if self._evidence.public_key is None:
            what = f"no public key was given: anybody can have signed in the name of key {self._envelope.key_id}"
            return [Check("signature", NOT_CHECKED, what)]
        check_signature(self._envelope, self._evidence.public_key, self._evidence.envelope_name)
        self.key_id = self._envelope.key_id
        return [Check("signature", HOLDS, f"key {self.key_id} signed it")]

    def record(self) -> list[Check]:
        """Its bytes: those that were signed, in their one form, with their digest."""
        evidence, statement = self._evidence, self._statement
        signed = None if statement is None else statement.record.sha256
        data = _read(evidence.record)
        whole = data is not None and record_bytes(data) == evidence.record and digest(data) == data.get("digest")
        if data is None or not whole or (signed is not None and signed != sha256(evidence.record)):
            raise place_in_record(evidence, data, signed)
        self._data = data
        if statement is None:
            return [Check("record", HOLDS, "it is in its one form, and its digest fits")]
        predicate = self._predicate(data, statement)
        if difference := first_difference(statement.predicate, predicate):
            place = Place(evidence.envelope_name, 1, f"payload.predicate.{difference.field}")
            raise DoesNotHold(place, f"it is not the record's: {difference.values}")
        return [Check("record", HOLDS, f"its bytes are those of the envelope (sha256 {signed})")]

    def _predicate(self, data: dict[str, Any], statement: Statement) -> dict[str, Any]:
        signed = statement.predicate
        try:
            return predicate_of(data, bool(statement.journals), signed["signedAt"], signed["signedWith"])
        except (KeyError, TypeError) as error:
            place = Place(self._evidence.record_name)
            raise DoesNotHold(place, f"it has not the form of a record ({error!r:.80})") from error

    def journals(self) -> list[Check]:
        """Each file is the one that was signed, and each chain holds."""
        evidence, statement = self._evidence, self._statement
        if evidence.journals is None:
            what = "no journals were given: that the record's figures come from its journals is not proven"
            return [Check("journals", NOT_CHECKED, what)]
        signed = None
        if statement is not None and statement.journals:
            signed = {subject.name.removeprefix(JOURNALS): subject for subject in statement.journals}
            self._refuse_other_names(set(signed), set(evidence.journals))
        chains = lines = torn = 0
        for name in sorted(evidence.journals):
            content = evidence.journals[name]
            found = self._check_file(name, content, None if signed is None else signed[name])
            if found is not None:
                chains, lines, torn = chains + 1, lines + found.lines, torn + (not content.endswith(b"\n"))
        checks = [Check("journals", HOLDS, f"{chains} chains of {lines} lines in {evidence.folder}")]
        if statement is not None and signed is None:
            what = "the envelope names no journals' files: they were not at hand at signing"
            checks.append(Check("journals' files", NOT_CHECKED, what))
        elif signed is None and torn:
            what = f"the torn last lines of {torn} journals are in no chain, and were left out of the record"
            checks.append(Check("torn lines", NOT_CHECKED, what))
        return checks

    def _refuse_other_names(self, signed: set[str], found: set[str]) -> None:
        for name in sorted(signed ^ found):
            place = Place(str(self._evidence.folder / name))
            raise DoesNotHold(place, "it was signed, and is not there" if name in signed else "it was not signed")

    def _check_file(self, name: str, content: bytes, signed: Subject | None) -> Chain | None:
        where = self._evidence.folder / name
        chain = None
        if is_journal(name):
            try:
                journal = parse_journal(where, content)
            except BrokenJournal as error:
                raise DoesNotHold(Place(str(where), error.line), error.why) from error
            chain = Chain(FIRST_HASH, 0) if journal is None else Chain(journal.head, journal.lines)
        if signed is not None and (sha256(content) != signed.sha256 or chain != signed.chain):
            raise place_in_journal(str(where), chain, signed)
        return chain

    def sums(self) -> list[Check]:
        """The record's form, and every sum in it."""
        place = Place(self._evidence.record_name)
        try:
            self._loaded = Record.from_json(self._data)
        except KeyError as error:
            raise DoesNotHold(Place(place.file, None, str(error.args[0])), "it is missing") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise DoesNotHold(place, f"{error!s:.200}") from error
        again = record_bytes(self._loaded.to_json())
        found, expected = (_without(("digest",), content) for content in (self._data, json.loads(again)))
        if difference := first_difference(found, expected):
            place = Place(place.file, None, difference.field)
            raise DoesNotHold(place, f"it is not what the rest of the record gives: {difference.values}")
        if again != self._evidence.record:
            raise DoesNotHold(place, "its fields are not in their order")
        checks = [Check("sums", HOLDS, "every sum in the record is that of its parts")]
        if self._evidence.journals is None and self._loaded.method != "analytic":
            what = "the ends of its interval: only the journals give them"
            checks.append(Check("interval", NOT_CHECKED, what))
        return checks

    def remade(self) -> list[Check]:
        """The record made anew from the journals, field by field."""
        evidence = self._evidence
        if evidence.journals is None:
            return []
        until = self._data["until_us"]
        try:
            again = remade_record(evidence.folder, evidence.journals, until)
            own = parsed_inputs(again.policy_inputs)
        except FtprofError as error:
            raise DoesNotHold(Place(str(evidence.folder)), error.message) from error
        if {run["run"] for run in self._data["runs"]}.isdisjoint(run.run for run in again.runs):
            raise DoesNotHold(Place(str(evidence.folder)), "these are the journals of another run")
        found, expected = (
            _without(NOT_OF_JOURNALS, content) for content in (self._data, json.loads(json.dumps(again.to_json())))
        )
        if difference := first_difference(found, expected):
            place = Place(evidence.record_name, None, difference.field)
            raise DoesNotHold(place, f"the journals give another figure: {difference.values}{self._version_hint()}")
        checks = [
            Check("remade", HOLDS, f"the journals give the same record, in all {len(found)} fields that they give")
        ]
        if until is not None:
            what = "until_us, which bounds what killed processes did, is the clock of the machine that made the record"
            checks.append(Check("the run's end", NOT_CHECKED, what))
        if self._data["policy_inputs"] not in (own.to_json(), again.policy_inputs):
            what = "policy_inputs are not those of the run: they were stated later, with ftprof merge"
            checks.append(Check("policy inputs", NOT_CHECKED, what))
        return checks

    def _version_hint(self) -> str:
        made_by = {run.get("ftprof") for run in self._data["runs"]} - {__version__}
        others = ", ".join(sorted(str(version) for version in made_by))
        return f" (made by ftprof {others}, verified by {__version__})" if others else ""

    def verdicts(self) -> list[Check]:
        """Made anew from the record's own inputs."""
        assert self._loaded is not None
        if not self._data["verdicts"] and self._data["guidelines_basis"] is None:
            return [Check("verdicts", NOT_CHECKED, "the record has none; ftprof check RECORD gives them")]
        name = self._evidence.record_name
        try:
            inputs = parsed_inputs(self._data["policy_inputs"])
        except FtprofError as error:
            raise DoesNotHold(Place(name, None, "policy_inputs"), error.message) from error
        basis = judged(self._loaded, inputs, ())[0].guidelines
        if difference := first_difference(self._data["guidelines_basis"], basis, "guidelines_basis"):
            place = Place(name, None, difference.field)
            raise DoesNotHold(place, f"the claims give another one: {difference.values}{self._version_hint()}")
        for number, verdict in enumerate(self._data["verdicts"]):
            place = Place(name, None, f"verdicts[{number}]")
            try:
                (again,) = verdicts_of(self._loaded, inputs, [verdict["policy"]])
            except (FtprofError, KeyError) as error:
                raise DoesNotHold(place, f"its policy is not known: {error}") from error
            if difference := first_difference(verdict, again, place.field or ""):
                place = Place(name, None, difference.field)
                raise DoesNotHold(place, f"the policy gives another one: {difference.values}{self._version_hint()}")
        if not self._data["verdicts"]:
            return [Check("verdicts", NOT_CHECKED, "the record has none, but for a guidelines-basis figure that holds")]
        said = ", ".join(f"{verdict['policy']} {verdict['verdict']}" for verdict in self._data["verdicts"])
        return [Check("verdicts", HOLDS, f"the record's figures and policy inputs give them: {said}")]

    def files(self) -> list[Check]:
        """The adapter's or checkpoint's files."""
        statement, given = self._statement, self._evidence.files
        if statement is None:
            return [Check("files", NOT_CHECKED, "no envelope names them")] if given else []
        signed = {subject.name: subject for subject in statement.files}
        seen: set[str] = set()
        for one in given:
            seen |= _match(one, signed)
        left = [name for name in signed if name not in seen]
        checks = [Check("files", HOLDS, f"{len(seen)} are those that were signed")] if given else []
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            what = f"signed and not given with --subject: {', '.join(left[:3])}{more}"
            checks.append(Check("files", NOT_CHECKED, what))
        return checks


def _match(given: GivenFile, signed: dict[str, Subject]) -> set[str]:
    """The names of the signed files that were given. A file may have another name now; a folder's files may not."""
    names = {subject.name for subject in given.subjects}
    if given.prefix is not None:
        for name in sorted(signed):
            if name.startswith(given.prefix) and name not in names:
                raise DoesNotHold(Place(name), "it was signed, and is not there")
    seen = set()
    for subject in given.subjects:
        same = [name for name, other in signed.items() if other.sha256 == subject.sha256]
        if subject.name in signed:
            if signed[subject.name].sha256 != subject.sha256:
                raise DoesNotHold(Place(subject.name), "its bytes are not those that were signed")
            seen.add(subject.name)
        elif same and given.prefix is None:
            seen.add(same[0])
        else:
            raise DoesNotHold(Place(subject.name), "it was not signed")
    return seen


def _without(keys: Sequence[str], content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


def _read(content: bytes) -> dict[str, Any] | None:
    """The content of a record, or ``None`` where it is no JSON object."""
    try:
        data = json.loads(content)
        record_bytes(data)  # what is nested too deeply cannot be written
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
