"""The callback in real trainings of Lightning, by both of its packages' names, on the CPU."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from conftest import clean_environment

pytestmark = pytest.mark.slow
HERE = str(Path(__file__).parent)
PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from train_with_libraries import *
quiet()
import {package} as lightning
from ftprof.integrations.lightning import FtprofCallback
assert {other!r} not in sys.modules
found = {{}}

def train(folder, *others, resume=None, ok=True, **changes):
    callback = FtprofCallback(pretrain_flops="8.4e22")
    try:
        fit(lightning, Path(folder), [callback, *others], resume, **changes)
    except RuntimeError as error:
        found["the error"] = str(error)
    return told(callback.result)

class FailsAt(lightning.Callback):
    def __init__(self, step, how):
        self.step, self.how = step, how
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            self.how()

def fails():
    raise RuntimeError("a failure of the user's own")

def checkpoint(folder, step):
    return next(Path(folder, "checkpoints").glob(f"*step={{step}}.ckpt"))

EVALUATE = {{"limit_val_batches": 1.0}}
found["by torch"] = counted_by_torch(lambda: fit(lightning, Path("bare"), []))
found["by torch, evaluating"] = counted_by_torch(lambda: fit(lightning, Path("bare"), [], **EVALUATE))
found["whole"] = train("whole")
found["first"] = train("resumed", max_steps=4)
found["resumed"] = train("resumed", resume=checkpoint("resumed", 4))
found["whole, evaluating"] = train("whole-evaluating", **EVALUATE)
train("resumed-evaluating", max_steps=4, **EVALUATE)
found["resumed, evaluating"] = train("resumed-evaluating", resume=checkpoint("resumed-evaluating", 4), **EVALUATE)
found["failed"] = train("failed", FailsAt(7, fails))
found["after a failure"] = train("failed", resume=checkpoint("failed", 6))
found["exit code"] = in_child(lambda: train("killed", FailsAt(7, lambda: os.kill(os.getpid(), signal.SIGKILL))))
found["after a kill"] = train("killed", resume=checkpoint("killed", 6))
fit(lightning, Path("without"), [], max_steps=4)
found["without"] = train("without", resume=checkpoint("without", 4))
damaged = torch.load(checkpoint("whole", 4))
damaged["callbacks"]["FtprofCallback"]["record"]["flops"] = "1"
torch.save(damaged, "damaged.ckpt")
found["damaged"] = train("damaged", resume="damaged.ckpt")

callback = FtprofCallback()
trainer = fit(lightning, Path("twice"), [callback], max_epochs=1)
trainer.fit_loop.max_epochs = 2
trainer.fit(trainer.lightning_module, trainer.train_dataloader)
found["fit twice"] = told(callback.result)
Path("found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module", params=["lightning.pytorch", "pytorch_lightning"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("lightning")
    (other,) = {"lightning.pytorch", "pytorch_lightning"} - {request.param}
    program = folder / "program.py"
    program.write_text(textwrap.dedent(PROGRAM.format(package=request.param, other=other)))
    environment = clean_environment(PYTHONPATH=HERE)
    done = subprocess.run(
        [sys.executable, str(program)], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads((folder / "found.json").read_text())


def test_the_total_is_that_of_torchs_own_counter_resumed_or_not(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, found = trained
    # By hand: eight steps of two layers on two rows, three products each but for the first layer's input.
    assert found["by torch"] == 8 * 2 * 2 * (2 * 16 * 32 + 3 * 32 * 1)
    for name, runs in (("whole", 1), ("resumed", 2), ("fit twice", 2)):
        part = found[name]
        assert (part["flops"], part["high"], part["complete"]) == (found["by torch"], found["by torch"], True), name
        assert (len(part["runs"]), part["by_phase"]) == (runs, {"train": found["by torch"]})
    assert found["first"]["flops"] * 2 == found["by torch"]
    assert json.loads((folder / "resumed" / "ftprof.json").read_text())["flops"] == str(found["by torch"])


def test_validation_is_told_apart_and_carried(trained: tuple[Path, dict[str, Any]]) -> None:
    _, found = trained
    for name in ("whole, evaluating", "resumed, evaluating"):
        part = found[name]
        assert (part["flops"], part["complete"]) == (found["by torch, evaluating"], True), name
        assert part["by_phase"]["train"] == part["guidelines"] == found["by torch"]
        # Two validations of four batches, and a sanity check of one.
        assert part["by_phase"]["evaluate"] == 9 * 2 * 2 * (16 * 32 + 32)


def test_loggers_get_the_figures(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, found = trained
    (path,) = (folder / "whole").rglob("metrics.csv")
    with path.open() as file:
        logs = list(csv.DictReader(file))
    step = found["by torch"] // 8
    assert [int(float(log["ftprof/flops"])) for log in logs] == [step * number for number in range(1, 9)]
    assert all(float(log["ftprof/flops_per_second"]) > 0 for log in logs)
    assert 0 < float(logs[-1]["ftprof/threshold_share"]) == pytest.approx(found["whole"]["ratio"])


def test_what_was_thrown_away_is_counted_or_named(trained: tuple[Path, dict[str, Any]]) -> None:
    _, found = trained
    step = found["by torch"] // 8
    assert found["the error"] == "a failure of the user's own"
    assert (found["failed"]["flops"], found["failed"]["complete"]) == (7 * step, True)
    after = found["after a failure"]
    assert (after["flops"], after["complete"]) == (9 * step, True)
    assert f"{step} FLOP were executed after the checkpoint" in " ".join(after["reasons"])
    assert found["exit code"] == -9
    after = found["after a kill"]
    assert (after["flops"], after["complete"], after["high"]) == (8 * step, False, None)
    assert f"run {after['runs'][0]} was killed or is still running" in " ".join(after["reasons"])


@pytest.mark.parametrize("name", ["without", "damaged"])
def test_without_a_record_the_training_goes_on_and_says_so(trained: tuple[Path, dict[str, Any]], name: str) -> None:
    _, found = trained
    part = found[name]
    assert (part["flops"], part["complete"], part["high"]) == (found["by torch"] // 2, False, None)
    reasons = " ".join(part["reasons"])
    assert "from a checkpoint without a record, what was executed before is not in it" in reasons
    assert ("cannot be trusted" in reasons) == (name == "damaged")
