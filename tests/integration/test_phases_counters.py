"""Phases beside hardware counters, on the stand-ins for driver and CUPTI. It says nothing about hardware."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from counted_runs import SCRIPT, CountedRun
from cuda_standins import Standins
from injection_runs import PRELUDE, run

pytest.importorskip("torch", reason="phases are those of torch's operators")


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Iterator[Standins]:
    standins = Standins(folder, tmp_path)
    yield standins
    assert standins.violations() == []


def counted(standins: Standins, program: str) -> CountedRun:
    """A Python program with the hook in it, whose GPU is the stand-in and whose operators run on the CPU."""
    path = standins.work / "program.py"
    path.write_text(PRELUDE + 'ctypes.CDLL("libcupti.so.13")\n' + program)
    # In its environment the tests' Python has a real CUPTI, which must not step in for the stand-in.
    done = run(standins, SCRIPT, ["env", "FTPROF_CUPTI_ROOTS=", sys.executable, str(path)])
    assert done.code == 0, done.err
    return done


def test_without_phases_no_operator_is_counted(standins: Standins) -> None:
    done = counted(
        standins, "import torch\ninit(); retain(); work(0.3)\ntorch.mm(torch.ones(8, 8), torch.ones(8, 8))\n"
    )
    record = done.record
    assert record["complete"], record["reasons"]
    assert record["cross_checks"] == []
    assert [process["method"] for process in record["processes"]] == ["counters"]
    assert record["guidelines_basis"]["parts"] == []
    assert record["guidelines_basis"]["flops"] == record["flops"]


def test_from_the_first_phase_on_operators_give_each_phase_its_share(standins: Standins) -> None:
    program = """
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
init(); retain(); work(0.2)
layer = nn.Linear(16, 16)
def block(x):
    return torch.relu(layer(x))
x = torch.randn(4, 16, requires_grad=True)
for _ in range(200):
    out = checkpoint(block, x, use_reentrant=True)
    out.sum().backward()
work(0.2)
"""
    done = counted(standins, program)
    record = done.record
    assert record["complete"], record["reasons"]
    (check,) = record["cross_checks"]
    product = 2 * 4 * 16 * 16
    assert check["partial"] is True
    # The first forward ran before the first phase, which is when counting begins.
    assert check["by_phase"] == {"recompute": str(200 * product), "train": str((199 + 400) * product)}
    (part,) = record["guidelines_basis"]["parts"]
    assert (part["name"], part["basis"], part["claimed"]) == ("recompute", "estimated", True)
    total, share = int(record["flops"]), int(part["flops"])
    # Of what came after the first phase only: the first 0.2 s of work did not.
    assert 0 < share * 799 < total * 200
    assert int(part["low"]) < share < int(part["high"])
    assert int(record["guidelines_basis"]["flops"]) == total - share
    assert "operators were counted from the first phase on only" in record["comparisons"][0]["says"]
    assert int(record["low"]) <= done.truth()
