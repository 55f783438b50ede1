"""Damaged journals and records through the command line: one line, exit code 1, never a traceback or a wrong total."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from test_journal import window
from test_merge import journal, run_journal

from ftprof.cli import main
from ftprof.policy.inputs import PolicyInputs
from ftprof.record.canonical import digest
from ftprof.record.merge import merge_journals
from ftprof.record.record import save_record


def damaged(original: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(original))
    return chance.choice(
        [
            original[:at],
            original[:at] + bytes([chance.randrange(256)]) + original[at + 1 :],
            original[:at] + bytes([chance.randrange(256)]) + original[at:],
            original[:at] + original[at + chance.randrange(1, 40) :],
            original[at:] + original[:at],
        ]
    )


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    run_journal(tmp_path / "run", inputs={})
    journal(tmp_path / "run", 2, window(100), window(200))
    save_record(merge_journals(tmp_path / "run"), tmp_path / "record.json", overwrite=False)
    return tmp_path


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_journal(folder: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(seed)
    path = chance.choice(sorted((folder / "run").glob("*.journal")))
    path.write_bytes(damaged(path.read_bytes(), chance))
    merged = folder / "merged.json"
    code, out, err = run(["merge", str(folder / "run"), "-o", str(merged)], capsys)
    if code == 0:
        content = json.loads(merged.read_text())
        assert int(content["low"]) in (0, 100, 300)
        assert (content["complete"], content["low"]) == (True, "300") or content["high"] is None
    else:
        assert (code, out, len(err.splitlines())) == (1, "", 1)
        assert "unexpected" not in err
        assert not merged.exists()


@pytest.mark.parametrize("command", ["check", "report", "merge"])
@pytest.mark.parametrize("seed", range(50))
def test_a_damaged_record(folder: Path, seed: int, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "record.json"
    path.write_bytes(damaged(path.read_bytes(), random.Random(seed)))
    arguments = [command, str(path)] + (["-o", str(folder / "merged.json")] if command == "merge" else [])
    code, out, err = run(arguments, capsys)
    if code == 0:
        assert "300" in out
    else:
        assert (code, out, len(err.splitlines())) == (1, "", 1)
        assert "Traceback" not in err
        assert "unexpected" not in err


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of everything in a document, but for its digest."""
    if path and path != ("digest",):
        yield path
    for key, value in content.items() if isinstance(content, dict) else enumerate(content) if path else ():
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))
        elif (*path, key) != ("digest",):
            yield (*path, key)


def forged(folder: Path, whole: dict[str, Any], where: tuple[Any, ...], value: Any) -> Path:
    content = json.loads(json.dumps(whole))
    inner = content
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    path = folder / "forged.json"
    path.write_text(json.dumps({**content, "digest": digest(content)}))
    return path


INPUTS = PolicyInputs(
    Fraction(10**22), Fraction(10**24), "two derivations", "Base-3B", pretrain_between=((Fraction(10**23), None),)
)
WRONG = (None, True, -1, 7, 10**40, 0.5, float("inf"), "7", "x", "", [], {}, [{}], {"rank": "x", "world_size": 2}, [7])


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("processes", 0, "rank"), {"rank": "x", "world_size": 2}),
        (("processes", 0, "devices"), [{}]),
        (("processes", 0, "devices"), [{"device": 7}]),
        (("runs", 0, "exit_code"), float("inf")),
        (("runs", 0, "exit_code"), "7"),
        (("runs", 0, "exit_code"), 0.5),
    ],
)
def test_a_forged_value_whose_digest_fits(
    folder: Path, where: tuple[Any, ...], value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = forged(folder, json.loads((folder / "record.json").read_text()), where, value)
    for command in ("check", "report"):
        code, out, err = run([command, str(path)], capsys)
        assert (code, out, len(err.splitlines())) == (1, "", 1), err
        assert "cannot be trusted" in err


@pytest.mark.parametrize("seed", range(60))
def test_a_forged_record_whose_digest_fits(folder: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of ten values is put out of place; the digest would not tell."""
    chance = random.Random(seed)
    whole = json.loads((folder / "record.json").read_text())
    whole["processes"][0]["rank"] = {"rank": 0, "world_size": 2}
    whole["policy_inputs"] = INPUTS.to_json()
    (folder / "other").mkdir()
    journal(folder / "other", 3, window(100))
    save_record(merge_journals(folder / "other"), folder / "other.json", overwrite=False)
    merge = ["merge", str(folder / "other.json"), "--force", "-o", str(folder / "merged.json")]
    everywhere = list(places(whole))
    for _ in range(10):
        where, value = chance.choice(everywhere), chance.choice(WRONG)
        path = forged(folder, whole, where, value)
        for command in (["check"], ["report"], ["report", "--format", "html"], merge):
            code, _, err = run([*command, str(path)], capsys)
            assert "unexpected" not in err, (where, value, err)
            assert code in ((0, 3, 4, 5) if command == ["check"] else (0,)) or len(err.splitlines()) == 1


@pytest.mark.parametrize("content", ["[]", "null", "3", '"text"'])
def test_a_record_that_is_no_object(folder: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "record.json").write_text(content)
    code, out, err = run(["check", str(folder / "record.json")], capsys)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "is no JSON object; is it a record that 'ftprof wrap' wrote?" in err


def test_what_is_no_file_is_not_waited_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(folder / "run" / "x.journal")
    code, _, err = run(["merge", str(folder / "run"), "-o", str(folder / "merged.json")], capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert "x.journal is no file" in err
    code, _, err = run(["check", "/dev/zero"], capsys)
    assert (code, err) == (1, "ftprof: record /dev/zero is a device; name the file that 'ftprof wrap' wrote\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", ""],
        ["report", ""],
        ["verify", ""],
        ["sign", ""],
        ["merge", "", "-o", "x"],
        ["merge", "x", "-o", ""],
        ["estimate", ""],
    ],
)
def test_an_empty_path_is_never_the_current_folder(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(arguments, capsys)
    assert (code, out) == (2, "")
    assert err.endswith(" is empty; is a variable of the shell not set?\n")


def test_a_name_with_a_line_break_leaves_the_error_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["check", "no\nsuch"], capsys)
    assert (code, err) == (1, "ftprof: record no such cannot be read: No such file or directory\n")
