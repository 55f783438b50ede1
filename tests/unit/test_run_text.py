"""What a person reads of a run."""

from __future__ import annotations

import shlex
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from test_record import process, record

from ftprof.policy.choice import PolicyOptions, read_policy_options
from ftprof.policy.derivation import GPU_HOURS, PUBLISHED, REGULATORS_EXAMPLE, SIX_PD
from ftprof.policy.guidelines import figures_of
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.verdict import Verdict
from ftprof.quantity import TIMES
from ftprof.record.interval import NOTHING_COUNTED, Interval
from ftprof.record.journal import Cell, UncountedWork
from ftprof.record.record import RunInfo
from ftprof.report.run_text import closing_block, report_text, uncounted_text

WHERE = Path("record.json")


def verdict(policy: str, outcome: str = "below") -> Verdict:
    return Verdict(policy, "default", 2, Fraction(10**23, 3), "executed", Fraction(1, 10), outcome, "why", "source")  # type: ignore[arg-type]


def test_the_next_command_is_one_for_a_shell() -> None:
    where = Path("my runs/it's.json")
    command = closing_block(record(), [], where)[-1].split(maxsplit=1)[1]
    assert shlex.split(command) == ["ftprof", "report", str(where)]


def test_a_line_that_is_too_long_keeps_the_scenarios_number() -> None:
    long = replace(verdict("ec-2025", "undetermined"), scenario="not-a-name-that-fits-into-the-line", scenario_number=3)
    (line,) = [line for line in closing_block(record(), [long], WHERE) if "ec-2025" in line]
    assert line.endswith(" (scenario 3)")
    assert len(line) < 80


def test_a_command_is_shown_as_a_shell_would_take_it() -> None:
    words = ("bash", "-c", "python x.py\n  on host, exit code 0", "tr\u00e4in.py", "\u202e", "x" * 5000)
    run = RunInfo("id", words, "host", 1, 2, 0, "0.1.0")
    (line,) = [line for line in report_text(record(runs=(run,)), []).splitlines() if line.startswith("Command: ")]
    assert line.startswith("Command: bash -c 'python x.py   on host, exit code 0' 'tr\u00e4in.py' '\ufffd' xxx")
    assert line.endswith(" ... (in full in the record)")
    assert len(line) < 1100


def test_who_stated_the_base_models_compute_is_shown() -> None:
    inputs = read_policy_options(PolicyOptions(), environment={"PRETRAIN_FLOPS": "1e26"}).inputs
    block = closing_block(record(policy_inputs=inputs.to_json()), [verdict("a")], WHERE)
    (line,) = [line for line in block if "base model" in line]
    assert line == f"  base model    1.0{TIMES}10^26 FLOP (the environment variable PRETRAIN_FLOPS)"


def test_work_that_was_interrupted_is_said_to_be() -> None:
    text = uncounted_text(record(uncounted={UncountedWork("interrupted", "aten.mm", "matmul"): 1}))
    assert text.startswith("aten.mm (interrupted: whether it ran is not known): so the total has no upper end")


def test_shares_of_nothing_are_no_error() -> None:
    empty = record(interval=NOTHING_COUNTED, counts={Cell("aten.mm", "fp32", "cpu"): (1, 0)})
    assert "fp32  0  0 %" in report_text(empty, [])


def test_the_closing_block_has_at_most_fifteen_lines_whatever_there_is_to_say() -> None:
    apart = PolicyInputs(Fraction(10**22), Fraction(10**24), pretrain_low_kind=PUBLISHED, pretrain_high_kind=GPU_HOURS)
    crowded = record(
        policy_inputs=apart.to_json(),
        complete=False,
        interval=Interval(300, 300, None),
        reasons=tuple(f"reason {number}" for number in range(50)),
        uncounted={UncountedWork("triton", f"kernel {number}", "unknown"): 1 for number in range(50)},
        counts={Cell(f"op{number}", f"p{number}", "cpu"): (1, 6) for number in range(50)},
        processes=tuple(process(number, 6) for number in range(50)),
        runs=(RunInfo("id", ("python", "x.py"), "host", 1, 2, 3, "0.1.0"),),
    )
    verdicts = [verdict("a", "above"), verdict("b"), verdict("c", "undetermined"), verdict("d")]
    block = closing_block(crowded, verdicts, WHERE, "/bin/ftprof", Path("record.run"))
    assert len(block) <= 15
    assert "interval [300, no upper end]" in block[0]
    assert any("The policies differ" in line for line in block)
    assert any("reason 0 (and 49 more)" in line for line in block)
    assert any("kernel 0, kernel 1, kernel 10, ...: so the" in line for line in block)
    assert any("command       exit code 3: this is what ran until then" in line for line in block)
    assert all(len(line) < 80 for line in block)
    assert block[-1] == "  next          /bin/ftprof report record.json"


def test_the_closing_block_has_at_most_fifteen_lines_with_every_kind_of_line() -> None:
    apart = PolicyInputs(Fraction(10**22), Fraction(10**24), pretrain_low_kind=PUBLISHED, pretrain_high_kind=GPU_HOURS)
    figure = 3 * 10**30
    crowded = record(
        policy_inputs=apart.to_json(),
        complete=False,
        interval=Interval(figure, figure, None),
        reasons=("reason 0", "reason 1"),
        counts={Cell("op", "p", "cpu", phase): (1, figure // 2) for phase in ("train", "evaluate")},
        runs=(RunInfo("id", ("python", "x.py"), "host", 1, 2, 3, "0.1.0"),),
    )
    crowded = crowded.judged(apart.to_json(), (), figures_of(crowded, apart.claims)[1].to_json())
    block = closing_block(
        crowded, [verdict("a", "above"), verdict("b"), verdict("c", "undetermined")], WHERE, journals=WHERE
    )
    assert len(block) <= 15, "\n".join(block)
    for label in ("guidelines", "base model", "command", "incomplete", "not counted", "record", "next"):
        assert any(line.startswith(f"  {label}") for line in block), label


def test_two_derivations_of_the_base_compute_are_both_shown_with_how_far_they_are_apart() -> None:
    def lines(low: str, high: str, *kinds: str | None) -> list[str]:
        inputs = PolicyInputs(Fraction(low), Fraction(high), pretrain_low_kind=kinds[0], pretrain_high_kind=kinds[1])
        block = closing_block(replace(record(), policy_inputs=inputs.to_json()), [verdict("a")], WHERE)
        return [line for line in block if "base model" in line]

    (far,) = lines("6.64e22", "6.5e23", SIX_PD, REGULATORS_EXAMPLE)
    assert far == f"  base model    6.6{TIMES}10^22 (6PD) or 6.5{TIMES}10^23 (Annex A.3), 9.8 times apart"
    (longest,) = lines("6.64e22", "6.5e24", PUBLISHED, PUBLISHED)
    assert longest.endswith(", 98 times apart")
    assert len(longest) < 80
    assert lines("3.29e24", "3.408e24", SIX_PD, PUBLISHED) == [
        f"  base model    3.3{TIMES}10^24 (6PD) or 3.4{TIMES}10^24 (published)"
    ]
    assert lines("1e24", "2e24", None, None) == [f"  base model    1.0{TIMES}10^24 or 2.0{TIMES}10^24, 2.0 times apart"]
    assert lines("1e24", "1e24", SIX_PD, SIX_PD) == []


def test_of_more_than_two_derivations_the_ends_are_shown() -> None:
    inputs = read_policy_options(PolicyOptions(base_model="Llama-3-70B"), environment={}).inputs
    assert len(inputs.base_figures()) == 3
    block = closing_block(replace(record(), policy_inputs=inputs.to_json()), [verdict("a")], WHERE)
    (line,) = [line for line in block if "base model" in line]
    assert line == f"  base model    6.3{TIMES}10^24 (6PD) to 1.1{TIMES}10^25 (hardware), 1.8 times apart"
    assert len(line) < 80


def test_nothing_counted_is_said_first() -> None:
    nothing = record(interval=NOTHING_COUNTED, counts={}, processes=(), reasons=("nothing was counted: no process",))
    block = closing_block(nothing, [replace(verdict("a", "undetermined"), ratio=None)], WHERE)
    assert block[0] == "ftprof: nothing was counted"
    assert "  why           nothing was counted: no process" in block
    assert not any("method" in line or "coverage" in line for line in block)


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ({"bf16": 1, "fp32": 1}, "bf16 50 %, fp32 50 %"),
        ({"bf16": 2, "fp32": 1}, "bf16 66.7 %, fp32 33.3 %"),
        ({"bf16": 10**9, "fp32": 1}, "bf16 100 %, fp32 <0.1 %"),
    ],
)
def test_shares_by_precision(shares: dict[str, int], text: str) -> None:
    counts = {Cell("op", precision, "cpu"): (1, flops) for precision, flops in shares.items()}
    assert text in closing_block(record(counts=counts), [], WHERE)[1]


def test_what_was_not_counted_is_never_silent() -> None:
    assert uncounted_text(record(uncounted={}, unwatched=())) == "nothing that was seen"
    assert uncounted_text(record()) == "no formula: 1 operator (4 calls), 1 operator (calls not known)"


def test_the_report_names_ranks_commands_and_operators() -> None:
    ranked = replace(process(1, 300), rank={"rank": 3, "world_size": 8})
    text = report_text(record(processes=(ranked,)), ["the verdict"])
    for part in ("the verdict", "(rank 3 of 8): 300 FLOPs", "Command: python x.py", "aten.bmm  200  66.7 %",
                 "aten::sum (operator): 4 calls", "1 operator whose calls are not known"):  # fmt: skip
        assert part in text, part
