"""The main job: a real LoRA fine-tune with the Hugging Face libraries, unchanged, wrapped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import EXAMPLE, REPOSITORY, Wrapped, clean_environment

from ftprof.policy.choice import PolicyOptions, judge_record, read_policy_options
from ftprof.record import schemas
from ftprof.record.record import load_record
from ftprof.report.run_text import closing_block

REFERENCE = Path(__file__).with_name("reference_count.py")
SMALL = ("--steps", "3", "--width", "64")
Run = Callable[..., Wrapped]


def reference(*command: str) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=900, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def by_operator(record: dict[str, Any]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row in record["counts"]:
        sums[row["operator"]] = sums.get(row["operator"], 0) + int(row["flops"])
    return sums


def assert_equal_to_the_operation(run: Wrapped, expected: dict[str, Any]) -> None:
    assert run.code == 0, run.err
    assert_record_equals(run.record, expected)


def assert_record_equals(record: dict[str, Any], expected: dict[str, Any]) -> None:
    assert by_operator(record) == {name: int(flops) for name, flops in expected["by_operator"].items()}
    assert record["flops"] == record["low"] == record["high"] == expected["total"]
    assert record["complete"] is True


def test_the_small_example_equals_flop_counter_mode(wrap: Run) -> None:
    run = wrap([sys.executable, str(EXAMPLE), *SMALL])
    assert_equal_to_the_operation(run, reference(sys.executable, str(REFERENCE), *SMALL))
    jsonschema.validate(run.record, json.loads(schemas.RECORD.read_text()))
    assert {verdict["verdict"] for verdict in run.record["verdicts"]} == {"below"}


@pytest.mark.slow
def test_two_torchrun_processes_are_the_sum_of_both(wrap: Run, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = wrap([*torchrun, str(EXAMPLE), *SMALL])
    out = tmp_path / "reference"
    command = [*torchrun, str(REFERENCE), "--out", str(out), *SMALL]
    subprocess.run(command, capture_output=True, env=clean_environment(), timeout=900, check=True)
    ranks = [json.loads((out / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    expected: dict[str, int] = {}
    for rank in ranks:
        for name, flops in rank["by_operator"].items():
            expected[name] = expected.get(name, 0) + int(flops)
    assert run.code == 0, run.err
    assert by_operator(run.record) == expected
    total = sum(int(rank["total"]) for rank in ranks)
    assert (run.flops, run.record["high"], run.record["complete"]) == (total, str(total), True)
    counting = [process for process in run.record["processes"] if process["flops"] != "0"]
    assert sorted(process["rank"]["rank"] for process in counting) == [0, 1]


@pytest.mark.slow
def test_the_whole_example_equals_flop_counter_mode(wrap: Run) -> None:
    """As the README's command runs it and prints it. Where that has just run it, its record is taken."""
    made = os.environ.get("FTPROF_EXAMPLE_RECORD")
    if made is None:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        run = wrap([sys.executable, str(EXAMPLE)], env=environment)
        assert run.code == 0, run.err
    path = run.path if made is None else Path(made)
    assert_record_equals(json.loads(path.read_text()), reference(sys.executable, str(REFERENCE)))
    shown = (REPOSITORY / "README.md").read_text().partition("<!-- output: example -->")[2].partition("```\n\n")[0]
    ours = [line for line in shown.splitlines() if line.startswith(("ftprof: ", "  "))]
    choice = read_policy_options(PolicyOptions(base_model="Llama-3.2-3B"), environment={})
    block = closing_block(*judge_record(load_record(path), choice), path)
    here = ("  devices", "  record", "  next")  # what differs from machine to machine
    assert [line for line in ours if not line.startswith(here)] == [line for line in block if not line.startswith(here)]


def test_the_example_knows_nothing_of_ftprof() -> None:
    assert "ftprof" not in EXAMPLE.read_text()
