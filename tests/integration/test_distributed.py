"""What several ranks of gloo count, added up: records, sums, and the callback's totals, with the real libraries."""

from __future__ import annotations

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
MM = 2 * 64 * 32 * 16
RANKS = 4
PROLOGUE = """
import datetime, json, os, shutil, sys, time
from dataclasses import replace
from pathlib import Path
import torch
import torch.distributed as dist
import ftprof
from ftprof.errors import FtprofError
from ftprof.measure.ranks import sum_over_ranks
from ftprof.record.interval import Interval
from ftprof.record.timeline import Timeline
from ftprof.result import Result
from train_with_libraries import *
quiet()
found = {}
def work(times):
    for _ in range(times): torch.ones(64, 32) @ torch.ones(32, 16)
def count(times):
    with ftprof.count(pretrain_flops="8.4e22") as run:
        work(times)
    return run
"""


def run(folder: Path, program: str) -> dict[str, Any]:
    path = folder / "program.py"
    path.write_text(PROLOGUE + textwrap.dedent(program) + 'Path("found.json").write_text(json.dumps(found))\n')
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=folder, env=clean_environment(PYTHONPATH=HERE, HF_HUB_OFFLINE="1"), capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads((folder / "found.json").read_text()))


def test_four_ranks_reduce_to_the_exact_integer(tmp_path: Path) -> None:
    """Records that say so much stand in for days of training; no float holds any rank's count."""
    found = run(
        tmp_path,
        """
        def with_more(run, more):
            record = run.record
            (cell, (calls, flops)), = record.counts.items()
            time = Timeline()
            time.add(record.runs[0].began_us, record.runs[0].ended_us, flops + more)
            more_of_it = replace(
                record, counts={cell: (calls, flops + more)}, interval=Interval(*[flops + more] * 3), timeline=time,
                processes=(replace(record.processes[0], flops=flops + more),),
            )
            return Result(lambda: more_of_it, ftprof.count().choice)

        def rank(number):
            dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
            run = count(number + 1)
            huge = with_more(run, 2**64 * 3**number + 1)
            pair = dist.new_group([1, 3])
            whole = huge.reduce()
            in_pair = run.reduce(pair).flops if number in (1, 3) else None
            with ftprof.count() as broken:
                work(1)
                if number == 2:
                    broken._counted._problems.append("a problem of this rank")
            answer = {
                "small": told(run.reduce()), "alone": run.flops, "whole": told(whole), "in pair": in_pair,
                "broken": told(broken.reduce()), "live": None,
                "sums": [str(sum_over_ranks(n)) for n in (2**64 * 3**number + 1, 2**200 + number, 0)],
                "verdict": whole.verdict("aws-2026").verdict,
            }
            with ftprof.count() as going_on:
                work(number)
                answer["live"] = told(going_on.reduce())
            dist.destroy_process_group()
            return answer

        found["ranks"] = in_ranks(4, rank)
        """,
    )
    exact = sum(2**64 * 3**rank + 1 for rank in range(RANKS))
    assert float(exact) != exact
    assert sum(float(2**64 * 3**rank + 1) for rank in range(RANKS)) != exact
    for number, rank in enumerate(found["ranks"]):
        assert (rank["small"]["flops"], rank["small"]["complete"]) == (10 * MM, True)
        assert (rank["alone"], rank["in pair"]) == ((number + 1) * MM, 6 * MM if number in (1, 3) else None)
        whole = rank["whole"]
        assert whole["flops"] == whole["high"] == exact + 10 * MM
        assert (whole["complete"], len(set(whole["runs"]))) == (True, RANKS)
        assert rank["sums"] == [str(exact), str(4 * 2**200 + 6), "0"]
        assert rank["verdict"] == "below"
        assert (rank["live"]["flops"], rank["live"]["complete"]) == (6 * MM, True)
        broken = rank["broken"]
        assert (broken["flops"], broken["high"], broken["complete"]) == (4 * MM, None, False)
        assert any(reason.startswith("rank 2: ") and "a problem of this rank" in reason for reason in broken["reasons"])
        assert not any(reason.startswith("rank 1: ") for reason in broken["reasons"])


def test_a_rank_that_does_not_take_part_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
        def rank(number, ends):
            dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=2))
            run = count(1)
            dist.barrier()
            if number == 3:
                if ends:
                    os._exit(3)
                time.sleep(5)
                return "late"
            began = time.monotonic()
            try:
                run.reduce()
            except FtprofError as error:
                return [error.message, time.monotonic() - began, run.flops]

        found["late"] = in_ranks(4, lambda number: rank(number, False))
        found["gone"] = in_ranks(4, lambda number: rank(number, True))
        """,
    )
    assert (found["late"][3], found["gone"][3]) == ("late", None)
    for answers in found.values():
        for message, seconds, flops in answers[:3]:
            assert message.startswith("the ranks' figures cannot be gathered; did every rank take part? (")
            assert "\n" not in message
            assert seconds < 5
            assert flops == MM


def test_accelerate(tmp_path: Path) -> None:
    """As docs/libraries.md has it: nothing but count() around the loop, and reduce() after it."""
    found = run(
        tmp_path,
        """
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        def train(accelerator, rows):
            torch.manual_seed(0)
            model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
            data = torch.utils.data.DataLoader(torch.randn(rows, 16), 2)
            optimizer = torch.optim.SGD(model.parameters(), 0.01)
            model, optimizer, data = accelerator.prepare(model, optimizer, data)
            for batch in data:
                with accelerator.accumulate(model):
                    accelerator.backward(model(batch).square().mean())
                    optimizer.step()
                    optimizer.zero_grad()

        def rank(number):
            accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
            with ftprof.count() as run:
                train(accelerator, 16)
            reduced = run.reduce()
            accelerator.end_training()
            return {"ranks": accelerator.num_processes, "alone": run.flops, "reduced": told(reduced)}

        found["ranks"] = in_ranks(2, rank)
        AcceleratorState._reset_state(True)
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
        found["by torch"] = counted_by_torch(lambda: train(accelerator, 16))
        """,
    )
    for rank in found["ranks"]:
        assert rank["ranks"] == 2
        assert rank["alone"] * 2 == rank["reduced"]["flops"] == rank["reduced"]["high"] == found["by torch"]
        assert rank["reduced"]["complete"]


def test_the_callback_of_hugging_face_adds_up_its_ranks_and_goes_on(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
        from ftprof.integrations.hugging_face import FtprofCallback
        CHANGES = {"eval_strategy": "steps", "eval_steps": 2, "ddp_backend": "gloo"}

        def train(folder, *others, resume=False):
            callback = FtprofCallback(pretrain_flops="8.4e22")
            trainer = hugging_face(Path(folder), [callback, *others], **CHANGES)
            answer = {"by torch": counted_by_torch(lambda: trainer.train(resume_from_checkpoint=resume))}
            trainer.log({"a log of this rank alone": 1.0}) if trainer.is_world_process_zero() else None
            return {**answer, **told(callback.result), "logs": trainer.state.log_history}

        found["whole"] = in_ranks(2, lambda number: train("whole"))
        found["first"] = in_ranks(2, lambda number: train("resumed", at_step(2, stop)))
        shutil.copytree("resumed", "state alone", ignore=shutil.ignore_patterns("_ftprof", "ftprof.json"))
        found["resumed"] = in_ranks(2, lambda number: train("resumed", resume=True))
        found["state alone"] = in_ranks(2, lambda number: train("state alone", resume=True))

        def fails():
            try:
                train("failed", at_step(3, fail))
            except RuntimeError as error:
                return str(error)

        def blind(number):
            callback = FtprofCallback()
            if number == 1:
                callback._training._count.start = lambda: fail(None)  # an error of ftprof's own on this rank
            hugging_face(Path("blind"), [callback], **CHANGES).train()
            return told(callback.result)

        found["blind"] = in_ranks(2, blind)
        found["failed"] = in_ranks(2, lambda number: fails())
        found["after a failure"] = in_ranks(2, lambda number: train("failed", resume=True))
        """,
    )
    whole = sum(rank["by torch"] for rank in found["whole"])
    assert len({rank["by torch"] for rank in found["whole"]}) == 1
    for name, runs in (("whole", 2), ("resumed", 4)):
        for rank in found[name]:
            assert (rank["flops"], rank["high"], rank["complete"]) == (whole, whole, True), name
            assert len(set(rank["runs"])) == runs
            assert "ranks are in this record" not in " ".join(rank["reasons"]), "they all are"
            assert rank["by_phase"] == found["whole"][0]["by_phase"]
            steps = [log["ftprof/flops"] for log in rank["logs"] if "loss" in log]
            assert len(steps) == 4
            assert steps == sorted(set(steps))
            assert whole * 3 // 4 < steps[-1] < whole, "the last evaluation comes after the last step's log"
    own = [log["ftprof/flops"] for log in found["resumed"][0]["logs"] if "loss" in log]
    assert own == [log["ftprof/flops"] for log in found["whole"][0]["logs"] if "loss" in log]
    for rank in found["state alone"]:
        assert (rank["flops"], rank["high"], rank["complete"]) == (whole, None, False)
        assert rank["by_phase"] == found["whole"][0]["by_phase"], "with the evaluation between step and checkpoint"
    step = found["whole"][0]["logs"][0]["ftprof/flops"]
    assert found["failed"] == ["a failure of the user's own"] * 2
    for rank in found["after a failure"]:
        assert (rank["flops"], rank["complete"]) == (whole + step, True), "both ranks' third step was thrown away"
        assert f"{step} FLOP were executed after the checkpoint" in " ".join(rank["reasons"])
    first, second = found["blind"]
    assert (first["flops"], first["high"], first["complete"]) == (found["whole"][0]["by torch"], None, False)
    assert "other ranks' figures are not in it: rank 1 could not begin to count" in first["reasons"]
    assert (second["flops"], second["complete"]) == (None, False)
    written = json.loads((tmp_path / "blind" / "ftprof.json").read_text())
    assert (written["flops"], written["high"]) == (str(first["flops"]), None)
    record = json.loads((tmp_path / "resumed" / "ftprof.json").read_text())
    assert (record["flops"], len(record["processes"])) == (str(whole), 4)


def test_the_callback_of_lightning_adds_up_its_ranks_and_goes_on(tmp_path: Path) -> None:
    """Real DDP over gloo; each rank has half of the rows. A resumed training is what an uninterrupted one is."""
    found = run(
        tmp_path,
        """
        import lightning.pytorch as lightning
        from lightning.pytorch.plugins.environments import TorchElasticEnvironment
        from lightning.pytorch.strategies import DDPStrategy
        from ftprof.integrations.lightning import FtprofCallback

        def ddp():
            strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment(), process_group_backend="gloo")
            return {"devices": 2, "strategy": strategy}

        def train(folder, resume=None, **changes):
            callback = FtprofCallback(pretrain_flops="8.4e22")
            fit(lightning, Path(folder), [callback], resume, **ddp(), **changes)
            return told(callback.result)

        os.environ["LOCAL_WORLD_SIZE"] = "2"
        bare = lambda number: counted_by_torch(lambda: fit(lightning, Path("bare"), [], **ddp()))
        found["by torch"] = in_ranks(2, bare)
        found["whole"] = in_ranks(2, lambda number: train("whole"))
        found["first"] = in_ranks(2, lambda number: train("resumed", max_steps=2))
        checkpoint = next(Path("resumed", "checkpoints").glob("*step=2.ckpt"))
        found["resumed"] = in_ranks(2, lambda number: train("resumed", checkpoint))
        """,
    )
    whole = sum(found["by torch"])
    # By hand: of eight rows in all a rank has four, in two epochs of two steps of two rows.
    assert found["by torch"] == [4 * 2 * 2 * (2 * 16 * 32 + 3 * 32 * 1)] * 2
    for name, runs in (("whole", 2), ("resumed", 4)):
        for rank in found[name]:
            assert (rank["flops"], rank["high"], rank["complete"]) == (whole, whole, True), name
            assert (len(set(rank["runs"])), rank["by_phase"]) == (runs, {"train": whole})
    assert json.loads((tmp_path / "resumed" / "ftprof.json").read_text())["flops"] == str(whole)


def test_a_rank_without_the_callback_neither_breaks_the_training_nor_is_waited_for_twice(tmp_path: Path) -> None:
    """Loggers are often given to the first rank only. A collective of the training would have to match on all ranks."""
    found = run(
        tmp_path,
        """
        import functools
        from ftprof.integrations import exchange, training
        from ftprof.integrations.hugging_face import FtprofCallback
        training.Exchange = functools.partial(exchange.Exchange, patience_s=2)
        CHANGES = {"eval_strategy": "steps", "eval_steps": 2, "ddp_backend": "gloo", "ddp_timeout": 20}

        def rank(number, with_it):
            callbacks = [FtprofCallback()] if number == with_it else []
            trainer = hugging_face(Path(f"only-{with_it}"), callbacks, **CHANGES)
            began = time.monotonic()
            trainer.train()
            sums = torch.tensor([number + 1])
            dist.all_reduce(sums)
            answer = {"seconds": time.monotonic() - began, "steps": trainer.state.global_step, "sum": sums.item()}
            return {**answer, **(told(callbacks[0].result) if callbacks else {})}

        found["first"] = in_ranks(2, lambda number: rank(number, 0))
        found["second"] = in_ranks(2, lambda number: rank(number, 1))
        """,
    )
    for with_it, answers in enumerate(found.values()):
        assert [(answer["steps"], answer["sum"]) for answer in answers] == [(4, 3)] * 2
        assert max(answer["seconds"] for answer in answers) < 18, "2 s for the one exchange in vain"
        counted = answers[with_it]
        assert counted["flops"] > 0
        assert (counted["high"], counted["complete"]) == (None, False)
        assert any("other ranks' figures are not in it" in reason for reason in counted["reasons"])
