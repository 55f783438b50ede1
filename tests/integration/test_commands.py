"""merge, report and check on real records; help, versions and errors of every command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FTPROF, Wrapped, clean_environment, ftprof

Run = Callable[..., Wrapped]
PROGRAM = "import torch\nfor _ in range(3): torch.ones(4, 4) @ torch.ones(4, 4)\ntorch.softmax(torch.ones(3), 0)"
COMMANDS = ("wrap", "check", "report", "merge", "plan", "doctor")


@pytest.fixture
def record(wrap_python: Run) -> Wrapped:
    return wrap_python(PROGRAM, "--keep-journals", "--base-model", "Llama-2-7B")


def test_the_report_shows_all_that_the_record_holds(record: Wrapped) -> None:
    done = ftprof("report", str(record.path))
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("3.8", "(384)", "Llama-2-7B", "aws-2026: below", "ec-2025: below", "By precision", "aten.mm", "100 %",
                 "aten::_softmax (operator): 1 call", "exit code 0", "ended: exit", "not legal advice"):  # fmt: skip
        assert part in done.stdout, part


def test_a_run_is_judged_by_the_users_own_table(wrap_python: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("model,flops,kind,source\nAcme,2e23,derived by 6PD,card\nAcme,9e23,published,report\n")
    run = wrap_python(PROGRAM, "--base-models", str(own), "--base-model", "acme/Acme-GGUF")
    assert (
        "  base model    2.0\N{MULTIPLICATION SIGN}10^23 (6PD) or 9.0\N{MULTIPLICATION SIGN}10^23 (published)"
        in run.err
    )
    inputs = run.record["policy_inputs"]
    assert (inputs["base_model"], inputs["pretrain_low_kind"]) == ("Acme", "derived by 6PD")
    assert inputs["pretrain_source"].endswith(f"the user's own, from {own}")
    shown = " ".join(ftprof("report", str(run.path)).stdout.split())
    assert "(estimated, derived by 6PD) or" in shown
    assert "4.5 times apart, more than the Guidelines' 30 % margin" in shown
    own.write_text("model,flops\n")
    refused = ftprof("wrap", "--base-models", str(own), "--base-model", "Acme", "--", "touch", str(tmp_path / "ran"))
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert f"--base-models {own}, line 1, column source: is missing" in refused.stderr
    assert not (tmp_path / "ran").exists()


def test_the_json_report_is_the_record(record: Wrapped) -> None:
    assert json.loads(ftprof("report", str(record.path), "--format", "json").stdout) == record.record


def test_a_report_into_a_file_never_overwrites(record: Wrapped, tmp_path: Path) -> None:
    target = tmp_path / "report.txt"
    assert ftprof("report", str(record.path), "-o", str(target)).returncode == 0
    assert "aten.mm" in target.read_text()
    done = ftprof("report", str(record.path), "-o", str(target))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "aten.mm" in ftprof("report", str(record.path), "-o", "-", cwd=tmp_path).stdout
    assert not (tmp_path / "-").exists()
    done = ftprof("report", str(record.path), "-o", "nowhere/", cwd=tmp_path)
    assert (done.returncode, "is a folder's" in done.stderr) == (2, True)


def test_check_uses_the_records_own_inputs_and_says_when_it_does_not(record: Wrapped) -> None:
    own = json.loads(ftprof("check", str(record.path), "--json").stdout)
    assert own["flops"] == own["low"] == own["high"] == "384"
    assert (own["method"], own["complete"]) == ("analytic", True)
    assert own["verdicts"][1]["threshold_flops"] == str(84 * 10**21 // 3)
    other = ftprof("check", str(record.path), "--pretrain-flops", "300", "--policy", "ec-2025")
    assert other.returncode == 3
    assert "In place of the record's own policy inputs" in other.stdout


def test_merge_makes_the_same_record_of_the_journals(record: Wrapped, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    done = ftprof("merge", str(tmp_path / "record.run"), "-o", str(again))
    assert done.returncode == 0, done.stderr
    assert json.loads(again.read_text()) == record.record
    assert "below" in done.stdout


def test_merge_adds_records_and_refuses_the_same_process(record: Wrapped, tmp_path: Path, wrap_python: Run) -> None:
    first = record.path.rename(tmp_path / "first.json")
    second = wrap_python(PROGRAM, "--base-model", "Llama-2-7B").path
    both = tmp_path / "both.json"
    assert ftprof("merge", str(first), str(second), "-o", str(both)).returncode == 0
    assert json.loads(both.read_text())["flops"] == "768"
    assert ftprof("merge", str(first), str(second), "-o", str(both)).returncode == 2
    twice = ftprof("merge", str(first), str(both), "-o", str(tmp_path / "twice.json"))
    assert (twice.returncode, "counts twice" in twice.stderr) == (1, True)
    assert not (tmp_path / "twice.json").exists()


@pytest.mark.parametrize("damage", ["garbage", "changed", "journal", "missing", "folder"])
def test_what_cannot_be_trusted_is_one_line_and_code_one(record: Wrapped, tmp_path: Path, damage: str) -> None:
    target, command = record.path, "check"
    if damage == "garbage":
        target.write_bytes(b"\xff\x00{")
    elif damage == "changed":
        target.write_text(target.read_text().replace('"384"', '"385"'))
    elif damage == "journal":
        command, target = "merge", tmp_path / "record.run"
        journal = next(path for path in target.glob("*.journal") if b'"calls":"' in path.read_bytes())
        journal.write_bytes(journal.read_bytes().replace(b'"calls":"', b'"calls":"1', 1))
    elif damage == "missing":
        target = tmp_path / "nothing.json"
    else:
        target = tmp_path
    arguments = [command, str(target)] + (["-o", str(tmp_path / "m.json")] if command == "merge" else [])
    done = ftprof(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert str(target) in done.stderr
    assert "Traceback" in ftprof("--debug", *arguments).stderr
    assert "Traceback" in ftprof(*arguments, "--debug").stderr


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_imports_nothing_heavy(command: tuple[str, ...]) -> None:
    program = (
        "import sys\nfrom ftprof.cli import main\n"
        f"try: main({[*command, '--help']!r})\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'cupy', 'pynvml', 'numpy', 'ftprof._native'} & set(sys.modules)\n"
        "print(code, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "Usage: ftprof" in done.stdout


def test_a_run_without_counters_does_not_import_their_estimates(tmp_path: Path) -> None:
    """They take as long to import as all else that a short command waits for."""
    program = (
        "import sys\nfrom ftprof.cli import main\n"
        "try: main(['wrap', '-q', '--method', 'analytic', '--', 'true'])\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {name for name in sys.modules if name.startswith('ftprof.record.')}\n"
        "heavy &= {'ftprof.record.' + name for name in ('survey', 'counted', 'device_window')}\n"
        "print(code, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines() == ["0 []"]
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_every_command_is_in_the_help_with_its_line() -> None:
    done = ftprof("--help")
    for name in COMMANDS:
        assert f"  {name} " in done.stdout
        assert ftprof(name, "--version").stdout == ftprof("--version").stdout != ""


def test_no_command_shows_the_help() -> None:
    done = ftprof()
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: ftprof" in done.stderr


def test_a_reader_that_has_gone_is_no_traceback(record: Wrapped) -> None:
    done = subprocess.run(
        f"{FTPROF} report {record.path} | true; {FTPROF} check {record.path} > /dev/full; echo code $?",
        shell=True, capture_output=True, text=True, env=clean_environment(), check=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.stdout == "code 1\n"


def test_python_m_ftprof_is_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ftprof", "check", "--flops", "1e26"],
        capture_output=True, text=True, cwd=tmp_path, env=clean_environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 3
