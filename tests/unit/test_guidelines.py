"""The guidelines-basis figure: deductions and additions, exact or with an error, and what the verdict says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import check, gpm
from test_counters_journal import BASE_ONLY, context, counters_journal, counts, device_window, end, run_journal

from ftprof.cli import main
from ftprof.policy.amount import Amount
from ftprof.policy.claims import Claims
from ftprof.policy.guidelines import figures_of, guidelines_basis
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.policy import load_policy
from ftprof.policy.verdict import judge
from ftprof.record import schemas
from ftprof.record.canonical import FIRST_HASH, canonical, chained_hash
from ftprof.record.interval import Interval
from ftprof.record.merge import merge_journals, merge_records
from ftprof.record.phase_amounts import PhaseAmount, phase_amounts
from ftprof.record.record import load_record, save_record

COUNTS = st.integers(0, 10**26)


def exact(phase: str, flops: int) -> PhaseAmount:
    return PhaseAmount(phase, flops, flops, flops, True)


def amount(low: int, value: int | None, high: int | None, method: str = "analytic") -> Amount:
    return Amount.measured(Interval(low, value, high), method)


def ends(basis: Any) -> tuple[Any, Any, Any]:
    return basis.amount.low, basis.amount.value, basis.amount.high


def test_recomputation_and_evaluation_are_deducted_by_default() -> None:
    phases = [exact("recompute", 30), exact("evaluate", 5), exact("auxiliary", 7), exact("generate", 11)]
    basis = guidelines_basis(amount(100, 100, 100), phases, Claims())
    assert ends(basis) == (65, 65, 65)
    assert [(p.name, p.sign, p.claimed, p.basis) for p in basis.parts] == [
        ("recompute", -1, True, "measured"),
        ("evaluate", -1, True, "measured"),
        ("auxiliary", -1, False, "measured"),
        ("generate", -1, False, "measured"),
    ]
    assert all("Annex A.1, paragraph" in part.source for part in basis.parts)


@pytest.mark.parametrize(
    ("claims", "figure"),
    [
        (Claims(()), 100),
        (Claims(("recompute",)), 70),
        (Claims(("recompute", "evaluate", "auxiliary")), 58),
        (Claims(public_generation=True), 54),
        (Claims(generated_flops=Fraction(1, 3)), 65 + Fraction(1, 3)),
    ],
)
def test_what_is_claimed_and_declared(claims: Claims, figure: Fraction) -> None:
    phases = [exact("recompute", 30), exact("evaluate", 5), exact("auxiliary", 7), exact("generate", 11)]
    assert ends(guidelines_basis(amount(100, 100, 100), phases, claims)) == (figure, figure, figure)


def test_an_open_interval_stays_open_and_an_upper_bound_has_no_deductions() -> None:
    assert ends(guidelines_basis(amount(100, 100, None), [exact("recompute", 30)], Claims())) == (70, 70, None)
    assert ends(guidelines_basis(amount(0, None, None), [], Claims(generated_flops=Fraction(9)))) == (9, None, None)
    bound = guidelines_basis(amount(0, 100, 100, "peak-bound"), [exact("recompute", 30)], Claims())
    assert (ends(bound), bound.parts) == ((0, 100, 100), ())


@given(st.lists(COUNTS, min_size=3, max_size=3), st.sampled_from(["recompute", "evaluate"]), COUNTS, COUNTS)
def test_the_figure_lies_in_its_interval_and_never_below_nothing(
    figures: list[int], phase: str, part: int, generated: int
) -> None:
    executed = amount(*sorted(figures))
    low, flops, high = sorted((part // 2, part, part * 2))
    claims = Claims(generated_flops=Fraction(generated))
    basis = guidelines_basis(executed, [PhaseAmount(phase, low, flops, high, False)], claims)
    least, value, most = ends(basis)
    assert 0 <= least <= value <= most
    assert value == max(executed.value - part, 0) + generated  # type: ignore[operator]


def test_the_verdict_says_where_only_one_figure_crosses_the_threshold() -> None:
    threshold = 10**23 // 3
    executed, basis = amount(threshold * 2, threshold * 2, threshold * 2), amount(threshold, threshold, threshold)
    ec = judge(load_policy("ec-2025"), PolicyInputs(), executed, basis)
    assert (ec.verdict, ec.flops_compared) == ("below", "guidelines-basis")
    assert "Only one of the two figures gives that: by the executed one, " in ec.why
    assert ec.why.endswith("the verdict would be above.")
    aws = judge(load_policy("aws-2026"), PolicyInputs(), executed, basis)
    assert (aws.verdict, aws.flops_compared) == ("above", "executed")
    assert "within-margin" not in aws.why
    agreed = judge(load_policy("ec-2025"), PolicyInputs(), basis, amount(1, 1, 1))
    assert "Only one" not in agreed.why


# ---------------------------------------------------------------- counters


def operators(folder: Path, *rows: tuple[str, int], partial: bool = True, time_us: int = 1000, pid: int = 7) -> None:
    """A journal of the hook beside one of counters, with these operations by phase."""
    header = {
        "schema": "ftprof.journal/1", "run": "id", "role": "process", "method": "analytic", "host": "h",
        "boot": "b" * 36,
        "pid": pid, "start_ticks": 11, "parent_pid": 1, "time_us": time_us, "rank": None, "unwatched": [],
        "software": {"python": "3.11", **({"operators": "counted from the first phase on"} if partial else {})},
        "devices": [{"device": "cpu", "name": ""}],
    }  # fmt: skip
    counted = [
        {"operator": "aten.mm", "precision": "bf16", "device": "cuda:0", "calls": "1", "flops": str(flops)}
        | ({} if phase == "train" else {"phase": phase})
        for phase, flops in rows
    ]
    window = {
        "method": "analytic",
        "begin_us": time_us,
        "end_us": time_us + 4000,
        "devices": [],
        "counts": counted,
        "uncounted": [],
    }
    lines = [("header", header), ("window", window), ("end", {"reason": "exit", "time_us": time_us + 4000})]
    previous, text = FIRST_HASH, b""
    for kind, content in lines:
        line: dict[str, Any] = {"kind": kind, "previous": previous, **content}
        line["hash"] = previous = chained_hash(line)
        jsonschema.validate(line, json.loads(schemas.JOURNAL.read_text()))
        text += canonical(line) + b"\n"
    (folder / f"h-operators-{pid}.journal").write_bytes(text)


def test_a_phase_s_share_of_the_operators_is_applied_to_counters_as_an_estimate(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_journal(folder, device_window())
    counters_journal(folder, context(), counts(1000, 1000, 5000), end(5000))
    operators(folder, ("train", 600), ("recompute", 200))
    record = merge_journals(folder)
    assert record.interval.value == 1000
    assert record.by_phase == {"train": 1000}  # counters cannot tell
    # The process began at 0 and its operators at 1 of 5 ms, within one step of the record's time line.
    assert phase_amounts(record) == (PhaseAmount("recompute", 0, 200, 325, False),)
    executed, basis = figures_of(record, Claims())
    assert (executed.value, basis.amount.value, basis.amount.high) == (1000, 800, executed.high)
    (analytic,) = (row for row in record.to_json()["comparisons"] if row["method"] == "analytic")
    assert (analytic["ratio"], analytic["agrees"]) == (None, None)
    assert "from the first phase on only" in analytic["says"]


def test_a_share_is_taken_of_what_came_after_the_first_phase_only(tmp_path: Path) -> None:
    """An evaluation at the end of a run without checkpointing: nothing is deducted from the training before it."""
    folder, second = tmp_path / "run", 1_000_000
    run_journal(folder, device_window())
    windows = [counts(1000, n * second, (n + 1) * second) for n in range(60)]
    counters_journal(folder, context(), *windows, end(60 * second))
    operators(folder, ("evaluate", 10), time_us=57 * second)
    (part,) = phase_amounts(merge_journals(folder))
    assert part.phase == "evaluate"
    assert abs(part.flops - 3000) <= 1
    assert 0.7 * 1900 < part.low < 0.7 * 3001
    assert 1.3 * 2999 < part.high < 1.3 * 4200


def test_a_process_without_phases_has_no_part_in_another_one_s(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_journal(folder, device_window())
    counters_journal(folder, context(), counts(1000, 1000, 5000), end(5000), time_us=1000)
    counters_journal(folder, context(), counts(9000, 1000, 5000), end(5000), pid=8, time_us=1000)
    operators(folder, ("train", 50), ("evaluate", 50))
    record = merge_journals(folder)
    assert record.interval.value == 10_000
    assert phase_amounts(record) == (PhaseAmount("evaluate", 350, 500, 650, False),)


def test_a_phase_of_one_process_is_no_share_of_another_one_s_work(tmp_path: Path) -> None:
    """Both ran operators: a worker without a GPU, or a second run that is merged, may have done all the evaluation."""
    folder = tmp_path / "run"
    run_journal(folder, device_window())
    counters_journal(folder, context(), counts(9000, 1000, 5000), end(5000), time_us=1000)
    counters_journal(folder, context(), counts(1000, 1000, 5000), end(5000), pid=8, time_us=1000)
    operators(folder, ("train", 10), partial=False)
    operators(folder, ("train", 50), ("evaluate", 50), partial=False, pid=8)
    operators(folder, ("evaluate", 90_000), partial=False, pid=9)
    record = merge_journals(folder)
    assert record.interval.value == 10_000
    assert phase_amounts(record) == (PhaseAmount("evaluate", 350, 500, 650, False),)
    save_record(record, tmp_path / "record.json", overwrite=False)
    assert phase_amounts(load_record(tmp_path / "record.json")) == phase_amounts(record)


def test_what_another_process_did_meanwhile_is_no_part_of_a_share(tmp_path: Path) -> None:
    """One evaluates for the last tenth of its time, in which another one does most of the run's work."""
    folder, second = tmp_path / "run", 1_000_000
    run_journal(folder, device_window())
    even = [counts(10, n * second, (n + 1) * second) for n in range(100)]
    late = [counts(100, n * second, (n + 1) * second) for n in range(90, 100)]
    counters_journal(folder, context(), *even, end(100 * second))
    counters_journal(folder, context(), *late, end(100 * second), pid=8)
    operators(folder, ("evaluate", 10), time_us=90 * second)
    (part,) = phase_amounts(merge_journals(folder))
    assert abs(part.flops - 100) <= 10
    assert part.low <= 100 <= part.high <= 1.3 * 120


def test_blocks_of_one_process_have_each_their_own_shares(tmp_path: Path) -> None:
    """One evaluates all the time, the next one trains, and evaluates a little at its end; in any order."""
    second = 1_000_000
    records = []
    for block, (flops, phases, since) in enumerate(
        ((10, (("evaluate", 10),), 0), (1000, (("train", 90), ("evaluate", 10)), 10), (1000, (("train", 10),), 0))
    ):
        folder, begin = tmp_path / str(block), block * 100 * second
        run_journal(folder, device_window())
        windows = [counts(flops, begin + n * second, begin + (n + 1) * second) for n in range(20)]
        counters_journal(folder, context(begin_us=begin), *windows, end(begin + 20 * second), time_us=begin)
        operators(folder, *phases, time_us=begin + since * second, partial=since > 0)
        records.append((str(block), merge_journals(folder)))
    (all_of_it,), (at_its_end,), nothing = (phase_amounts(record) for _, record in records)
    assert (all_of_it.flops, nothing) == (200, ())
    assert abs(at_its_end.flops - 1000) <= 10
    for several in permutations(records):
        (whole,) = phase_amounts(merge_records(several))
        assert whole.flops == 200 + at_its_end.flops
        assert abs(whole.low - all_of_it.low - at_its_end.low) <= 1
        assert abs(whole.high - all_of_it.high - at_its_end.high) <= 1


def test_operators_of_a_part_of_the_time_deduct_nothing_from_activity() -> None:
    """The activity is that of the whole run; what came before the first phase is not known."""
    phases = {"train": "50", "evaluate": "50"}
    for partial, parts in ((True, 0), (False, 1)):
        row = check("analytic", 100, 100, None, by_phase=phases, partial=partial)
        record = replace(gpm(), cross_checks=(row,))
        assert len(phase_amounts(record)) == parts
    assert phase_amounts(replace(gpm(), cross_checks=(row, row))) == (), "of two runs, whose activity is one sum"


def test_operators_that_were_all_counted_are_compared(tmp_path: Path) -> None:
    for flops, agrees, says in ((1000, True, None), (800, False, "pads a tile"), (1300, False, "causal mask")):
        folder = tmp_path / str(flops)
        run_journal(folder)
        counters_journal(folder, context(groups=BASE_ONLY), counts(1000, 1000, 5000), end(5000))
        operators(folder, ("train", flops), partial=False)
        record = merge_journals(folder)
        (row,) = record.to_json()["comparisons"]
        assert row["agrees"] is agrees
        assert row["ratio"] == {1000: "1.0e0", 800: "8.0e-1", 1300: "1.3e0"}[flops]
        assert (says or "") in (row["says"] or "")


def test_claims_on_the_command_line_override_the_record_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, path = tmp_path / "run", tmp_path / "record.json"
    run_journal(folder)
    operators(folder, ("train", 600), ("recompute", 200), ("auxiliary", 100), partial=False)
    with pytest.raises(SystemExit) as ended:
        main(["merge", str(folder), "-o", str(path)])
    assert ended.value.code == 0
    assert "guidelines    7.0\N{MULTIPLICATION SIGN}10^2 FLOP: less recompute (measured)" in capsys.readouterr().out
    saved = load_record(path)
    assert saved.guidelines is not None
    assert (saved.guidelines["flops"], [part["name"] for part in saved.guidelines["parts"]]) == (
        "700",
        ["recompute", "auxiliary"],
    )
    save_record(saved, path, overwrite=True)
    for options, figure in (
        ((), "700"),
        (("--deduct", "auxiliary"), "600"),
        (("--no-deduct", "recompute"), "900"),
        (("--generated-flops", "1e3"), "1700"),
    ):
        with pytest.raises(SystemExit):
            main(["check", str(path), "--json", *options])
        answer = json.loads(capsys.readouterr().out)
        assert answer["guidelines_basis"]["flops"] == figure
        assert any("In place of the record's own" in note for note in answer.get("notes", ())) is bool(options)
    with pytest.raises(SystemExit) as ended:
        main(["check", str(path), "--deduct", "recompute", "--no-deduct", "recompute"])
    assert ended.value.code == 2
    assert "contradicts" in capsys.readouterr().err


def test_gpus_of_every_node_are_in_the_record_each_once(tmp_path: Path) -> None:
    """D7 of the AWS meter's weaknesses: it keeps the first rank's node alone."""
    folder = tmp_path / "run"
    _, line = device_window(1000, 3000)
    for pid, uuid, host in ((1, "GPU-1", "a"), (2, "GPU-2", "b"), (3, "GPU-2", "b")):
        window = {**line, "device": {**line["device"], "uuid": uuid}, "energy_mj": "70"}
        run_journal(folder, ("device-window", window), pid=pid, host=host, method="peak-bound")
    record = merge_journals(folder)
    assert {(run.host, run.exit_code) for run in record.runs} == {("a", 0), ("b", 0)}
    assert [(use.uuid, use.time_us, use.energy_mj) for use in record.devices] == [
        ("GPU-1", 2000, 70),
        ("GPU-2", 2000, 70),
    ]
    assert record.interval.high == 2 * int(line["high"])
