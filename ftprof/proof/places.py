"""Where a file differs from what was signed, as exactly as what is at hand allows."""

from __future__ import annotations

import json
from typing import Any

from ftprof.proof.evidence import Evidence
from ftprof.proof.holding import DoesNotHold, Place, fields_by_line, first_changed_line
from ftprof.proof.remade import original_of
from ftprof.proof.subjects import Chain, Subject, sha256
from ftprof.record.canonical import digest
from ftprof.record.record import record_bytes


def place_in_record(evidence: Evidence, data: Any, signed: str | None) -> DoesNotHold:
    """Of a record whose bytes do not hold. ``data`` is its content, ``None`` where it is no JSON.

    Where the journals are at hand and give the record that was signed, the line and the field are exact. ``signed`` is
    its SHA-256; without it the record's own digest decides.
    """
    name, content = evidence.record_name, evidence.record
    what = "its bytes are not those that were signed" if signed is not None else "it was changed after it was written"

    def is_original(again: dict[str, Any], original: bytes) -> bool:
        if signed is not None:
            return sha256(original) == signed
        if not isinstance(data, dict):
            return False
        rest = {key: value for key, value in data.items() if key != "digest"}
        return again["digest"] in (data.get("digest"), digest(rest))

    found = None
    if evidence.journals is not None:
        found = original_of(data, evidence.folder, evidence.journals, is_original)
    if found is not None:
        line = first_changed_line(content, found[1])
        fields = list(fields_by_line(found[0]))
        field = fields[line - 1] if line <= len(fields) else ""
        return DoesNotHold(Place(name, line, field or None), what)
    if not isinstance(data, dict):
        return DoesNotHold(Place(name, _line_of_error(content)), "it is no JSON of a record; " + what)
    if record_bytes(data) != content:
        return DoesNotHold(Place(name, first_changed_line(content, record_bytes(data))), "it is not in its one form")
    if signed is None:
        what = "its content does not match its digest; " + what
    hint = "its journals, given with --journals, may tell which field" if evidence.journals is None else ""
    return DoesNotHold(Place(name), what + (f"; {hint}" if hint else ""))


def place_in_journal(name: str, chain: Chain | None, signed: Subject) -> DoesNotHold:
    """Of a run directory's file whose lines hold by themselves, but are not those that were signed."""
    if chain is None or signed.chain is None:
        return DoesNotHold(Place(name), "its bytes are not those that were signed")
    lines = signed.chain.lines
    if chain.lines < lines:
        return DoesNotHold(Place(name, chain.lines + 1), f"a line is not whole or is gone: {lines} were signed")
    if chain.lines > lines:
        return DoesNotHold(Place(name, lines + 1), f"a line more than the {lines} that were signed")
    if chain.head == signed.chain.head:
        return DoesNotHold(Place(name, lines + 1), "what follows the last whole line is not what was signed")
    return DoesNotHold(Place(name), "its chain holds and is another one than was signed")


def _line_of_error(content: bytes) -> int:
    try:
        json.loads(content)
    except UnicodeDecodeError as error:
        return content.count(b"\n", 0, error.start) + 1
    except json.JSONDecodeError as error:
        return error.lineno
    except (ValueError, RecursionError):
        pass
    return 1
