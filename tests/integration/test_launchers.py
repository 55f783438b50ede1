"""One run of several ``ftprof wrap``: on one node, on several simulated ones, under real launchers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import FTPROF, clean_environment, ftprof
from simulated_hosts import Host, two_hosts

ONE = 2 * 64**3
PYTHON = sys.executable
TORCHRUN = [PYTHON, "-m", "torch.distributed.run"]
ACCELERATE = [PYTHON, "-m", "accelerate.commands.launch"]


@dataclass
class Started:
    """One ``ftprof wrap`` under way."""

    process: subprocess.Popen[str]

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it said."""
        err = self.process.communicate(timeout=300)[1]
        return self.process.returncode, err

    def clear(self) -> None:
        """With what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


class Cluster:
    """Starts parts of runs that share a folder; each is ended when the test is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_dir = folder / "run"
        self.record = folder / "record.json"
        self._started: list[Started] = []

    def start(
        self, command: Sequence[str], variables: Mapping[str, str] = {}, *options: str, enter: Sequence[str] = ()
    ) -> Started:
        """``ftprof wrap`` with the shared folder and record, by ``enter`` on another host."""
        wrap = [FTPROF, "wrap", "-o", str(self.record), "--run-dir", str(self.run_dir), *options, "--", *command]
        environment = clean_environment(**variables)
        process = subprocess.Popen(
            [*enter, *wrap],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(Started(process))
        return self._started[-1]

    def wait_for_journals(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while len([path for path in self.run_dir.glob("*-run.journal") if path.stat().st_size]) < count:
            assert time.monotonic() < deadline, "they have not begun"
            time.sleep(0.02)

    @property
    def content(self) -> dict[str, Any]:
        return dict(json.loads(self.record.read_text()))

    @property
    def reasons(self) -> str:
        return "\n".join(self.content["reasons"])

    def merged(self) -> dict[str, Any]:
        path = self.folder / "merged.json"
        done = ftprof("merge", str(self.run_dir), "-o", str(path), "--force")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(path.read_text()))

    def clear(self) -> None:
        for started in self._started:
            started.clear()


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    made = Cluster(tmp_path)
    yield made
    made.clear()


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two simulated nodes; without namespaces two run environments on this one."""
    with two_hosts() as pair:
        yield pair


@pytest.fixture
def namespaced() -> Iterator[tuple[Host, Host]]:
    """Two simulated nodes; the test is skipped where they cannot be."""
    with two_hosts() as pair:
        if not pair[0].enter:
            pytest.skip("no namespaces, so no other host")
        yield pair


def step(rank: int, size: int, job: str = "7") -> dict[str, str]:
    """What srun sets."""
    return {
        "SLURM_JOB_ID": job, "SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank),
        "SLURM_STEP_NUM_TASKS": str(size), "SLURM_NODEID": "0", "SLURM_STEP_NUM_NODES": "1",
    }  # fmt: skip


def test_the_last_to_end_writes_the_record_of_all(cluster: Cluster) -> None:
    parts = [
        cluster.start(["sh", "-c", f"sleep {0.6 * rank}; exit {rank}"], step(rank, 3), "--fail-on", "undetermined")
        for rank in range(3)
    ]
    (first, *_), (last, said) = (outcomes := [part.ended() for part in parts])[1], outcomes[2]
    assert [code for code, _ in outcomes] == [0, 1, 2]
    assert (first, last) == (1, 2)
    for code, err in outcomes[:2]:
        assert len(err.splitlines()) == 1, f"{code}: {err}"
        assert "still go" in err
        assert "decides --fail-on" in err
    assert "nothing was counted" in said
    assert sorted(run["launch"]["part"] for run in cluster.content["runs"]) == [0, 1, 2]
    assert {run["exit_code"] for run in cluster.content["runs"]} == {0, 1, 2}
    merged = cluster.merged()
    assert merged == cluster.content
    assert "began there" not in cluster.reasons


@pytest.mark.slow
def test_fail_on_is_decided_by_who_writes(cluster: Cluster) -> None:
    first = cluster.start(["true"], step(0, 2), "-q", "--fail-on", "undetermined")
    last = cluster.start(["sleep", "0.8"], step(1, 2), "-q", "--fail-on", "undetermined")
    assert first.ended() == (0, "")
    assert last.ended() == (5, "")


def test_one_that_ends_before_another_begins_waits_for_it(cluster: Cluster) -> None:
    first = cluster.start(["true"], step(0, 2))
    cluster.wait_for_journals(1)
    time.sleep(0.5)
    assert not cluster.record.exists()
    last = cluster.start(["sleep", "0.7"], step(1, 2))
    assert first.ended()[0] == last.ended()[0] == 0
    assert len(cluster.content["runs"]) == 2
    assert "began there" not in cluster.reasons
    for variables, why in ((step(0, 2), "has ended"), (step(0, 2, "8"), "another start"), ({}, "has ended")):
        code, err = cluster.start(["touch", "started"], variables, "--force").ended()
        assert (code, why in err, len(err.splitlines())) == (125, True, 1), err
    assert not (cluster.folder / "started").exists()
    assert len(list(cluster.run_dir.glob("*.journal"))) == 2, "a refused one leaves nothing"


def test_those_that_end_at_once_leave_one_record(cluster: Cluster) -> None:
    gate = cluster.folder / "gate"
    os.mkfifo(gate)
    parts = [cluster.start(["sh", "-c", f"read line < {gate}"], step(rank, 4)) for rank in range(4)]
    cluster.wait_for_journals(4)
    time.sleep(0.3)
    with gate.open("w") as file:
        file.write("go\n" * 4)
    outcomes = [part.ended() for part in parts]
    assert sum("nothing was counted" in err for _, err in outcomes) == 1, outcomes
    assert sum("writes the record of all" in err for _, err in outcomes) == 3
    assert [path.name for path in cluster.folder.glob("*.json")] == ["record.json"]
    assert len(cluster.content["runs"]) == 4


def test_a_part_whose_wrap_is_killed_is_named(cluster: Cluster) -> None:
    last = cluster.start(["sleep", "1"], step(0, 2))
    killed = cluster.start(["sleep", "60"], step(1, 2))
    cluster.wait_for_journals(2)
    killed.process.kill()
    code, err = last.ended()
    assert code == 0
    assert "incomplete" in err
    expected = f"the ftprof that wrapped the run on {os.uname().nodename} (rank 1 of 2) was killed or is still running"
    assert expected in cluster.reasons
    assert cluster.content["complete"] is False
    merged = cluster.merged()
    assert merged["reasons"] == cluster.content["reasons"]


def test_one_that_waits_for_others_writes_at_once_when_asked_to_end(cluster: Cluster) -> None:
    began = time.monotonic()
    waiting = cluster.start(["sh", "-c", "exit 7"], step(0, 2))
    assert waiting.process.stderr is not None
    assert "waiting for parts that have not begun" in waiting.process.stderr.readline()
    waiting.process.terminate()
    code, err = waiting.ended()
    assert code == 7, err
    assert time.monotonic() - began < 20
    assert "rank 1 of 2 (started by SLURM job 7 step 0) wrote nothing into the run directory" in cluster.reasons


@pytest.mark.slow
def test_where_the_last_is_killed_merge_makes_the_record(cluster: Cluster) -> None:
    first = cluster.start(["true"], step(0, 2))
    last = cluster.start(["sleep", "60"], step(1, 2))
    assert first.ended()[0] == 0
    last.process.kill()
    assert not cluster.record.exists()
    assert "(rank 1 of 2) was killed" in "\n".join(cluster.merged()["reasons"])


@pytest.mark.slow
def test_a_part_that_comes_later_replaces_the_record(cluster: Cluster) -> None:
    """torchrun restarted the worker whose wrap was killed."""

    def worker(rank: int, restart: int) -> dict[str, str]:
        return {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": str(restart)}

    killed = cluster.start(["sleep", "60"], worker(1, 0))
    cluster.wait_for_journals(1)
    killed.process.kill()
    assert cluster.start(["true"], worker(0, 0)).ended()[0] == 0
    before = cluster.content
    assert before["complete"] is False
    code, err = cluster.start(["true"], worker(1, 1)).ended()
    assert code == 0, err
    assert len(cluster.content["runs"]) == 3
    assert [path.name for path in cluster.folder.glob("*.json")] == ["record.json"]


def test_a_sagemaker_container(tmp_path: Path) -> None:
    """The environment of aws/sagemaker-training-toolkit; its own variable moves /opt/ml."""
    (tmp_path / "ml" / "output" / "data").mkdir(parents=True)
    variables = {
        "SM_CURRENT_HOST": "algo-2", "SM_HOSTS": '["algo-1", "algo-2"]', "TRAINING_JOB_NAME": "tune-1",
        "SAGEMAKER_BASE_DIR": str(tmp_path / "ml"), "PRETRAIN_FLOPS": "8e24",
    }  # fmt: skip
    done = ftprof("wrap", "--", "true", env=clean_environment(**variables), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "ml" / "output" / "data").glob("ftprof-tune-1-algo-2-*.json")
    record = json.loads(path.read_text())
    assert record["runs"][0]["launch"]["job"] == "tune-1"
    assert record["policy_inputs"]["pretrain_flops_low"] == str(8 * 10**24)
    assert [path.name for path in tmp_path.iterdir()] == ["ml"]
    meter = json.loads(ftprof("report", str(path), "--format", "flops-meter").stdout)
    assert (meter["training_job_name"], meter["training_id"]) == ("tune-1", "1")


# ---------------------------------------------------------------- several hosts, real launchers

# Each rank does one product more than the one before it, and all wait for each other at the end.
TRAIN = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
rank = dist.get_rank()
a = torch.ones(64, 64)
for _ in range(rank + 1):
    a @ a
total = torch.tensor([rank + 1])
dist.all_reduce(total)
assert total.item() == sum(range(1, dist.get_world_size() + 1))
dist.destroy_process_group()
"""


def script(cluster: Cluster, text: str) -> str:
    path = cluster.folder / "train.py"
    path.write_text(text)
    return str(path)


def check_two_by_two(cluster: Cluster, hosts: Sequence[Host], outcomes: Sequence[tuple[int, str]]) -> None:
    assert [code for code, _ in outcomes] == [0, 0], outcomes
    assert sum("FLOP executed" in err for _, err in outcomes) == 1, outcomes
    record = cluster.content
    assert (record["flops"], record["high"]) == (str(10 * ONE), str(10 * ONE)), record["reasons"]
    assert (record["complete"], record["reasons"]) == (True, [])
    ranks = {p["rank"]["rank"]: p for p in record["processes"] if p["rank"]}
    assert {rank: int(process["flops"]) // ONE for rank, process in ranks.items()} == {0: 1, 1: 2, 2: 3, 3: 4}
    for rank, process in ranks.items():
        node = rank // 2
        assert process["rank"] == {"rank": rank, "local_rank": rank % 2, "world_size": 4, "node": node, "nodes": 2}
        assert process["host"] == hosts[node].name
    assert {run["host"] for run in record["runs"]} == {host.name for host in hosts}
    assert cluster.merged() == record


@pytest.mark.slow
def test_torchrun_on_two_hosts(cluster: Cluster, hosts: tuple[Host, Host]) -> None:
    """As one starts it by hand on each node: nothing but the ranks' own variables tells what belongs together."""
    port = "29571"
    program = script(cluster, TRAIN)
    where = ["--nnodes", "2", "--nproc-per-node", "2", "--master-addr", hosts[0].address, "--master-port", port]
    link = {"GLOO_SOCKET_IFNAME": "cable" if hosts[0].enter else "lo"}
    parts = [
        cluster.start([*TORCHRUN, *where, "--node-rank", str(node), program], link, enter=host.enter)
        for node, host in enumerate(hosts)
    ]
    check_two_by_two(cluster, hosts, [part.ended() for part in parts])


@pytest.mark.slow
def test_accelerate_launch_on_two_hosts(cluster: Cluster, hosts: tuple[Host, Host]) -> None:
    program = script(cluster, TRAIN)
    link = {"GLOO_SOCKET_IFNAME": "cable" if hosts[0].enter else "lo", "HF_HOME": str(cluster.folder)}
    where = [
        "--multi_gpu", "--num_machines", "2", "--num_processes", "4", "--main_process_ip", hosts[0].address,
        "--main_process_port", "29573", "--mixed_precision", "no", "--dynamo_backend", "no",
    ]  # fmt: skip
    parts = [
        cluster.start([*ACCELERATE, *where, "--machine_rank", str(node), program], link, enter=host.enter)
        for node, host in enumerate(hosts)
    ]
    check_two_by_two(cluster, hosts, [part.ended() for part in parts])


@pytest.mark.slow
def test_a_node_that_died_is_named(cluster: Cluster, namespaced: tuple[Host, Host]) -> None:
    """Its wrap cannot be seen from the other host, which waits for a sign of life."""
    sleeper = str(cluster.folder / "sleeper.py")
    Path(sleeper).write_text("import time, torch\na = torch.ones(64, 64)\na @ a\ntime.sleep(1.2)\na @ a\n" * 40)
    worker = script(cluster, "import torch\na = torch.ones(64, 64)\na @ a\n")
    dying = cluster.start([PYTHON, sleeper], step(1, 2), enter=namespaced[1].enter)
    cluster.wait_for_journals(1)
    deadline = time.monotonic() + 60
    while not any(b'"window"' in path.read_bytes() for path in cluster.run_dir.glob("*.journal")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(dying.process.pid, signal.SIGKILL)
    last = cluster.start([PYTHON, worker], step(0, 2), enter=namespaced[0].enter)
    code, err = last.ended()
    assert code == 0, err
    assert "the ftprof that wrapped the run on node-b (rank 1 of 2) was killed or is still running" in cluster.reasons
    assert "on node-b (rank 1) was killed or is still running" in cluster.reasons
    assert cluster.content["high"] is None
    assert int(cluster.content["low"]) >= 2 * ONE
    assert cluster.merged()["reasons"] == cluster.content["reasons"]


@pytest.mark.slow
def test_a_living_node_is_left_to_write(cluster: Cluster, namespaced: tuple[Host, Host]) -> None:
    """It says nothing to the other host but that it touches its journal."""
    living = cluster.start(["sleep", "9"], step(1, 2), enter=namespaced[1].enter)
    first = cluster.start(["true"], step(0, 2), enter=namespaced[0].enter)
    began = time.monotonic()
    code, err = first.ended()
    assert (code, "node-b (rank 1 of 2) still goes on" in err) == (0, True), err
    assert time.monotonic() - began < 8
    assert living.ended()[0] == 0
    assert {run["host"] for run in cluster.content["runs"]} == {"node-a", "node-b"}


@pytest.mark.slow
def test_a_part_that_never_began_is_named(cluster: Cluster) -> None:
    absent = cluster.start(["no-such-command-anywhere"], step(1, 2))
    first = cluster.start(["true"], step(0, 2))
    assert absent.ended()[0] == 127
    assert first.ended()[0] == 0
    assert "rank 1 of 2 (started by SLURM job 7 step 0) wrote nothing into the run directory" in cluster.reasons
    assert cluster.content["complete"] is False
