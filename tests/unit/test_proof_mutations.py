"""No changed byte of a signed record, its journals or its envelope passes, and the place named is the right one."""

from __future__ import annotations

import json
import random

import pytest
from signed_runs import ENVELOPE, FOLDER, RECORD, Evidence, changed_file, contents, evidence_of, new_key, run_folder

from ftprof.proof.holding import Place, fields_by_line
from ftprof.proof.verification import verify

MUTATIONS = (
    "change",
    "bit",
    "delete",
    "insert",
    "truncate",
    "append",
    "swap bytes",
    "double a line",
    "swap lines",
    "drop",
)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("signed")
    return evidence_of(run_folder(folder / FOLDER), new_key(folder))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Of a run whose own ftprof was killed, with a torn journal and one that never got its first line."""
    folder = tmp_path_factory.mktemp("killed")
    run = run_folder(folder / FOLDER, ended=False)
    torn = next(run.glob("*-8-*-counters.journal"))
    torn.write_bytes(torn.read_bytes() + b'{"half')
    (run / "none.journal").write_bytes(b'{"ki')
    return evidence_of(run, new_key(folder), now_us=123_456_789)


def mutated(original: bytes, kind: str, chance: random.Random) -> bytes:
    at = chance.randrange(len(original))
    byte = bytes([chance.randrange(256)])
    if kind == "change":
        return original[:at] + byte + original[at + 1 :]
    if kind == "bit":
        return original[:at] + bytes([original[at] ^ 1 << chance.randrange(8)]) + original[at + 1 :]
    if kind == "delete":
        return original[:at] + original[at + chance.choice((1, 1, 1, 7)) :]
    if kind == "insert":
        return original[:at] + byte + original[at:]
    if kind == "truncate":
        return original[:at]
    if kind == "append":
        return original + bytes(chance.choices(b'\n {}",:x0', k=chance.randrange(1, 4)))
    if kind == "swap bytes":
        other = chance.randrange(len(original))
        low, high = min(at, other), max(at, other)
        middle = original[low + 1 : high] + original[low : low + 1] if low < high else b""
        return original[:low] + original[high : high + 1] + middle + original[high + 1 :]
    lines = original.splitlines(keepends=True)
    number = chance.randrange(len(lines))
    if kind == "double a line":
        lines.insert(number, lines[number])
    elif kind == "swap lines":
        other = chance.randrange(len(lines))
        lines[number], lines[other] = lines[other], lines[number]
    else:
        del lines[number]
    return b"".join(lines)


def first_difference_at(original: bytes, changed: bytes) -> int:
    pairs = zip(original, changed, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(original), len(changed)))


def check_place(evidence: Evidence, name: str, changed: bytes, place: Place) -> None:
    original = contents(evidence)[name]
    at = first_difference_at(original, changed)
    line = original.count(b"\n", 0, at) + 1
    assert place.file == (name if name in (RECORD, ENVELOPE) else f"{FOLDER}/{name}")
    if name == RECORD:
        fields = [*fields_by_line(json.loads(original)), ""]
        assert (place.line, place.field) == (line, fields[line - 1] or None)
    elif name == ENVELOPE:
        check_field_of_envelope(original, changed, place)
    elif name.endswith(".journal") and original.count(b"\n"):
        assert place.line == line


def check_field_of_envelope(original: bytes, changed: bytes, place: Place) -> None:
    """Where a field is named, it is the one with a changed byte, or one that lies behind what the change tore off."""
    assert place.line in range(1, changed.count(b"\n") + 2)
    if place.field is not None:
        at = {first_difference_at(original, changed)}
        if len(changed) == len(original):  # of two bytes that were swapped, either place is one
            at.add(len(original) - 1 - first_difference_at(original[::-1], changed[::-1]))
        fields = {field_of_envelope(original, one) for one in at}
        assert any(part.startswith(field) for part in place.field.split(" or ") for field in fields)


def field_of_envelope(original: bytes, at: int) -> str:
    names = {"payload": b'"payload":', "payloadType": b'"payloadType":', "signatures": b'"signatures":'}
    inside = [name for name, key in names.items() if original.index(key) <= at]
    return inside[-1] if inside else "payload"


def single_bytes(evidence: Evidence, number: int, seed: int) -> list[tuple[str, str, bytes]]:
    """One byte put in place of another, anywhere in all files alike."""
    chance = random.Random(seed)
    files = contents(evidence)
    names = [name for name, content in sorted(files.items()) if content]
    found: list[tuple[str, str, bytes]] = []
    for name in chance.choices(names, weights=[len(files[name]) for name in names], k=number):
        changed = bytearray(files[name])
        changed[chance.randrange(len(changed))] ^= chance.randrange(1, 256)
        found.append((name, "one byte", bytes(changed)))
    return found


def mutations(evidence: Evidence, number: int, seed: int) -> list[tuple[str, str, bytes]]:
    chance = random.Random(seed)
    files = contents(evidence)
    found: list[tuple[str, str, bytes]] = []
    while len(found) < number:
        name, kind = chance.choice(sorted(files)), MUTATIONS[len(found) % len(MUTATIONS)]
        changed = mutated(files[name], kind, chance)
        if changed != files[name]:
            found.append((name, kind, changed))
    return found


@pytest.mark.parametrize("which", ["signed", "killed"])
def test_what_was_not_changed_holds(which: str, request: pytest.FixtureRequest) -> None:
    found = verify(request.getfixturevalue(which))
    assert found.holds, found.checks
    assert [check.name for check in found.checks][:7] == [
        "envelope", "signature", "record", "journals", "sums", "remade",
        "verdicts" if which == "signed" else "the run's end",
    ]  # fmt: skip


@pytest.mark.parametrize("which", ["signed", "killed"])
def test_every_kind_of_change_is_found_at_its_place(which: str, request: pytest.FixtureRequest) -> None:
    evidence = request.getfixturevalue(which)
    assert_found(evidence, which, mutations(evidence, 60, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("which", ["signed", "killed"])
def test_20000_changed_bytes_are_found_at_their_places(which: str, seed: int, request: pytest.FixtureRequest) -> None:
    """In all, over both runs and the seeds; and a tenth as many other changes."""
    evidence = request.getfixturevalue(which)
    assert_found(evidence, which, single_bytes(evidence, 2500, seed=200 + seed))
    assert_found(evidence, which, mutations(evidence, 250, seed=100 + seed))


def assert_found(evidence: Evidence, which: str, changes: list[tuple[str, str, bytes]]) -> None:
    for name, kind, changed in changes:
        found = verify(changed_file(evidence, name, changed))
        where = name, kind, first_difference_at(contents(evidence)[name], changed)
        assert not found.holds, where
        assert found.place is not None, where
        if which == "signed" or name != RECORD:
            check_place(evidence, name, changed, found.place)
        else:
            # A record that says when it was made can be made again only where it still says so.
            assert found.place.file == RECORD, where


def test_a_whole_file_that_is_gone_or_came_is_found(signed: Evidence) -> None:
    assert signed.journals is not None
    for name in signed.journals:
        rest = {other: content for other, content in signed.journals.items() if other != name}
        found = verify(Evidence(**{**vars(signed), "journals": rest}))
        assert found.place == Place(f"{FOLDER}/{name}")
    more = {**signed.journals, "z.journal": next(iter(signed.journals.values()))}
    assert verify(Evidence(**{**vars(signed), "journals": more})).place == Place(f"{FOLDER}/z.journal")


@pytest.mark.parametrize("name", ["record", "journal"])
def test_without_an_envelope_changes_are_found_by_the_digest_the_chains_and_the_record_made_anew(
    signed: Evidence, name: str
) -> None:
    """All but bytes behind a journal's last whole line, which no chain has: that they are there is said."""
    bare = Evidence(**{**vars(signed), "envelope": None, "public_key": None})
    assert verify(bare).holds
    for file, kind, changed in mutations(bare_contents(bare), 60, seed=2):
        if (file == RECORD) != (name == "record") or file in (ENVELOPE, "failures.txt"):
            continue
        found = verify(changed_file(bare, file, changed))
        assert not found.holds or "torn lines" in [check.name for check in found.checks], (file, kind)


def bare_contents(bare: Evidence) -> Evidence:
    return Evidence(**{**vars(bare), "envelope": b"{}"})
