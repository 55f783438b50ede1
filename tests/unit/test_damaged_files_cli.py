"""Damaged journals and records through the command line: one line, exit code 1, never a traceback or a wrong total."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from test_journal import window
from test_merge import journal, run_journal

from ftprof.cli import main
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
