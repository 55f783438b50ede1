"""On a GPU: whatever a program does, under ftprof wrap it does the same, and the record says what was lost."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
from gpu_checks import place
from gpu_checks.wrapped import Start, bare, program, wrap

SECONDS = place.seconds(3)


def assert_truth_is_in_it(run: object, truth: int) -> None:
    record = run.record  # type: ignore[attr-defined]
    assert record is not None
    low = sum(int(row["low"]) for row in record["precisions"] if row["kind"] == "floating")
    assert low <= truth
    assert record["high"] is None or truth <= int(record["high"])


@pytest.mark.parametrize(("how", "code"), [("exit", 0), ("exit3", 3), ("os_exit", 4), ("raise", 1)])
def test_ends_of_its_own(how: str, code: int) -> None:
    run = wrap(program("tiny", "--seconds", SECONDS, "--end", how))
    assert run.code == code, run.err
    assert run.out.splitlines()[0] == "ready"
    assert ("RuntimeError: as asked" in run.err) == (how == "raise")
    assert run.record is not None
    assert run.record["complete"] is True, run.reasons()
    assert_truth_is_in_it(run, run.result["count"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT], ids=lambda n: n.name)
def test_ends_by_a_signal(number: signal.Signals) -> None:
    run = wrap(program("tiny", "--seconds", SECONDS, "--end", number.name.lower()))
    assert run.code == 128 + number, run.err
    assert run.record is not None
    assert run.record["complete"] is False
    assert run.reasons()
    assert_truth_is_in_it(run, run.result["count"])


def test_a_fork_in_the_midst() -> None:
    run = wrap(program("tiny", "--seconds", SECONDS, "--fork"))
    assert run.code == 0, run.err
    assert len(run.contexts) == 1
    assert_truth_is_in_it(run, run.result["count"])


def test_an_idle_process_counts_nothing_of_a_busy_one(tmp_path: Path) -> None:
    with Start(program("tiny", "--wait", "--idle", place.seconds(3), "--seconds", 0), tmp_path) as running:
        running.until_ready()
        busy = bare(program("tiny", "--seconds", place.seconds(2), "--pause", 0))
        idle = running.wait()
    assert busy.result["launched"] > 0
    assert idle.code == 0, idle.err
    assert idle.floating(part="measured") == 0


def test_a_context_of_its_own_is_said_to_be_uncounted() -> None:
    run = wrap(program("tiny", "--created", "--seconds", SECONDS))
    assert run.code == 0, run.err
    assert run.floating() == 0
    assert run.record is not None
    assert run.record["high"] is None


@pytest.mark.torch
def test_torchrun() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    launcher = [place.PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "1", "--master-port", str(port)]
    run = wrap([*launcher, *program("distributed", 64 if place.rehearsal() else 2048)[1:]], timeout_s=150)
    assert run.code == 0, run.err
    assert len(run.contexts) == 1
    assert_truth_is_in_it(run, run.result["operations"])
