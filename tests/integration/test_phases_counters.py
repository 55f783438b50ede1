"""Phases beside hardware counters, on the stand-ins for driver and CUPTI. It says nothing about hardware."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from counted_runs import SCRIPT, CountedRun
from cuda_standins import Standins
from injection_runs import PRELUDE, run
from nvml_standin import Standin as Nvml
from nvml_standin import nvml_library, standin
from training_programs import TRAINER

from ftprof.record.record import COUNTER_METHODS

__all__ = ["nvml_library", "standin"]  # fixtures

pytest.importorskip("torch", reason="phases are those of torch's operators")


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Iterator[Standins]:
    standins = Standins(folder, tmp_path)
    yield standins
    assert standins.violations() == []


def counted(
    standins: Standins, program: str, *options: str, code: int = 0, arguments: Sequence[str] = (), **changes: str
) -> CountedRun:
    """A Python program with the hook in it, whose GPU is the stand-in and whose operators run on the CPU."""
    path = standins.work / "program.py"
    path.write_text(PRELUDE + 'ctypes.CDLL("libcupti.so.13")\n' + program)
    # In its environment the tests' Python has a real CUPTI, which must not step in for the stand-in.
    done = run(
        standins, SCRIPT, ["env", "FTPROF_CUPTI_ROOTS=", sys.executable, str(path), *arguments], *options, **changes
    )
    assert done.code == code, done.err
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


ONE = 2 * 8**3


def test_operators_beside_counters_are_a_second_figure_of_the_whole_run(standins: Standins) -> None:
    """Also where none is in a phase. That its operators run on the CPU makes the two differ here."""
    program = "import torch\ninit(); retain(); work(0.3)\na = torch.ones(8, 8)\nfor _ in range(3): torch.mm(a, a)\n"
    done = counted(standins, program, "--operators")
    record = done.record
    assert record["complete"], record["reasons"]
    (check,) = record["cross_checks"]
    assert (check["method"], check["flops"], check["high"], check["partial"]) == (
        "analytic",
        str(3 * ONE),
        str(3 * ONE),
        False,
    )
    (row,) = record["comparisons"]
    assert row["says"].startswith("The formulas give less than was executed")
    assert (row["agrees"], row["ratio"] is None) == (False, False)
    assert {process["method"] for process in record["processes"]} == {"counters", "analytic"}
    assert int(record["low"]) <= done.truth()


def test_where_counters_are_refused_from_the_start_operators_are_counted(standins: Standins, standin: Nvml) -> None:
    """On an A100, without GPM, with confidential computing."""
    uuid = SCRIPT["devices"][0]["uuid"]
    standin.gpu(0, uuid=uuid, gpm="0", capability="8.0", cores="6912").set(confidential="1")
    program = """
import torch
init(); retain(); work(0.5)
a = torch.ones(8, 8)
torch.mm(a, a)
"""
    record = counted(standins, program, **standin.beside(standins.folder)).record
    assert (record["method"], record["flops"]) == ("analytic", str(ONE))
    assert any("no hardware counters: " in reason for reason in record["reasons"])


@pytest.mark.slow
def test_all_four_methods_side_by_side_in_one_record(standins: Standins, standin: Nvml) -> None:
    """Counters have the word; activity, formulas and bound stand beside, each with its ratio and its sentence."""
    ids = standins.work / "ids"
    standin.gpu(0, uuid=SCRIPT["devices"][0]["uuid"], processes_file=str(ids), watts="700", gpm__5="40", gpm__7="40")
    program = f"""
import torch
open({str(ids)!r}, "w").write(str(os.getpid()))
init(); retain(); work(2.5)
a = torch.ones(8, 8)
torch.mm(a, a)
"""
    record = counted(standins, program, "--operators", **standin.beside(standins.folder)).record
    assert record["method"] in COUNTER_METHODS
    rows = {row["method"]: row for row in record["comparisons"]}
    assert set(rows) == {"analytic", "gpm", "peak-bound"}
    own = int(record["flops"])
    assert rows["analytic"]["flops"] == str(ONE)
    assert rows["gpm"]["flops"] is not None
    assert int(rows["peak-bound"]["high"]) > own
    for row in rows.values():
        of = int(row["flops"] if row["flops"] is not None else row["high"])
        assert float(row["ratio"]) == pytest.approx(of / own, rel=0.05)  # two figures
        assert row["says"] or row["agrees"]
    assert not rows["analytic"]["agrees"]
    assert rows["peak-bound"]["agrees"]
    (use,) = record["devices"]
    assert int(use["energy_mj"]) > 0


@pytest.mark.slow
def test_operators_beside_counters_of_a_killed_process_are_not_compared(standins: Standins) -> None:
    program = """
import torch
init(); retain(); work(0.3)
a = torch.ones(8, 8)
torch.mm(a, a); time.sleep(1.1); torch.mm(a, a)
os.kill(os.getpid(), signal.SIGKILL)
"""
    record = counted(standins, program, "--operators", code=137).record
    (check,) = record["cross_checks"]
    assert (check["flops"], check["high"], check["cut"]) == (str(2 * ONE), None, True)
    (row,) = record["comparisons"]
    assert (row["ratio"], row["agrees"]) == (None, None)
    assert "was killed" in row["says"]


def test_work_without_a_formula_is_named_beside_the_ratio(standins: Standins) -> None:
    program = (
        "import torch\ninit(); retain(); work(0.3)\na = torch.ones(8, 8) + torch.eye(8)\na @ a\ntorch.linalg.inv(a)\n"
    )
    (row,) = counted(standins, program, "--operators").record["comparisons"]
    assert (row["high"], row["agrees"]) == (None, False)
    named = row["says"].partition("Without a formula here: ")[2]
    assert "aten::linalg_inv_ex" in named.split(", ")


def test_a_count_with_operators_beside_counters(standins: Standins) -> None:
    """Also inside ``wrap`` by counters, whose own hook then counts for both."""
    program = """
import json, torch, ftprof
init(); context = retain(); work(0.1)
a = torch.ones(8, 8)
with ftprof.count(operators=True) as run:
    work(0.1)
    torch.mm(a, a)
    with ftprof.phase("evaluate"): torch.mm(a, a)
with ftprof.phase("evaluate"): torch.mm(a, a)
(check,) = run.record.cross_checks
print(json.dumps({"method": run.method, "complete": run.complete, "reasons": run.reasons, "check": check,
                  "parts": [part["name"] for part in run.record.guidelines["parts"]]}))
"""
    for options in ((), ("--operators",)):
        done = counted(standins, program, *options)
        told = json.loads(done.out)
        assert told["method"] in COUNTER_METHODS
        assert told["complete"], told["reasons"]
        assert (told["check"]["flops"], told["check"]["high"]) == (str(2 * ONE), str(2 * ONE))
        assert told["check"]["by_phase"] == {"evaluate": str(ONE), "train": str(ONE)}
        assert told["parts"] == ["evaluate"]
        (whole,) = done.record["cross_checks"]
        assert (whole["flops"], whole["partial"]) == (str(3 * ONE), not options)


@pytest.mark.parametrize("reentrant", [True, False])
def test_from_the_first_phase_on_operators_give_each_phase_its_share(standins: Standins, reentrant: bool) -> None:
    program = f"""
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
init(); retain(); work(0.2)
layer = nn.Linear(16, 16)
def block(x):
    return torch.relu(layer(x))
x = torch.randn(4, 16, requires_grad=True)
for _ in range(200):
    out = checkpoint(block, x, use_reentrant={reentrant})
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


@pytest.mark.slow
def test_the_trainers_own_phases_have_their_shares(standins: Standins) -> None:
    """Its evaluation and its checkpointing, neither of them marked by the program."""
    program = TRAINER.replace("trainer.train()", "init(); retain(); work(0.1)\ntrainer.train()\nwork(0.3)")
    record = counted(standins, program, arguments=("evaluate", "checkpoint")).record
    assert record["complete"], record["reasons"]
    (check,) = record["cross_checks"]
    assert set(check["by_phase"]) == {"evaluate", "recompute", "train"}
    parts = {part["name"]: part for part in record["guidelines_basis"]["parts"]}
    assert set(parts) == {"evaluate", "recompute"}
    assert all(part["basis"] == "estimated" and part["claimed"] for part in parts.values())
    operators = {phase: int(flops) for phase, flops in check["by_phase"].items()}
    evaluate, recompute = (int(parts[name]["flops"]) for name in ("evaluate", "recompute"))
    assert evaluate * operators["recompute"] == pytest.approx(recompute * operators["evaluate"], rel=1e-6)
    assert int(record["guidelines_basis"]["flops"]) == int(record["flops"]) - evaluate - recompute
