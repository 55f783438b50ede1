"""Which start an ``ftprof wrap`` is a part of, and what a record says of parts and ranks that wrote nothing."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from test_journal import window
from test_merge import journal, run_journal

from ftprof.errors import FtprofError
from ftprof.measure import shared_run
from ftprof.measure.analytic.hook import process_identity
from ftprof.measure.launch import launch_of, sagemaker_output
from ftprof.measure.run import default_record
from ftprof.measure.shared_run import SharedRun
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.judged import judged
from ftprof.policy.policy import load_policy
from ftprof.record.launch import Launch
from ftprof.record.merge import merge_journals, merge_records

STEP = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_NODEID": "1", "SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS": "4",
}  # fmt: skip
MPI = {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_NODE_RANK": "0"}
WORKER = {
    "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2",
    "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1",
}  # fmt: skip
NODE = {"PET_NODE_RANK": "1", "PET_NNODES": "2", "PET_MASTER_ADDR": "a", "PET_MASTER_PORT": "1"}
HOSTS = {"SM_HOSTS": '["algo-1", "algo-2"]', "SM_CURRENT_HOST": "algo-2", "TRAINING_JOB_NAME": "tune-1"}


@pytest.mark.parametrize(
    ("variables", "launcher", "start", "part", "parts", "name"),
    [
        (STEP, "SLURM", "job 7 step 0", 1, 4, "rank 1 of 4"),
        ({**STEP, "SLURM_RESTART_COUNT": "2"}, "SLURM", "job 7 step 0 restart 2", 1, 4, "rank 1 of 4"),
        ({**STEP, "PMI_RANK": "1", "PMI_SIZE": "4"}, "SLURM", "job 7 step 0", 1, 4, "rank 1 of 4"),
        ({**MPI, "PMIX_NAMESPACE": "x@1"}, "Open MPI", "job x@1", 2, 3, "rank 2 of 3"),
        ({**STEP, **MPI, "OMPI_MCA_ess_base_jobid": "9"}, "Open MPI", "job 9", 2, 3, "rank 2 of 3"),
        ({"MV2_COMM_WORLD_RANK": "0", "MV2_COMM_WORLD_SIZE": "2"}, "MVAPICH2", None, 0, 2, "rank 0 of 2"),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, "MPI", None, 0, 2, "rank 0 of 2"),
        (WORKER, "torch", "a:1", 3, 4, "rank 3 of 4"),
        ({**NODE, **WORKER, "TORCHELASTIC_RUN_ID": "r"}, "torch", "r", 3, 4, "rank 3 of 4"),
        ({**NODE, "RANK": "1", "WORLD_SIZE": "16"}, "torchrun", "a:1", 1, 2, "node 1 of 2"),
        (HOSTS, "SageMaker", "job tune-1", 1, 2, "host algo-2"),
    ],
)
def test_the_start_is_the_launchers(
    variables: dict[str, str], launcher: str, start: str | None, part: int, parts: int, name: str
) -> None:
    launch = launch_of(variables, shared=True)
    assert (launch.launcher, launch.id, launch.part, launch.parts) == (launcher, start, part, parts)
    assert launch.named(part) == name
    assert launch.attempt == (2 if "RANK" in variables and "LOCAL_RANK" in variables else 0)
    assert Launch.from_json(json.loads(json.dumps(launch.to_json()))) == launch


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {key: value for key, value in STEP.items() if "STEP" not in key},  # a batch script without srun
        {"RANK": "4", "WORLD_SIZE": "4"},
        {"RANK": "0"},
        {"PET_NNODES": "1:4", "PET_NODE_RANK": "0"},
        {"SM_HOSTS": "[1]", "SM_CURRENT_HOST": "algo-1"},
        {"SM_HOSTS": "{", "SM_CURRENT_HOST": "algo-1"},
    ],
)
def test_without_a_start_there_is_none(variables: dict[str, str]) -> None:
    assert launch_of(variables, shared=True) == Launch(shared=True)


def test_the_record_in_a_sagemaker_container(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    assert sagemaker_output({"TRAINING_JOB_NAME": "x"}, tmp_path) is None, "a name alone makes no container"
    (tmp_path / "input" / "config").mkdir(parents=True)
    (tmp_path / "input" / "config" / "resourceconfig.json").write_text('{"current_host": "algo-1"}')
    assert sagemaker_output({"TRAINING_JOB_NAME": "x"}, tmp_path) == tmp_path / "output", "one without the toolkit"
    assert sagemaker_output({}, tmp_path) is None
    assert sagemaker_output(HOSTS, tmp_path / "none") is None
    assert sagemaker_output(HOSTS, tmp_path) == tmp_path / "output"
    (tmp_path / "output" / "data").mkdir()
    by_json = {"SM_TRAINING_ENV": '{"current_host": "algo-1", "job_name": "../evil job"}'}
    for variables, name in ((HOSTS, "ftprof-tune-1-algo-2-"), (by_json, "ftprof-.._evil_job-algo-1-")):
        path = default_record("0123456789abcdef", variables, tmp_path)
        assert path.parent == tmp_path / "output" / "data"
        assert path.name.startswith(name)
        assert path.name.endswith("-01234567.json")
    assert default_record("0123456789abcdef", {}, tmp_path).parent == Path()


def test_the_labels_of_a_sagemaker_job() -> None:
    by_toolkit = {"SM_TRAINING_ENV": '{"current_instance_type": "ml.p4d.24xlarge"}'}
    assert launch_of(by_toolkit, shared=False).instance_type == "ml.p4d.24xlarge"
    given = {**by_toolkit, "TRAINING_INSTANCE_TYPE": "ml.p5.48xlarge", "MODEL_PACKAGE_GROUP_NAME": "models"}
    launch = launch_of(given, shared=False)
    assert (launch.instance_type, launch.model_package_group) == ("ml.p5.48xlarge", "models")
    assert Launch.from_json(launch.to_json()) == launch
    assert launch_of({"MODEL_PACKAGE_GROUP_NAME": "a\nb"}, shared=False) == Launch(shared=False)


# ---------------------------------------------------------------- what wrote nothing


def part(folder: Path, number: int, launch: Launch | None = None, end: bool = True) -> None:
    here = launch or Launch(True, "SLURM", "job 7 step 0", number, 4)
    journal(
        folder, 100 + number, role="run", command=["x"], policy_inputs={}, software={"ftprof": "0.1.0"}, end=end,
        launch=here.to_json(), name=f"{number}-run.journal",
    )  # fmt: skip


def rank(folder: Path, number: int, size: int, **more: Any) -> None:
    journal(folder, 200 + number, window(5), rank={"rank": number, "world_size": size}, **more)


def test_parts_and_ranks_that_wrote_nothing_are_named(tmp_path: Path) -> None:
    part(tmp_path, 0)
    part(tmp_path, 2)
    rank(tmp_path, 0, 4)
    record = merge_journals(tmp_path)
    assert record.reasons == (
        "rank 1 of 4, rank 3 of 4 (started by SLURM job 7 step 0) wrote nothing into the run directory: "
        "no ftprof began there",
        "rank 2 of 4 kept no journal: what was done there is not counted",
    )
    assert (record.complete, record.interval.high, record.interval.low) == (False, None, 5)


def test_a_whole_start_is_complete(tmp_path: Path) -> None:
    for number in range(4):
        part(tmp_path, number)
        rank(tmp_path, number, 4)
    record = merge_journals(tmp_path)
    assert (record.complete, record.reasons, record.interval.value) == (True, (), 20)
    assert record.runs[2].launch == Launch(True, "SLURM", "job 7 step 0", 2, 4)


def test_ranks_of_a_node_that_no_launcher_told_ftprof_of(tmp_path: Path) -> None:
    """torchrun started by hand on each node: only its workers know how many they are."""
    part(tmp_path, 0, Launch(shared=True))
    rank(tmp_path, 0, 10**15)
    record = merge_journals(tmp_path)
    assert record.reasons == (
        "rank 1, rank 2, rank 3, rank 4 and 999999999999995 more of 1000000000000000 kept no journal: what was done "
        "there is not counted",
    )


def test_a_hosts_name_is_said_where_it_is_known(tmp_path: Path) -> None:
    launch = Launch(True, "SageMaker", "job j", 0, 2, "host", ("algo-1", "algo-2"))
    part(tmp_path, 0, launch)
    (reason,) = merge_journals(tmp_path).reasons[:1]
    assert reason.startswith("host algo-2 (started by SageMaker job j) wrote nothing")


def test_a_part_that_was_killed_is_named_with_its_rank(tmp_path: Path) -> None:
    part(tmp_path, 0, Launch(True, "MPI", None, 0, 2))
    part(tmp_path, 1, Launch(True, "MPI", None, 1, 2), end=False)
    rank(tmp_path, 0, 2)
    rank(tmp_path, 1, 2, end=False)
    reasons = "\n".join(merge_journals(tmp_path).reasons)
    assert "process 201 on h (rank 1) was killed or is still running" in reasons
    assert "the ftprof that wrapped the run on h (rank 1 of 2) was killed or is still running" in reasons


ELSEWHERE = "are in this record; share one --run-dir, or add the others' with ftprof merge"


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        (Launch(False, "SLURM", "job 7 step 0", 3, 8), "1 of 8 ranks"),  # srun ftprof wrap
        (Launch(False, "SLURM", "job 7 step 0", 0, 1), "1 of 8 ranks"),  # srun -n1 ftprof wrap -- deepspeed --hostfile
        (Launch(False), "1 of 8 ranks"),  # ftprof wrap -- mpirun: seven ranks ran elsewhere
        (None, "1 of 8 ranks"),  # ftprof.count() on one rank
    ],
)
def test_a_record_of_some_ranks_is_no_verdict_below(tmp_path: Path, launch: Launch | None, said: str) -> None:
    """It is all of this part, and the figure of the whole has no upper end."""
    if launch is None:
        run_journal(tmp_path)
    else:
        part(tmp_path, 3, launch)
    rank(tmp_path, 3, 8)
    record = merge_journals(tmp_path)
    assert (record.complete, record.interval.high, record.reasons) == (True, 5, (f"{said} {ELSEWHERE}",))
    verdicts = judged(record, PolicyInputs(), [load_policy("ec-2025")])[1]
    assert verdicts[0].verdict == "undetermined"


def test_parts_without_ranks_are_missed_too_and_not_any_more_once_they_are_added(tmp_path: Path) -> None:
    records = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        part(folder, number, Launch(False, "SageMaker", "job j", number, 3, "host", ("algo-1", "algo-2", "algo-3")))
        journal(folder, 200 + number, window(5))
        records.append((str(number), merge_journals(folder)))
    assert records[0][1].reasons == (f"1 of 3 hosts {ELSEWHERE}",)
    assert merge_records(records[:2]).reasons == (f"2 of 3 hosts {ELSEWHERE}",)
    whole = merge_records(records)
    assert (whole.complete, whole.reasons, whole.interval.high) == (True, (), 15)
    assert judged(whole, PolicyInputs(), [load_policy("ec-2025")])[1][0].verdict == "below"


# ---------------------------------------------------------------- who writes


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_run, "SILENCE_S", 0.6)
    monkeypatch.setattr(shared_run, "LATE_S", 0.6)
    monkeypatch.setattr(shared_run, "_LOOK_S", 0.05)
    monkeypatch.setattr(shared_run, "_WRITING_S", 0.5)


def launches(count: int) -> Sequence[Launch]:
    return [Launch(True, "MPI", None, number, count) for number in range(count)]


def test_a_silent_host_is_given_up_and_a_living_one_is_not(tmp_path: Path, hasty: None) -> None:
    """Its journal is on another host (``h``), so only its touches tell."""
    one, two = launches(2)
    part(tmp_path, 0, one)
    part(tmp_path, 1, two, end=False)
    shared = SharedRun(tmp_path, one)
    began = time.monotonic()
    assert shared.turn("0-run.journal", print) == ()
    assert time.monotonic() - began >= 0.6
    timer = threading.Timer(0.2, lambda: os.utime(tmp_path / "1-run.journal"))
    timer.start()
    (going,) = shared.turn("0-run.journal", print)
    timer.join()
    assert str(going) == "h (rank 1 of 2)"


def test_a_process_of_this_host_is_looked_at(tmp_path: Path) -> None:
    """It may be stopped, and touch nothing; one that is gone is not waited for."""
    one, two = launches(2)
    part(tmp_path, 0, one)
    part(tmp_path, 1, two, end=False)
    path = tmp_path / "1-run.journal"
    for identity, going in ((process_identity(), 1), ({**process_identity(), "start_ticks": 1}, 0)):
        path.unlink()
        journal(
            tmp_path, 1, role="run", command=["x"], policy_inputs={}, software={"ftprof": "0.1.0"}, end=False,
            launch=two.to_json(), name=path.name,
        )  # fmt: skip
        line = json.loads(path.read_text())
        path.write_text(json.dumps({**line, **identity}, separators=(",", ":")) + "\n")
        began = time.monotonic()
        assert len(SharedRun(tmp_path, one).turn("0-run.journal", print)) == going
        assert time.monotonic() - began < 1


def test_ones_own_end_that_could_not_be_written_is_no_sign_of_life(tmp_path: Path) -> None:
    part(tmp_path, 0, Launch(shared=True), end=False)
    assert SharedRun(tmp_path, Launch(shared=True)).turn("0-run.journal", print) == ()


def test_parts_that_have_not_begun_are_waited_for_a_while(tmp_path: Path, hasty: None) -> None:
    one = launches(2)[0]
    part(tmp_path, 0, one)
    shared = SharedRun(tmp_path, one)
    began = time.monotonic()
    assert shared.turn("0-run.journal", print) == ()
    assert time.monotonic() - began >= 0.6
    assert shared.turn("0-run.journal", print) == (), "not again: its own beginning counts"


@pytest.fixture
def asked_to_end() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # other threads of pytest do not block it
    yield
    assert signal.sigtimedwait({signal.SIGTERM}, 0) is not None, "it was looked at, and left for who handles it"
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_asked_to_end_nobody_is_waited_for(tmp_path: Path, asked_to_end: None) -> None:
    one, two = launches(3)[:2]
    part(tmp_path, 0, one)
    part(tmp_path, 1, two, end=False)
    (tmp_path / "other.claim").touch()
    shared, began = SharedRun(tmp_path, one), time.monotonic()
    assert shared.turn("0-run.journal", print) == ()
    claim = shared.claim()
    assert claim is not None
    assert not claim.is_stale
    assert time.monotonic() - began < 5


def test_one_of_many_that_end_at_once_writes(tmp_path: Path, hasty: None) -> None:
    for number, launch in enumerate(launches(8)):
        part(tmp_path, number, launch)
    barrier, claims = threading.Barrier(8), []

    def end() -> None:
        barrier.wait()
        claims.append(SharedRun(tmp_path, launches(8)[0]).claim())

    threads = [threading.Thread(target=end) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (claim,) = [claim for claim in claims if claim is not None]
    assert not claim.is_stale
    assert len(claims) == 8


def test_who_comes_later_waits_and_then_replaces(tmp_path: Path, hasty: None) -> None:
    one, two = launches(2)
    record = tmp_path / "record.json"
    part(tmp_path, 0, one)
    first = SharedRun(tmp_path, one).claim()
    assert first is not None
    part(tmp_path, 1, two)
    record.write_text('{"digest": "d"}')
    timer = threading.Timer(0.2, lambda: first.settle(record))
    timer.start()
    later = SharedRun(tmp_path, two)
    assert later.claim() is not None
    timer.join()
    assert later.wrote(record)
    assert later.earlier_record() == record
    record.write_text('{"digest": "another"}')
    assert not later.wrote(record), "somebody else's"
    assert later.earlier_record() is None


def test_a_claim_of_what_has_changed_is_stale(tmp_path: Path, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    part(tmp_path, 0, launches(2)[0])
    shared = SharedRun(tmp_path, launches(2)[0])
    unwritten = tmp_path / "other.claim"
    unwritten.touch()
    monkeypatch.setattr(shared_run.time, "sleep", lambda _: part(tmp_path, 1, launches(2)[1]) or unwritten.unlink())
    claim = shared.claim()
    assert claim is not None
    assert claim.is_stale
    claim.withdraw()
    assert list(tmp_path.glob("*.claim")) == []


@pytest.mark.parametrize(
    ("own", "there", "ended", "refused"),
    [
        (Launch(True), Launch(True), False, ""),
        (Launch(True), Launch(True), True, "a run that has ended"),
        (Launch(True), None, True, "a run that has ended"),
        (Launch(True, "SLURM", "7", 1, 2), Launch(True, "SLURM", "7", 0, 2), True, ""),
        (Launch(True, "SLURM", "7", 0, 2), Launch(True, "SLURM", "7", 0, 2), True, "a run that has ended (rank 0 of 2"),
        (Launch(True, "SLURM", "7", 0, 2), Launch(True, "SLURM", "7", 0, 2), False, "(rank 0 of 2) already"),
        (Launch(True, "SLURM", "8", 1, 2), Launch(True, "SLURM", "7", 0, 2), False, "of another start (SLURM 7)"),
        (Launch(True, "torch", "7", 0, 2, attempt=1), Launch(True, "torch", "7", 0, 2), True, ""),
        (Launch(True, "SLURM", "7", 1, 2), Launch(True), True, "a run that has ended"),
    ],
)
def test_only_parts_of_one_start_share_a_directory(
    tmp_path: Path, own: Launch, there: Launch | None, ended: bool, refused: str
) -> None:
    if there is None:
        run_journal(tmp_path, end=ended)  # of a directory that was not shared
    else:
        part(tmp_path, 0, there, end=ended)
    shared = SharedRun(tmp_path, own)
    if not refused:
        shared.refuse_another_run()
        return
    with pytest.raises(FtprofError) as raised:
        shared.refuse_another_run()
    assert refused in raised.value.message
    assert raised.value.exit_code == 125
