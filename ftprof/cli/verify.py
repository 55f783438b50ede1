"""``ftprof verify``: whether a record holds, and if not where."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftprof.cli.given_path import GivenPath
from ftprof.cli.output import printable, write_stdout
from ftprof.cli.policy_options import refuse_forgotten_value
from ftprof.errors import UntrustedInput

if TYPE_CHECKING:
    from ftprof.proof.evidence import GivenFile
    from ftprof.proof.verification import Verification


@click.command(name="verify")
@click.argument("record", type=GivenPath())
@click.option(
    "--envelope", metavar="FILE", callback=refuse_forgotten_value,
    help="What 'ftprof sign' wrote. Default: NAME.intoto.json beside the record NAME.json, if it is there.",
)  # fmt: skip
@click.option("--journals", metavar="DIR", callback=refuse_forgotten_value, help="The record's run directory.")
@click.option("--public-key", metavar="FILE", callback=refuse_forgotten_value, help="The public key of whoever signed.")
@click.option(
    "--subject",
    "subjects",
    metavar="FILE",
    multiple=True,
    callback=refuse_forgotten_value,
    help="The adapter's or checkpoint's file or folder; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
def command(
    record: Path,
    envelope: str | None,
    journals: str | None,
    public_key: str | None,
    subjects: tuple[str, ...],
    as_json: bool,
) -> int:
    """Check RECORD and all that it rests on, and name the first thing that does not hold, with its place.

    What was not checked is named too. Exit codes: 0 all that was checked holds, 1 something does not or cannot be read,
    2 wrong usage.
    """
    from ftprof.proof.envelope import default_envelope
    from ftprof.proof.evidence import Evidence
    from ftprof.proof.keys import load_public_key
    from ftprof.proof.verification import verify
    from ftprof.record.run_files import RunFiles

    where = Path(envelope) if envelope is not None else default_envelope(record)
    is_there = envelope is not None or where.exists()
    if public_key is not None and not is_there:
        raise UntrustedInput(
            f"there is no envelope {where}, so nothing that the key could have signed; give --envelope"
        )
    evidence = Evidence(
        record=_read(record, "record"),
        record_name=str(record),
        envelope=_read(where, "envelope") if is_there else None,
        envelope_name=str(where),
        public_key=None if public_key is None else load_public_key(Path(public_key)),
        journals=None if journals is None else RunFiles(Path(journals)),
        folder=Path(journals or ""),
        files=tuple(_given(Path(subject)) for subject in subjects),
    )
    found = verify(evidence)
    if as_json:
        write_stdout(json.dumps(found.to_json(str(record)), indent=1))
    else:
        write_stdout(printable(sys.stdout, _text(record, found)))
    return 0 if found.holds else 1


def _given(path: Path) -> GivenFile:
    from ftprof.proof.evidence import GivenFile
    from ftprof.proof.subjects import file_subjects, folder_names

    return GivenFile(folder_names(path), tuple(file_subjects([path])))


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UntrustedInput(f"{what} {path} cannot be read: {error.strerror}") from error


def _text(record: Path, found: Verification) -> str:
    from ftprof.proof.holding import NOT_CHECKED

    if not found.holds:
        verdict = "does not hold"
    elif any(check.result == NOT_CHECKED for check in found.checks):
        verdict = "holds as far as it was checked"
    else:
        verdict = "holds"
    width = max(len(check.name) for check in found.checks)
    rows = [f"  {check.name:<{width}}  {check.result}: {check.what}" for check in found.checks]
    return "\n".join([f"{record} {verdict}", *rows])
