"""On a GPU: what ftprof wrap counts is what was executed."""

from __future__ import annotations

from collections import defaultdict

import pytest
from gpu_checks import place
from gpu_checks.gpu import size
from gpu_checks.kernels import KERNELS
from gpu_checks.stages.training import alone
from gpu_checks.tiny import BLOCKS, ROUNDS
from gpu_checks.wrapped import Counters, Wrapped, bare, program, wrap

EACH = KERNELS["bf16"].count(BLOCKS, ROUNDS)
PRECISIONS = ("bf16", "fp16", "tf32", "fp8", "fp64")


def floating(context: Counters, counts: dict[str, int]) -> dict[str, int]:
    return {metric: count for metric, count in counts.items() if context.kinds[metric] == "floating"}


def assert_interval_holds(run: Wrapped, truth: int) -> None:
    record = run.record
    assert record is not None
    assert sum(int(row["low"]) for row in record["precisions"] if row["kind"] == "floating") <= truth
    assert record["high"] is None or truth <= int(record["high"])


def test_a_launch_alone_in_a_window_counts_exactly() -> None:
    run = wrap(program("tiny", "--wait", "--seconds", 0, "--alone", 15))
    assert run.code == 0, run.err
    context, seen = run.contexts[0], 0
    for began, ended in run.result["singles"]:
        window = context.around(began, ended)
        if window is not None and window.role == "base":
            counts = floating(context, dict(window.counts))
            assert counts.pop(KERNELS["bf16"].metric) == EACH
            assert set(counts.values()) == {0}
            seen += 1
    assert seen >= (1 if place.rehearsal() else 5)


def test_integer_work_counts_nothing() -> None:
    run = wrap(program("tiny", "--kernel", "integer", "--wait", "--seconds", place.seconds(3)))
    assert run.code == 0, run.err
    assert run.result["launched"] > 0
    for window in run.contexts[0].windows:
        assert set(floating(run.contexts[0], dict(window.counts)).values()) <= {0}
    assert run.floating() == 0
    assert_interval_holds(run, 0)


def test_the_total_of_a_program() -> None:
    run = wrap(program("tiny", "--wait", "--seconds", place.seconds(10)))
    truth = run.result["count"]
    assert run.code == 0, run.err
    assert_interval_holds(run, truth)
    assert run.floating() == pytest.approx(truth, rel=0.2 if place.rehearsal() else 0.02)
    assert run.record is not None
    assert run.record["complete"] is True, run.reasons()


@pytest.mark.torch
def test_products_of_every_precision() -> None:
    run = wrap(program("gemms", "--seconds", place.seconds(22), "--edge", size(1024)), timeout_s=150)
    assert run.code == 0, run.err
    assert run.result["counted"], run.reasons()
    context, operations = run.contexts[0], run.result["operations"]
    seen: dict[str, set[int]] = defaultdict(set)
    for began, ended in run.result["windows"]:
        window = context.around(began, ended)
        for metric, count in (window.counts if window else {}).items():
            if context.kinds[metric] in ("floating", "integer"):
                seen[metric].add(count)
    assert all(counts in ({0}, {operations}) for counts in seen.values()), dict(seen)
    found = {context.precisions[metric] for metric, counts in seen.items() if counts == {operations}}
    missed = {p for p in PRECISIONS if p not in {context.precisions[metric] for metric in seen}}
    assert set(PRECISIONS) - missed <= found, (found, dict(seen))
    assert "bf16" in found


@pytest.mark.torch
def test_the_total_of_a_training() -> None:
    training = program("train", "--shape", "large")
    # Of another run: around a step alone the program waits, and edges are taken to be as busy as what is beside them.
    singles = wrap([*training, "--seconds", "0", "--alone", "8"], timeout_s=150)
    each = alone(singles.contexts[0], singles.result["singles"])
    assert len(set(each)) == 1, each
    run = wrap([*training, "--seconds", str(place.seconds(15))], timeout_s=150)
    assert run.code == 0, run.err
    truth = each[0] * run.result["steps"]
    assert_interval_holds(run, truth)
    assert run.floating() == pytest.approx(truth, rel=0.5 if place.rehearsal() else 0.01)


@pytest.mark.torch
def test_a_block_around_steps_is_what_wrap_counts_of_them() -> None:
    """``ftprof.count()`` inside ``ftprof wrap`` and alone, against one step in a window of ``wrap``'s."""
    steps = place.rounds(50)
    training = program("train", "--shape", "large", "--seconds", place.seconds(3), "--in-block", steps)
    inside, outside = wrap([*training, "--alone", "20"], timeout_s=150), bare(training)
    each = alone(inside.contexts[0], inside.result["singles"])
    assert len(set(each)) == 1, each
    truth = each[0] * steps
    for run in (inside, outside):
        assert run.code == 0, run.err
        block = run.result["block"]
        assert block["method"] in ("counters", "sampled"), block["reasons"]
        assert block["complete"], block["reasons"]
        assert block["low"] <= truth <= (block["high"] or truth)
        assert block["flops"] == pytest.approx(truth, rel=0.5 if place.rehearsal() else 0.01)


@pytest.mark.torch
def test_a_graph_captured_while_windows_roll() -> None:
    run = wrap(program("graph", "--edge", size(1024), "--replays", place.rounds(10000)), timeout_s=150)
    assert run.code == 0, run.err
    assert_interval_holds(run, run.result["operations"])
    assert run.floating() == pytest.approx(run.result["operations"], rel=0.5 if place.rehearsal() else 0.05)
