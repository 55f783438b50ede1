"""``ftprof check``: exit codes, streams, JSON and what the answer says, through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as property_given
from hypothesis import strategies as st

import ftprof
from ftprof.cli import check, main
from ftprof.errors import FtprofError, UntrustedInput, UsageProblem
from ftprof.policy.choice import PolicyOptions, read_policy_options
from ftprof.policy.inputs import PolicyInputs
from ftprof.quantity import TIMES
from ftprof.record.interval import NOTHING_COUNTED, Interval
from ftprof.record.record import Record as SavedRecord
from ftprof.record.record import save_record
from ftprof.report.verdict_text import share_text

ROOT = Path(ftprof.__file__).parent.parent
VERDICT_KEYS = [
    "policy",
    "scenario",
    "scenario_number",
    "threshold_flops",
    "flops_compared",
    "ratio",
    "verdict",
    "why",
    "source",
]


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Record:
    """A record as far as check knows it."""

    interval: Interval = field(default_factory=lambda: Interval(10**22, 10**22, 10**22))
    method: str = "analytic"
    complete: bool = True
    policy_inputs: dict[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    by_phase: dict[str, int] = field(default_factory=lambda: {"train": 10**22})
    cross_checks: tuple[dict[str, Any], ...] = ()
    runs: tuple[Any, ...] = ()
    processes: tuple[Any, ...] = ()
    devices: tuple[object, ...] = ()
    until_us: int | None = None


class Cli:
    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self._params = list(check.command.params)

    def __call__(self, *arguments: str) -> Run:
        self._monkeypatch.setattr(check.command, "params", list(self._params))
        with pytest.raises(SystemExit) as raised:
            main(["check", *arguments])
        out, err = self._capsys.readouterr()
        assert isinstance(raised.value.code, int)
        return Run(raised.value.code, out, err)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.delenv("PRETRAIN_FLOPS", raising=False)
    return Cli(capsys, monkeypatch)


def _process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "ftprof", "check", *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--flops", "3e22"], 0),
        (["--flops", "3.3e22"], 0),
        (["--flops", "3.31e22"], 3),
        (["--flops", "3.31e22", "--policy", "ec-2025"], 0),
        (["--flops", "3.31e22", "--policy", "ec-2025", "--policy", "aws-2026"], 0),
        (["--flops", "3.31e22", "--policy", "aws-2026", "--policy", "ec-2025"], 3),
        (["--flops", "3.3e22", "--error", "0.3"], 4),
        (["--flops", "1e20", "--no-gpai"], 5),
        (["--flops", "1e20", "--no-gpai", "--policy", "aws-2026"], 0),
        (["--flops", "3.4e22", "--no-gpai"], 3),
        (["--flops", "1e23", "--base-model", "Llama-3.2-1B"], 5),
        (["--flops", "1e24", "--systemic-risk"], 0),
        (["--flops", "0"], 0),
    ],
)
def test_the_exit_code_is_the_deciding_verdict(cli: Cli, arguments: list[str], code: int) -> None:
    assert cli(*arguments).code == code
    assert cli(*arguments, "--json").code == code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either a RECORD or --flops"),
        (["record.json", "--flops", "1"], "either a RECORD or --flops"),
        (["record.json", "--error", "0.1"], "--error belongs to --flops"),
        (["--error", "0.1"], "either a RECORD or --flops"),
        (["--flops", "nan"], "--flops 'nan' is not a finite number"),
        (["--flops", ""], "--flops is empty; is a variable of the shell not set?"),
        (["--flops", "--"], "--flops has the value '--'"),
        (["--flops", "1", "--error", "--"], "--error has the value '--'"),
        (["--flops", "1", "--error", "1"], "--error '1' is not below 1"),
        (["--flops", "1", "--pretrain-flops", "0"], "--pretrain-flops '0' is zero"),
        (["--flops", "1", "--pretrain-flops", "-1"], "--pretrain-flops '-1' has a minus sign"),
        (["--flops", "1", "--pretrain-flops", "--"], "--pretrain-flops has the value '--'"),
        (["--flops", "1", "--base-model", "--"], "--base-model has the value '--'"),
        (["--flops", "1", "--base-model", "llama 3.2"], "fits several models"),
        (["--flops", "1", "--base-model", "Lama-3.2-1B"], "near it: Llama-3.2-1B"),
        (["--flops", "1", "--base-model", "a\nb", "--pretrain-flops", "1"], "not in the table"),
        (["--flops", "1", "--policy", "--"], "--policy has the value '--'"),
        (["--flops", "1", "--policy", "eu"], "--policy: no policy 'eu'; choose from aws-2026, ec-2025"),
        (["--flops", "1", "--pretrain-flops", "2e25", "--no-systemic-risk"], "--no-systemic-risk contradicts"),
        (["--flops", "1", "--base-model", "Llama-3.1-405B", "--no-systemic-risk"], "--no-systemic-risk contradicts"),
        (["--flops", "1", "--systemic-risk", "--no-gpai"], "--systemic-risk contradicts --no-gpai"),
        (["--flops", "1", "--nonsense"], "No such option"),
        (["--flops"], "requires an argument"),
        (["one.json", "two.json"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_code_2(cli: Cli, arguments: list[str], said: str) -> None:
    run = cli(*arguments)
    assert (run.code, run.out) == (2, "")
    assert said in run.err
    assert run.err.startswith("ftprof: ")
    assert run.err.count("\n") == 1


def test_json_is_that_of_the_contract(cli: Cli) -> None:
    answer = cli("--flops", "1e23/3", "--error", "0.1", "--json").json()
    verdicts = answer.pop("verdicts")
    answer.pop("notes")
    basis = answer.pop("guidelines_basis")
    assert basis == {**{key: answer[key] for key in ("low", "flops", "high")}, "parts": []}
    assert answer == {
        "schema": "ftprof.check/1",
        "flops": "100000000000000000000000/3",
        "low": "30000000000000000000000",
        "high": "110000000000000000000000/3",
        "method": "given",
        "complete": True,
    }
    assert [list(verdict) for verdict in verdicts] == [VERDICT_KEYS, VERDICT_KEYS]
    assert [verdict["policy"] for verdict in verdicts] == ["aws-2026", "ec-2025"]
    assert verdicts[1]["threshold_flops"] == "100000000000000000000000/3"
    assert {type(value) for verdict in verdicts for value in verdict.values()} == {str, int}


def test_json_has_no_notes_where_there_is_nothing_to_say(cli: Cli) -> None:
    keys = ["schema", "flops", "low", "high", "method", "complete", "guidelines_basis", "verdicts"]
    assert list(cli("--flops", "1e20", "--json").json()) == keys


def test_differing_policies_are_told_in_a_line_of_their_own(cli: Cli) -> None:
    line = "The policies differ: aws-2026 says above, ec-2025 says below."
    assert line in cli("--flops", "3.31e22").out.splitlines()
    assert cli("--flops", "3.31e22", "--json").json()["notes"] == [line]
    assert "differ" not in cli("--flops", "3.31e22", "--policy", "ec-2025").out
    assert "differ" not in cli("--flops", "1e20").out


def test_the_text_has_figures_exact_numbers_and_no_classification(cli: Cli) -> None:
    out = cli("--flops", "3.31e22").out
    lines = out.splitlines()
    assert f"Compute     3.3{TIMES}10^22 FLOP (33100000000000000000000), method given" in lines
    assert "aws-2026: above" in lines
    assert "ec-2025: below" in lines
    assert f"3.3{TIMES}10^22 FLOP (100000000000000000000000/3); the compute is 99 % of it" in out
    assert "just over 100 % of it" in out
    assert "not legal advice" in lines[-1]
    assert max(map(len, lines)) <= 100
    assert "you" not in out.lower().split()


def test_a_policy_named_twice_is_judged_once(cli: Cli) -> None:
    arguments = ["--flops", "1", "--policy", "ec-2025", "--policy", "ec-2025", "--json"]
    assert len(cli(*arguments).json()["verdicts"]) == 1


def test_the_variable_gives_the_base_compute_and_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETRAIN_FLOPS", "1e24")
    run = cli("--flops", "1", "--json")
    assert run.json()["verdicts"][0]["threshold_flops"] == "300000000000000000000000"
    assert run.json()["notes"] == ["Base compute: given with the environment variable PRETRAIN_FLOPS."]
    option = cli("--flops", "1", "--pretrain-flops", "2e24", "--json")
    assert option.json()["verdicts"][0]["threshold_flops"] == "600000000000000000000000"
    table = cli("--flops", "1", "--base-model", "Qwen2.5-14B", "--json")
    assert table.json()["verdicts"][0]["threshold_flops"] == "480000000000000000000000"
    unpublished = cli("--flops", "1", "--base-model", "Mistral-7B", "--json")
    assert unpublished.json()["verdicts"][0]["threshold_flops"] == "300000000000000000000000"


@pytest.mark.parametrize("value", ["garbage", " ", "nan", "0", "-1", "1_000"])
def test_a_variable_that_is_no_quantity_is_an_error_that_names_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PRETRAIN_FLOPS", value)
    run = cli("--flops", "1")
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith(f"ftprof: PRETRAIN_FLOPS {value!r} ")
    assert cli("--flops", "1", "--pretrain-flops", "1e23").code == 0


def test_a_base_model_is_looked_up_with_source_and_confidence(cli: Cli) -> None:
    out = cli("--flops", "1e22", "--base-model", "meta-llama/Llama-3.2-3B-Instruct").out
    assert "Base model  Llama-3.2-3B, " in out
    assert "confidence medium" in " ".join(out.split())
    assert "MODEL_CARD.md" in out


def test_a_model_whose_compute_is_unpublished_is_taken_as_unknown_with_a_note(cli: Cli) -> None:
    answer = cli("--flops", "1", "--base-model", "Mistral-7B-v0.1", "--json").json()
    assert [verdict["scenario"] for verdict in answer["verdicts"]] == ["default", "default"]
    assert "training compute is unpublished" in answer["notes"][0]


def test_a_given_compute_goes_before_the_table_and_needs_no_known_name(cli: Cli) -> None:
    out = cli("--flops", "1", "--base-model", "my-own", "--pretrain-flops", "1e24").out
    assert "Base model  my-own, 1.0" in out
    table = cli("--flops", "1", "--base-model", "qwen2.5-14b", "--pretrain-flops", "1e24", "--json").json()
    assert table["verdicts"][0]["threshold_flops"] == "300000000000000000000000"


def test_a_record_is_judged_by_its_own_inputs() -> None:
    inputs = PolicyInputs(Fraction(10**24), Fraction(10**24), "the table", "some-model")
    answer = check.check_record(Record(policy_inputs=inputs.to_json()), "here", PolicyOptions())
    assert answer.verdicts[0].threshold_flops == 3 * 10**23
    assert answer.notes == ("Base compute: the table.",)
    assert answer.to_json()["method"] == "analytic"
    assert answer.deciding.verdict == "below"


def test_options_override_a_record_and_the_answer_says_so() -> None:
    recorded = PolicyInputs(Fraction(10**24), Fraction(10**24), "the table", "some-model", systemic_risk=False)
    options = PolicyOptions(pretrain_flops="2e25", systemic_risk=True)
    answer = check.check_record(Record(policy_inputs=recorded.to_json()), "here", options)
    assert answer.inputs.base_model == "some-model"
    assert answer.verdicts[0].scenario == "systemic-risk"
    (note,) = answer.notes
    assert note == (
        "In place of the record's own policy inputs: base compute 20000000000000000000000000 FLOP "
        "(record: 1000000000000000000000000 FLOP); systemic risk yes (record: no)."
    )
    assert "In place of the record's own" in answer.to_text()


def test_another_base_model_does_not_keep_the_records_compute() -> None:
    recorded = PolicyInputs(Fraction(10**24), Fraction(10**24), "the table", "some-model")
    choice = read_policy_options(PolicyOptions(base_model="Mistral-7B"), recorded=recorded, environment={})
    assert choice.inputs == PolicyInputs(base_model="Mistral-7B")
    assert "base compute unknown (record: 1000000000000000000000000 FLOP)" in choice.notes[0]


def test_a_records_no_gpai_holds_without_the_option() -> None:
    choice = read_policy_options(PolicyOptions(), recorded=PolicyInputs(gpai=False), environment={})
    assert choice.inputs == PolicyInputs(gpai=False)
    assert choice.notes == ()


def test_options_that_repeat_the_record_override_nothing() -> None:
    inputs = PolicyInputs(Fraction(10**24), Fraction(10**24), "the table", systemic_risk=True)
    options = PolicyOptions(pretrain_flops="1e24", systemic_risk=True)
    assert check.check_record(Record(policy_inputs=inputs.to_json()), "here", options).notes == ()


def test_the_variable_only_fills_what_a_record_leaves_unknown() -> None:
    environment = {"PRETRAIN_FLOPS": "5e24"}
    known = PolicyInputs(Fraction(10**24), Fraction(10**24))
    kept = read_policy_options(PolicyOptions(), recorded=known, environment=environment)
    assert kept.inputs == known
    filled = read_policy_options(PolicyOptions(), recorded=PolicyInputs(), environment=environment)
    assert filled.inputs.pretrain_flops_low == 5 * 10**24
    assert "base compute 5000000000000000000000000 FLOP (record: unknown)" in filled.notes[0]


def test_an_option_that_contradicts_the_record_is_wrong_usage() -> None:
    record = Record(policy_inputs=PolicyInputs(systemic_risk=False).to_json())
    with pytest.raises(UsageProblem, match="--no-systemic-risk contradicts"):
        check.check_record(record, "here", PolicyOptions("2e25"))


def test_a_record_whose_inputs_no_ftprof_wrote_is_not_trusted() -> None:
    with pytest.raises(UntrustedInput, match="record here"):
        check.check_record(Record(policy_inputs={"gpai": True}), "record here", PolicyOptions())


def test_an_incomplete_record_says_why() -> None:
    record = Record(Interval(5, 7, None), "sampled", False, {}, ("a device was not counted", "killed"))
    answer = check.check_record(record, "here", PolicyOptions())
    assert answer.deciding.verdict == "undetermined"
    assert answer.to_json()["high"] is None
    assert answer.to_json()["complete"] is False
    text = answer.to_text()
    assert "Incomplete  a device was not counted; killed" in text
    assert "Interval    from 5 FLOP to unbounded" in text


def test_a_record_with_nothing_counted_is_undetermined() -> None:
    record = Record(NOTHING_COUNTED, "analytic", False, reasons=("no torch",))
    answer = check.check_record(record, "here", PolicyOptions())
    assert answer.deciding.verdict == "undetermined"
    assert answer.to_json()["flops"] is None
    assert "Compute     nothing counted, method analytic" in answer.to_text()
    assert "Nothing was counted: no torch." in answer.to_text().replace("\n            ", " ")


def _saved(path: Path, reason: str) -> Path:
    inputs = PolicyInputs(Fraction(10**24), Fraction(10**24), "the table").to_json()
    record = SavedRecord("analytic", NOTHING_COUNTED, False, (reason,), (), (), {}, {}, policy_inputs=inputs)
    save_record(record, path, overwrite=True)
    return path


def test_a_record_file_is_judged(cli: Cli, tmp_path: Path) -> None:
    path = _saved(tmp_path / "record.json", "no process imported torch")
    run = cli(str(path), "--json")
    assert run.code == 5
    answer = run.json()
    assert [answer[key] for key in ("flops", "low", "high", "complete")] == [None, "0", None, False]
    assert answer["verdicts"][0]["threshold_flops"] == "300000000000000000000000"
    overridden = cli(str(path), "--pretrain-flops", "2e24")
    assert overridden.code == 5
    assert "In place of the record's own policy inputs" in overridden.out


def test_what_a_record_says_cannot_steer_a_terminal(cli: Cli, tmp_path: Path) -> None:
    path = _saved(tmp_path / "record.json", "\x1b[2Jnothing\x07 \ud800")
    run = cli(str(path))
    assert run.code == 5
    assert "?[2Jnothing? ?" in run.out
    assert json.loads(cli(str(path), "--json").out)["complete"] is False


def test_a_record_that_cannot_be_read_or_trusted_is_code_1(cli: Cli, tmp_path: Path) -> None:
    path = _saved(tmp_path / "record.json", "no process imported torch")
    damaged = tmp_path / "damaged.json"
    damaged.write_bytes(path.read_bytes().replace(b"1000000000000000000000000", b"9000000000000000000000000"))
    torn = tmp_path / "torn.json"
    torn.write_bytes(path.read_bytes()[:100])
    for unreadable in (damaged, torn, tmp_path / "missing.json", tmp_path):
        run = cli(str(unreadable))
        assert (run.code, run.out) == (1, "")
        assert run.err.count("\n") == 1
        assert str(unreadable) in run.err


def test_an_unknown_policy_ends_with_the_code_that_the_command_chooses() -> None:
    with pytest.raises(FtprofError) as raised:
        read_policy_options(PolicyOptions(policies=("eu",)), unknown_policy_exit=125)
    assert raised.value.exit_code == 125


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (Fraction(0), "0 % of it"),
        (Fraction(1), "100 % of it"),
        (Fraction(1001, 1000), "just over 100 % of it"),
        (Fraction(999, 1000), "just under 100 % of it"),
        (Fraction(103, 100), "103 % of it"),
        (Fraction(91, 1000), "9.1 % of it"),
        (Fraction(12, 10000), "0.12 % of it"),
        (Fraction(1, 10000), f"1.0{TIMES}10^-4 of it"),
        (Fraction(500), f"5.0{TIMES}10^2 times it"),
    ],
)
def test_shares_of_the_threshold(ratio: Fraction, expected: str) -> None:
    assert share_text(ratio, "it") == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@property_given(st.text(), st.text(), st.text())
def test_no_argument_gives_a_traceback(cli: Cli, flops: str, error: str, base_model: str) -> None:
    run = cli(f"--flops={flops}", f"--error={error}", f"--base-model={base_model}")
    assert run.code in {0, 2, 3, 4, 5}
    if run.code == 2:
        assert run.out == ""
        assert run.err.count("\n") == 1


def test_the_process_ends_with_the_verdict_and_nothing_on_stderr() -> None:
    done = _process("--flops", "1e23", "--json")
    assert (done.returncode, done.stderr) == (3, b"")
    assert TIMES in json.loads(done.stdout)["verdicts"][0]["why"]


def test_a_terminal_without_the_sign_gets_ascii() -> None:
    done = _process("--flops", "3.31e22", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (3, b"")
    assert b"3.3x10^22 FLOP" in done.stdout
    done = _process("--flops", "1e23", "--json", PYTHONIOENCODING="ascii")
    assert TIMES in json.loads(done.stdout)["verdicts"][0]["why"]


def test_a_reader_that_has_gone_changes_neither_code_nor_stderr() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "ftprof", "check", "--flops", "3.31e22"],
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (3, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this machine")
def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ftprof", "check", "--flops", "1"],
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"ftprof: the answer cannot be written to stdout")
    assert done.stderr.count(b"\n") == 1


def test_help_imports_no_policy_but_the_options_of_one() -> None:
    probe = (
        "import sys\nfrom ftprof.cli import main\ntry:\n    main(['check', '--help'])\nexcept SystemExit:\n    pass\n"
        "options = ('ftprof.policy', 'ftprof.policy.choice', 'ftprof.policy.base_compute')\n"
        "heavy = ('ftprof.policy', 'ftprof.report', 'ftprof.record', 'ftprof._native', 'torch', 'pynvml')\n"
        "print([name for name in sys.modules if name.startswith(heavy) and name not in options])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == b"[]"
    for option in (b"--flops", b"--error", b"--pretrain-flops", b"--base-model", b"--no-gpai", b"--policy", b"--json"):
        assert option in done.stdout


def test_the_note_on_base_and_modification_is_by_the_figure_that_the_policy_compares(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Generation outside the run is in the guidelines-basis figure, and lifts the sum over 10^23."""
    notes = []
    for options in ([], ["--generated-flops", "1e22"]):
        with pytest.raises(SystemExit):
            main(["check", "--flops", "1e20", "--pretrain-flops", "9.9e22", "--policy", "ec-2025", *options])
        notes.append(sum(line.startswith("Note:") for line in capsys.readouterr().out.splitlines()))
    assert notes[1] == notes[0] + 1
