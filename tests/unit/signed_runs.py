"""A small signed run, all of it as bytes: what the tests of proofs change and verify."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from test_counters_journal import ROLLED_UP, WHOLE, counters_journal, run_journal
from test_journal import window
from test_merge import journal

from ftprof.proof.envelope import sign
from ftprof.proof.evidence import Evidence
from ftprof.proof.keys import load_private_key, load_public_key, make_key
from ftprof.proof.remade import judged_again
from ftprof.proof.statement import journal_subjects, statement_of
from ftprof.record.merge import merge_journals
from ftprof.record.record import record_bytes
from ftprof.record.run_files import RunFiles

INPUTS = {
    "pretrain_flops_low": "84000000000000000000000", "pretrain_flops_high": "84000000000000000000000",
    "pretrain_source": "given with --pretrain-flops", "base_model": None, "systemic_risk": None, "gpai": True,
    "claims": {"deduct": ["recompute", "evaluate"], "generated_flops": "0", "public_generation": False},
}  # fmt: skip
RECORD, ENVELOPE, FOLDER = "record.json", "record.intoto.json", "run"


@dataclass(frozen=True)
class Key:
    """A key pair in files."""

    private: Path
    public: Path


def new_key(folder: Path) -> Key:
    return Key(folder / "key.pem", make_key(folder / "key.pem")[0])


def run_folder(folder: Path, ended: bool = True) -> Path:
    """The run of a counters journal, a rolled-up one and one of operators' formulas; a line of ``failures.txt`` too."""
    run_journal(folder, ended=ended, policy_inputs=INPUTS)
    counters_journal(folder, *WHOLE)
    counters_journal(folder, *ROLLED_UP[: None if ended else -1], pid=8)
    journal(folder, 9, window(2**70), window(5))
    (folder / "failures.txt").write_text("process 10 cannot keep a journal: disk full\n")
    return folder


def evidence_of(folder: Path, key: Key, now_us: int | None = None) -> Evidence:
    """Everything there is to verify, signed."""
    content: dict[str, Any] = json.loads(record_bytes(judged_again(merge_journals(folder, now_us)).to_json()))
    record = record_bytes(content)
    files = dict(RunFiles(folder))
    journals = journal_subjects(files, Path(FOLDER))
    statement = statement_of(RECORD, record, content, journals, [], "2026-11-22T00:00:00Z", "ftprof 0.1.0")
    envelope = sign(statement.to_bytes(), load_private_key(key.private)).to_bytes()
    return Evidence(record, RECORD, envelope, ENVELOPE, load_public_key(key.public), files, Path(FOLDER))


def changed_file(evidence: Evidence, name: str, content: bytes) -> Evidence:
    """With other bytes in the record, the envelope or one of the run's files."""
    if name == RECORD:
        return replace(evidence, record=content)
    if name == ENVELOPE:
        return replace(evidence, envelope=content)
    return replace(evidence, journals={**(evidence.journals or {}), name: content})


def contents(evidence: Evidence) -> dict[str, bytes]:
    """Of all files that were signed or signed with."""
    assert evidence.envelope is not None
    assert evidence.journals is not None
    return {RECORD: evidence.record, ENVELOPE: evidence.envelope, **evidence.journals}
