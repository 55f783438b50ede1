"""``ftprof sign``: vouch for a record with a key."""

from __future__ import annotations

import json
import os
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftprof import __version__
from ftprof.cli.given_path import GivenPath
from ftprof.cli.output import printable, write_stdout
from ftprof.cli.policy_options import refuse_forgotten_value
from ftprof.errors import FtprofError, UntrustedInput, UsageProblem

if TYPE_CHECKING:
    from ftprof.proof.subjects import Subject


@click.command(name="sign")
@click.argument("record", required=False, type=GivenPath())
@click.option(
    "--key", metavar="FILE", callback=refuse_forgotten_value, help="The private key: Ed25519, in PEM (PKCS #8)."
)
@click.option(
    "--new-key", metavar="FILE", callback=refuse_forgotten_value, help="Make a key: FILE, and the public FILE.pub."
)
@click.option(
    "--journals", metavar="DIR", callback=refuse_forgotten_value, help="The record's run directory, signed too."
)
@click.option(
    "--subject",
    "subjects",
    metavar="FILE",
    multiple=True,
    callback=refuse_forgotten_value,
    help="The adapter's or checkpoint's file or folder, signed too; repeatable.",
)
@click.option(
    "-o", "--output", metavar="ENVELOPE", callback=refuse_forgotten_value,
    help="The envelope to write. Default: NAME.intoto.json beside the record NAME.json.",
)  # fmt: skip
def command(
    record: Path | None,
    key: str | None,
    new_key: str | None,
    journals: str | None,
    subjects: tuple[str, ...],
    output: str | None,
) -> int:
    """Sign RECORD: an in-toto statement in a DSSE envelope, by an Ed25519 key.

    What does not hold is not signed. Exit codes: 0 done, 1 a file cannot be read or trusted, 2 wrong usage.
    """
    if new_key is not None:
        if record is not None or key is not None or journals is not None or subjects or output is not None:
            raise UsageProblem("--new-key makes a key and signs nothing; sign with --key in a second command")
        return _make_key(Path(new_key))
    if record is None or key is None:
        raise UsageProblem("sign needs a RECORD and --key FILE; 'ftprof sign --new-key FILE' makes a key")
    return _sign(record, Path(key), None if journals is None else Path(journals), [Path(s) for s in subjects], output)


def _make_key(path: Path) -> int:
    from ftprof.proof.keys import make_key

    public, identity = make_key(path)
    write_stdout(
        printable(
            sys.stdout,
            f"private key  {path} (whoever has it can sign; keep it to yourself)\n"
            f"public key   {public} (give it to those who verify)\n"
            f"key id       {identity}",
        )
    )
    return 0


def _sign(record: Path, key: Path, folder: Path | None, paths: list[Path], output: str | None) -> int:
    from ftprof.proof.envelope import default_envelope, sign
    from ftprof.proof.evidence import Evidence
    from ftprof.proof.keys import load_private_key
    from ftprof.proof.statement import journal_subjects, statement_of
    from ftprof.proof.subjects import file_subjects
    from ftprof.proof.verification import verify
    from ftprof.record.record import load_record
    from ftprof.record.run_files import RunFiles

    where = default_envelope(record) if output is None else Path(output)
    if where.exists():
        raise UsageProblem(f"the envelope {where} exists; give another file with -o")
    signer = load_private_key(key)
    load_record(record)
    content = record.read_bytes()
    files = None if folder is None else RunFiles(folder)
    evidence = Evidence(record=content, record_name=str(record), journals=files, folder=folder or Path())
    found = verify(evidence)
    if not found.holds:
        raise UntrustedInput(f"not signed: {found.checks[-1].what}")
    journals = None if files is None or folder is None else journal_subjects(files, folder)
    others = file_subjects(paths)
    _refuse_clashes(record.name, others)
    now = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    statement = statement_of(record.name, content, json.loads(content), journals, others, now, f"ftprof {__version__}")
    _write(where, sign(statement.to_bytes(), signer).to_bytes())
    answer = _answer(record, folder, len(journals or ()), others, where, signer)
    write_stdout(printable(sys.stdout, f"{answer}\nnext      {_next_step(record, folder, paths, where, key)}"))
    return 0


def _refuse_clashes(record: str, others: list[Subject]) -> None:
    from ftprof.proof.subjects import JOURNALS

    for subject in others:
        if subject.name == record or subject.name.startswith(JOURNALS):
            raise UsageProblem(f"--subject: {subject.name} has the name of the record or of a journal; rename it")
        if not subject.name.isprintable():
            raise UsageProblem(f"--subject: the name {subject.name!a} cannot be shown; rename it")


def _write(where: Path, content: bytes) -> None:
    """The file is either whole or not there, and never another's."""
    beside = where.with_name(f".ftprof-{os.getpid()}")
    try:
        beside.write_bytes(content)
        os.link(beside, where)
    except OSError as error:
        raise FtprofError(f"the envelope {where} cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)


def _answer(
    record: Path, folder: Path | None, journals: int, others: list[Subject], where: Path, signer: object
) -> str:
    key_id = signer.public_key.keyid  # type: ignore[attr-defined]
    if folder is not None:
        kept = f"{journals} files of {folder}"
    else:
        kept = "none: the record stands alone, and names the last hash of each of its journals"
        beside = record.with_name(f"{record.name.removesuffix('.json')}.run")
        if beside.is_dir():
            kept += f"; --journals {beside} would sign them too"
    lines = [f"signed    {record}", f"journals  {kept}", f"files     {', '.join(s.name for s in others[:3]) or 'none'}"]
    if len(others) > 3:
        lines[-1] += f" and {len(others) - 3} more"
    return "\n".join([*lines, f"key id    {key_id}", f"envelope  {where}"])


def _next_step(record: Path, folder: Path | None, paths: list[Path], where: Path, key: Path) -> str:
    """The command that verifies all that was signed."""
    from ftprof.proof.envelope import default_envelope

    words = ["ftprof", "verify", str(record)]
    words += [] if where == default_envelope(record) else ["--envelope", str(where)]
    words += [] if folder is None else ["--journals", str(folder)]
    words += [word for path in paths for word in ("--subject", str(path))]
    public = Path(f"{key}.pub")  # as --new-key names it
    return shlex.join([*words, "--public-key", str(public) if public.is_file() else "FILE.pub"])
