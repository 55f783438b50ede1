"""The strict forms: what DSSE and JSON leave open is refused, and what was made to fit is found."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.dsse import Envelope as Dsse
from signed_runs import ENVELOPE, FOLDER, RECORD, Evidence, Key, evidence_of, new_key, run_folder
from test_counters_journal import rechained

from ftprof.proof.envelope import sign
from ftprof.proof.keys import load_private_key
from ftprof.proof.verification import Verification, verify
from ftprof.record.canonical import canonical, digest
from ftprof.record.record import record_bytes
from ftprof.record.run_files import RunFiles


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return new_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Evidence:
    return evidence_of(run_folder(tmp_path_factory.mktemp("signed") / FOLDER), key)


def reserialised(content: Any) -> bytes:
    return canonical(content) + b"\n"


def with_signature(**changes: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda data: reserialised({**data, "signatures": [{**data["signatures"][0], **changes}]})


def slack_in_padding(data: dict[str, Any]) -> bytes:
    """The unused bits before the padding of 64 bytes in base64."""
    sig = data["signatures"][0]["sig"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = sig[:-3] + alphabet[alphabet.index(sig[-3]) + 1] + sig[-2:]
    assert base64.b64decode(other) == base64.b64decode(sig)
    return with_signature(sig=other)(data)


SLACK: dict[str, tuple[Callable[[dict[str, Any]], bytes], str | None]] = {
    "a second signature": (lambda d: reserialised({**d, "signatures": d["signatures"] * 2}), "signatures"),
    "no signature": (lambda d: reserialised({**d, "signatures": []}), "signatures"),
    "signatures that are no list": (lambda d: reserialised({**d, "signatures": {"0": 1}}), "signatures"),
    "a signature that is no object": (lambda d: reserialised({**d, "signatures": ["x"]}), "signatures[0]"),
    "a key that nobody reads": (lambda d: reserialised({**d, "note": "x"}), "note"),
    "a key of the signature that nobody reads": (with_signature(note="x"), "signatures[0].note"),
    "another payload type": (lambda d: reserialised({**d, "payloadType": "text/plain"}), "payloadType"),
    "spaces": (lambda d: json.dumps(d).encode() + b"\n", None),
    "no last newline": (canonical, None),
    "two last newlines": (lambda d: reserialised(d) + b"\n", None),
    "a byte order mark": (lambda d: b"\xef\xbb\xbf" + reserialised(d), None),
    "a key twice": (lambda d: reserialised(d).replace(b'{"payload"', b'{"payload":"eA==","payload"', 1), None),
    "an escaped letter": (lambda d: reserialised(d).replace(b'"payload"', b'"p\\u0061yload"', 1), None),
    "slack in the padding": (slack_in_padding, "signatures[0].sig"),
    "no padding": (lambda d: with_signature(sig=d["signatures"][0]["sig"].rstrip("="))(d), "signatures[0].sig"),
    "a newline in base64": (lambda d: reserialised({**d, "payload": d["payload"] + "\n"}), "payload"),
    "base64 of the other alphabet": (with_signature(sig="-_" * 43 + "=="), "signatures[0].sig"),
    "letters that are not ASCII": (with_signature(sig="ä" * 88), "signatures[0].sig"),
    "a signature that is too short": (with_signature(sig="eA=="), "signatures[0].sig"),
    "a signature that is no text": (with_signature(sig=5), "signatures[0].sig"),
    "a key id in capitals": (
        lambda d: with_signature(keyid=d["signatures"][0]["keyid"].upper())(d),
        "signatures[0].keyid",
    ),
    "the id of another key": (with_signature(keyid="0" * 64), "signatures[0].keyid"),
    "not JSON": (lambda d: b"x", None),
    "no object": (lambda d: b"[]\n", None),
    "deep nesting": (lambda d: b"[" * 100_000, None),
}


@pytest.mark.parametrize("slack", SLACK)
def test_an_envelope_has_one_form(signed: Evidence, slack: str) -> None:
    assert signed.envelope is not None
    change, field = SLACK[slack]
    found = verify(replace(signed, envelope=change(json.loads(signed.envelope))))
    assert found.place is not None, slack
    assert (found.place.file, found.place.field) == (ENVELOPE, field)


def signed_again(evidence: Evidence, key: Key, change: Callable[[dict[str, Any]], None]) -> Evidence:
    """By the right key, but of another statement: what a faulty or dishonest signer could make."""
    assert evidence.envelope is not None
    statement = json.loads(base64.b64decode(json.loads(evidence.envelope)["payload"]))
    change(statement)
    return replace(evidence, envelope=sign(canonical(statement), load_private_key(key.private)).to_bytes())


def put(*at: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        inner: Any = content
        for step in at[:-1]:
            inner = inner[step]
        inner[at[-1]] = value

    return change


WRONG = [
    ("_type", "x", "payload._type"),
    ("predicateType", "x", "payload.predicateType"),
    ("note", 1, "payload.note"),
    ("subject", [], "payload.subject"),
    (("subject", 0, "digest", "sha256"), "0" * 64, None),
    (("subject", 0, "digest", "md5"), "0" * 32, "payload.subject[0]"),
    (("subject", 1, "digest", "sha256"), "0" * 64, None),
    (("subject", 2, "annotations", "chainHead"), "0" * 64, None),
    (("subject", 2, "annotations", "chainLines"), True, "payload.subject[2]"),
    (("subject", 2, "name"), "record.json", "payload.subject[2]"),
    (("subject", 2, "name"), "other.journal", "payload.subject[2]"),
    (("predicate", "flops"), "1", "payload.predicate.flops"),
    (("predicate", "complete"), 0, "payload.predicate.complete"),
    (("predicate", "verdicts", 0, "verdict"), "below", "payload.predicate.verdicts[0].verdict"),
    (("predicate", "verdicts", 0, "note"), "x", "payload.predicate.verdicts[0].note"),
    (("predicate", "journalsAreSubjects"), False, "payload.predicate.journalsAreSubjects"),
    (("predicate", "signedAt"), "yesterday", "payload.predicate.signedAt"),
    (("predicate", "signedWith"), None, "payload.predicate.signedWith"),
    (("predicate",), [], "payload.predicate"),
]


@pytest.mark.parametrize(("at", "value", "field"), WRONG, ids=[f"{at} {value}"[:60] for at, value, _ in WRONG])
def test_a_statement_that_is_not_the_records_is_found(
    signed: Evidence, key: Key, at: Any, value: Any, field: str | None
) -> None:
    path = at if isinstance(at, tuple) else (at,)
    found = verify(signed_again(signed, key, put(*path, value=value)))
    assert found.place is not None
    if field is not None:
        assert (found.place.file, found.place.field) == (ENVELOPE, field)


def failed(found: Verification) -> str:
    assert not found.holds
    return found.checks[-1].name


def made_to_fit(evidence: Evidence, change: Callable[[dict[str, Any]], None]) -> Evidence:
    """Somebody changed the record, made its digest fit, and left the envelope out."""
    content = json.loads(evidence.record)
    change(content)
    content["digest"] = digest(content)
    return replace(evidence, record=record_bytes(content), envelope=None, public_key=None)


@pytest.mark.parametrize(
    ("change", "check", "field"),
    [
        (put("reasons", value=[]), "remade", "reasons[0]"),
        (put("processes", 0, "windows", value=9), "remade", "processes[0].windows"),
        (put("processes", 0, "journal", "head", value="0" * 64), "remade", "processes[0].journal.head"),
        (put("runs", 0, "exit_code", value=1), "remade", "runs[0].exit_code"),
        (put("until_us", value=7), "remade", "until_us"),
        (put("more", value=7), "sums", "more"),
        (put("counts", 0, "more", value=7), "sums", "counts[0].more"),
        (put("flops", value="1"), "sums", None),
        (put("verdicts", 0, "verdict", value="below"), "verdicts", "verdicts[0].verdict"),
        (put("verdicts", 0, "ratio", value="9e9"), "verdicts", "verdicts[0].ratio"),
        (put("verdicts", 1, "policy", value="x"), "verdicts", "verdicts[1]"),
        (put("policy_inputs", "pretrain_flops_low", value="1"), "verdicts", None),
        (put("policy_inputs", "gpai", value=3), "verdicts", "policy_inputs"),
    ],
)
def test_a_record_that_was_made_to_fit_is_found(
    signed: Evidence, change: Callable[[dict[str, Any]], None], check: str, field: str | None
) -> None:
    found = verify(made_to_fit(signed, change))
    assert failed(found) == check
    assert found.place is not None
    if field is not None:
        assert (found.place.file, found.place.field) == (RECORD, field)


def test_a_missing_field_is_named(signed: Evidence) -> None:
    found = verify(made_to_fit(signed, lambda content: content.__delitem__("counts")))
    assert (failed(found), found.place and found.place.field) == ("sums", "counts")


def test_fields_in_another_order_are_found(signed: Evidence) -> None:
    content = json.loads(signed.record)
    content["complete"] = content.pop("complete")
    changed = replace(signed, record=record_bytes(content), envelope=None, public_key=None)
    assert failed(verify(changed)) == "sums"


def test_policy_inputs_that_were_stated_later_are_named(signed: Evidence) -> None:
    def change(content: dict[str, Any]) -> None:
        content["verdicts"] = []
        content["policy_inputs"]["gpai"] = False

    found = verify(made_to_fit(signed, change))
    assert found.holds
    assert [check.name for check in found.checks if check.result == "not checked"] == [
        "envelope", "policy inputs", "verdicts",
    ]  # fmt: skip


def test_a_chain_that_was_made_to_fit_is_found(tmp_path: Path, key: Key) -> None:
    """A count changed and every hash after it made anew: only the signature, or the record's own heads, tell."""
    run = run_folder(tmp_path / FOLDER)
    evidence = evidence_of(run, key)
    path = next(run.glob("*-7-*-counters.journal"))

    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        lines[3]["counts"][0] = "99"
        return lines

    rechained(path, change)
    forged = replace(evidence, journals=dict(RunFiles(run)))
    found = verify(forged)
    assert failed(found) == "journals"
    assert found.place is not None
    assert found.place.file == f"{FOLDER}/{path.name}"
    assert failed(verify(replace(forged, envelope=None, public_key=None))) == "remade"


def test_another_key_is_named(signed: Evidence, tmp_path: Path) -> None:
    other = evidence_of(run_folder(tmp_path / FOLDER), new_key(tmp_path))
    found = verify(replace(signed, public_key=other.public_key))
    assert failed(found) == "signature"
    assert found.key_id is None
    assert signed.public_key is not None
    assert signed.public_key.id in found.checks[-1].what


def test_others_can_verify_it(signed: Evidence) -> None:
    """Stock tools: securesystemslib takes the envelope, and the digests are those of the files."""
    assert signed.envelope is not None
    assert signed.public_key is not None
    assert signed.journals is not None
    Dsse.from_dict(json.loads(signed.envelope)).verify([signed.public_key.key], 1)
    statement = json.loads(base64.b64decode(json.loads(signed.envelope)["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    digests = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    files = {RECORD: signed.record, **{f"journals/{name}": content for name, content in signed.journals.items()}}
    assert digests == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert all("chainHead" in s["annotations"] for s in statement["subject"] if s["name"].endswith(".journal"))
