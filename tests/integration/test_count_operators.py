"""``ftprof.count()`` where there is no GPU: operators' formulas, for the time of the block only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from conftest import FTPROF, REPOSITORY, clean_environment

MM = 2 * 64 * 32 * 16  # the operations of one product below
PROLOGUE = """
import json, os, sys, threading, warnings
import ftprof
def work(times=1):
    import torch
    for _ in range(times): torch.ones(64, 32) @ torch.ones(32, 16)
def told(run):
    return {"flops": run.flops, "low": run.interval.low, "high": run.interval.high, "method": run.method,
            "complete": run.complete, "reasons": run.reasons, "by_precision": run.by_precision}
"""
wrapped_or_not = pytest.mark.parametrize("wrap", [False, True], ids=["alone", "inside wrap"])


def run(tmp_path: Path, program: str, wrap: bool = False, lines: int = 1, **changes: str) -> Any:
    """What the program's last line holds; it ended well, and printed so many, with none of ftprof's among them."""
    path = tmp_path / "program.py"
    path.write_text(PROLOGUE + textwrap.dedent(program))
    command = [sys.executable, "-W", "ignore", str(path)]
    if wrap:
        command = [FTPROF, "wrap", "-q", "--force", "-o", str(tmp_path / "record.json"), "--", *command]
    done = subprocess.run(
        command, env=clean_environment(**changes), cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("\n") == lines
    return json.loads(done.stdout.splitlines()[-1])


@wrapped_or_not
def test_a_block_holds_its_operators_and_no_others(tmp_path: Path, wrap: bool) -> None:
    told = run(
        tmp_path,
        """
        work(2)
        with ftprof.count() as outer:
            work(3)
            with ftprof.count() as inner:
                work(4)
                so_far = inner.flops
        work(5)
        with ftprof.count() as later:
            work(1)
        print(json.dumps([so_far, *map(told, (outer, inner, later))]))
        """,
        wrap,
    )
    so_far, outer, inner, later = told
    assert so_far == 4 * MM
    for part, products in ((outer, 7), (inner, 4), (later, 1)):
        assert part["flops"] == part["low"] == part["high"] == products * MM
        assert (part["method"], part["complete"]) == ("analytic", True)
        assert part["by_precision"] == {"fp32": products * MM}
        assert re.match("no hardware counters: no (CUDA context is in use|NVIDIA driver was found)", part["reasons"][0])
    if wrap:
        record = json.loads((tmp_path / "record.json").read_text())
        assert (int(record["flops"]), record["complete"]) == (15 * MM, True)


@wrapped_or_not
def test_torch_that_is_imported_inside_the_block(tmp_path: Path, wrap: bool) -> None:
    told = run(
        tmp_path,
        """
        with ftprof.count() as run:
            assert "torch" not in sys.modules
            work(3)
        print(json.dumps(told(run)))
        """,
        wrap,
    )
    assert (told["flops"], told["complete"]) == (3 * MM, True)


@wrapped_or_not
def test_laps_snapshots_and_the_current_run(tmp_path: Path, wrap: bool) -> None:
    told = run(
        tmp_path,
        """
        import torch
        with ftprof.count() as run:
            laps = [run.lap()]
            for times in (1, 2, 3):
                work(times)
                laps.append(ftprof.current().lap())
            torch.ones(3).sum()
            laps.append(run.lap())
            with ftprof.count() as inner:
                work(4)
                snapshot = inner.snapshot()
                work(5)
            work(6)
        laps.append(run.lap())
        snapshot.save("snapshot.json")
        print(json.dumps([laps, *map(told, (run, inner, snapshot))]))
        """,
        wrap,
    )
    laps, outer, inner, snapshot = told
    assert laps == [None, MM, 2 * MM, 3 * MM, 0, 15 * MM]
    assert (outer["flops"], inner["flops"]) == (21 * MM, 9 * MM)
    assert (snapshot["flops"], snapshot["high"], snapshot["complete"]) == (4 * MM, 4 * MM, True)
    assert json.loads((tmp_path / "snapshot.json").read_text())["by_phase"] == {"train": str(4 * MM)}


@wrapped_or_not
def test_blocks_of_several_threads_overlap(tmp_path: Path, wrap: bool) -> None:
    """Each holds what the whole process did between its edges, whichever ends first."""
    told = run(
        tmp_path,
        """
        steps = [threading.Event() for _ in range(3)]
        runs = {}
        def other():
            steps[0].wait()
            with ftprof.count() as runs["other"]:
                work(2)
                steps[1].set()
                steps[2].wait()
        thread = threading.Thread(target=other)
        thread.start()
        with ftprof.count() as runs["main"]:
            work(1)
            steps[0].set()
            steps[1].wait()
            work(4)
        work(8)
        steps[2].set()
        thread.join()
        print(json.dumps([told(runs[name]) for name in ("main", "other")]))
        """,
        wrap,
    )
    assert [(part["flops"], part["high"], part["complete"]) for part in told] == [
        (7 * MM, 7 * MM, True),
        (14 * MM, 14 * MM, True),
    ]


@wrapped_or_not
def test_blocks_of_several_tasks_overlap(tmp_path: Path, wrap: bool) -> None:
    """The first task's block ends while the second's goes on; each has its own current run."""
    told = run(
        tmp_path,
        """
        import asyncio
        async def first(second_began, first_ended):
            with ftprof.count() as run:
                work(1)
                await second_began.wait()
                work(2)
                mine = ftprof.current() is run
            first_ended.set()
            return run, mine
        async def second(second_began, first_ended):
            with ftprof.count() as run:
                second_began.set()
                await first_ended.wait()
                work(4)
                return run, ftprof.current() is run
        async def both():
            events = asyncio.Event(), asyncio.Event()
            return await asyncio.gather(first(*events), second(*events))
        with ftprof.count() as outer:
            answers = asyncio.run(both())
            kept = ftprof.current() is outer
        runs = [run for run, _ in answers] + [outer]
        print(json.dumps([kept and all(mine for _, mine in answers), *map(told, runs)]))
        """,
        wrap,
    )
    each_is_current, *parts = told
    assert each_is_current
    assert [(part["flops"], part["high"], part["complete"]) for part in parts] == [
        (3 * MM, 3 * MM, True),
        (6 * MM, 6 * MM, True),
        (7 * MM, 7 * MM, True),
    ]


def test_threads_and_backward(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
        import torch
        with ftprof.count() as run:
            thread = threading.Thread(target=work, args=(2,)); thread.start(); thread.join()
            x, w = torch.ones(64, 32, requires_grad=True), torch.ones(32, 16, requires_grad=True)
            (x @ w).sum().backward()
        print(json.dumps(told(run)))
        """,
    )
    assert told["flops"] == 5 * MM


def test_what_was_compiled_before_the_block_opens_the_interval(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
        import torch
        made = torch.compile(lambda x: x @ x)
        made(torch.ones(8, 8))
        with ftprof.count() as run:
            work()
        print(json.dumps(told(run)))
        """,
    )
    assert (told["flops"], told["high"]) == (MM, None)


def test_a_compiler_that_was_only_imported_opens_nothing(tmp_path: Path) -> None:
    """Libraries such as bitsandbytes import Inductor and compile nothing."""
    told = run(
        tmp_path,
        """
        import torch, torch._inductor.async_compile, torch._inductor.codecache
        with ftprof.count() as run:
            work()
        print(json.dumps(told(run)))
        """,
    )
    assert (told["flops"], told["high"]) == (MM, MM)


def test_a_forked_child_counts_for_itself(tmp_path: Path) -> None:
    parent, inherited, own = run(
        tmp_path,
        """
        work()
        with ftprof.count() as run:
            work(2)
            read, write = os.pipe()
            child = os.fork()
            if not child:
                with ftprof.count() as own:
                    work(3)
                os.write(write, json.dumps([told(run), told(own)]).encode())
                os._exit(0)
            os.waitpid(child, 0)
            work(1)
        print(json.dumps([told(run), *json.loads(os.read(read, 100000))]))
        """,
    )
    assert (parent["flops"], own["flops"]) == (3 * MM, 3 * MM)
    assert (inherited["flops"], inherited["complete"]) == (None, False)


def test_coroutines_and_methods(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
        import asyncio

        class Trainer:
            @ftprof.count()
            def train(self, times):
                work(times)
                return self

        @ftprof.count()
        async def train(times):
            await asyncio.sleep(0)
            work(times)
            return times

        trainer = Trainer()
        assert trainer.train(2) is trainer
        assert asyncio.run(train(3)) == 3
        print(json.dumps([told(Trainer.train.run), told(train.run)]))
        """,
    )
    assert [part["flops"] for part in told] == [2 * MM, 3 * MM]


def test_the_total_is_that_of_torchs_own_counter(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
        import torch
        from torch.utils.flop_counter import FlopCounterMode
        from ftprof.measure.analytic.hook import extra_formulas

        def train():
            torch.manual_seed(0)
            model = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            for _ in range(3):
                optimizer.zero_grad()
                model(torch.ones(2, 8, 32)).sum().backward()
                optimizer.step()

        with FlopCounterMode(display=False, custom_mapping=extra_formulas()) as mode:
            train()
        with ftprof.count() as run:
            train()
        print(json.dumps([told(run), mode.get_total_flops()]))
        """,
    )
    assert told[0]["flops"] == told[1]


def test_the_documents_example_runs(tmp_path: Path) -> None:
    example = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "count.md").read_text(), re.DOTALL)[0]
    flops = run(tmp_path, example + "print(run.flops)\n", lines=3)
    assert flops == 10 * 2 * (2 * 64 * 1024 * 1024)
    assert json.loads((tmp_path / "record.json").read_text())["flops"] == str(flops)
