"""The native writer of journals: what it writes is what ftprof reads, whatever happens to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import clean_environment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftprof.measure.analytic import hook
from ftprof.record import schemas
from ftprof.record.canonical import FIRST_HASH, canonical, chained_hash
from ftprof.record.journal import read_journal

SOURCE = Path(__file__).parents[2]
COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
BUILT = os.environ.get("FTPROF_JOURNAL_TEST")  # such as one with sanitizers

pytestmark = pytest.mark.skipif(
    not BUILT and (COMPILER is None or not (SOURCE / "csrc/journal").exists()), reason="no C++ compiler or no sources"
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """tests/native/journal_test.cpp: the writer needs no CUDA, so it is built without CMake."""
    if BUILT:
        return BUILT
    built = tmp_path_factory.mktemp("journal") / "journal_test"
    sources = sorted(map(str, (SOURCE / "csrc/journal").glob("*.cpp")))
    command = [str(COMPILER), "-std=c++17", "-O1", "-pthread", f"-I{SOURCE / 'csrc'}", "-o", str(built)]
    subprocess.run([*command, *sources, str(SOURCE / "tests/native/journal_test.cpp")], check=True, timeout=300)
    return str(built)


class Driver:
    """The test program, asked a line at a time."""

    def __init__(self, command: list[str], **options: Any) -> None:
        options.setdefault("env", clean_environment())
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="ascii", **options)

    def ask(self, line: str) -> str:
        """The answer to a line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"no answer to {line!r}, exit code {self.process.wait(timeout=10)}"
        return answer.rstrip("\n")

    def ask_all(self, *lines: str) -> list[str]:
        return [self.ask(line) for line in lines]

    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.ask("state")))

    @property
    def path(self) -> Path:
        return Path(self.state()["path"])

    def end(self) -> int:
        """Let it come to its end, which a stuck one does too; its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()


@contextlib.contextmanager
def driven(*command: str, **options: Any) -> Iterator[Driver]:
    driver = Driver(list(command), **options)
    stuck = threading.Timer(300, driver.process.kill)
    stuck.start()
    try:
        yield driver
    except BaseException:
        driver.process.kill()
        driver.end()
        raise
    else:
        assert driver.end() == 0
    finally:
        stuck.cancel()


def chain(path: Path) -> tuple[list[dict[str, Any]], bytes]:
    """The lines of a journal, whatever their kinds, and what is torn at its end; fails where the chain is broken."""
    *texts, rest = path.read_bytes().split(b"\n")
    lines, previous = [], FIRST_HASH
    for text in texts:
        line = json.loads(text)
        assert canonical(line) == text
        assert line["previous"] == previous
        assert line["hash"] == chained_hash(line)
        previous = line["hash"]
        lines.append(line)
    return lines, rest


def kinds(path: Path) -> list[str]:
    lines, rest = chain(path)
    assert rest == b""
    return [line["kind"] for line in lines]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    return made


# ---------------------------------------------------------------- hash, JSON, identity


def test_sha256_is_that_of_hashlib(program: str) -> None:
    chance = random.Random(3)
    sizes = [*range(200), 1000, 4095, 65537, 300_000]
    with driven(program, "sha256") as driver:
        for size in sizes:
            message = chance.randbytes(size)
            assert driver.ask(message.hex()) == hashlib.sha256(message).hexdigest()


class Count(int):
    """A number that is written as a decimal string."""


def tokens(value: Any) -> str:
    """As the test program reads a value."""
    if isinstance(value, Count):
        return f"c{int(value)}"
    if value is None or isinstance(value, bool):
        return {None: "n", True: "t", False: "f"}[value]
    if isinstance(value, int):
        return f"u{value}" if value >= 0 else f"i{value}"
    if isinstance(value, str):
        return "s" + value.encode().hex()
    if isinstance(value, list):
        return " ".join(["[", *map(tokens, value), "]"])
    return " ".join(["{", *(f"k{key.encode().hex()} {tokens(item)}" for key, item in value.items()), "}"])


def with_texts(value: Any) -> Any:
    """Counts as the strings that stand for them."""
    if isinstance(value, Count):
        return str(int(value))
    if isinstance(value, list):
        return [with_texts(item) for item in value]
    return {key: with_texts(item) for key, item in value.items()} if isinstance(value, dict) else value


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(0, 2**128 - 1).map(Count)
    | st.text(max_size=30)
)
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=40,
)


@pytest.fixture(scope="module")
def json_driver(program: str) -> Iterator[Driver]:
    with driven(program, "json") as driver:
        yield driver


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents)
def test_json_is_that_of_canonical(json_driver: Driver, document: Any) -> None:
    assert json_driver.ask(tokens(document)).encode() == canonical(with_texts(document))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.binary(max_size=4) | st.text(max_size=3).map(str.encode), max_size=6))
def test_broken_utf8_is_replaced_as_python_does(json_driver: Driver, parts: list[bytes]) -> None:
    text = b"".join(parts)
    assert json_driver.ask("s" + text.hex()).encode() == canonical(text.decode("utf-8", "replace"))


@pytest.mark.parametrize("name", ["plain", "a) S 1 2 (b", "((()))", ") 7 7 7", "two\nlines)", "ünïcödé"])
def test_identity_is_that_of_the_hook(program: str, tmp_path: Path, name: str) -> None:
    """The same process, first as Python, then as the test program, whatever it calls itself."""
    script = (
        "import json, os, sys\n"
        "from ftprof.measure.analytic import hook\n"
        "identity = hook.process_identity()\n"
        "path = hook.Journal(sys.argv[3], identity).path\n"
        "print(json.dumps(identity), os.getppid(), path, sep='\\n', flush=True)\n"
        "os.execv(sys.argv[1], [sys.argv[1], 'identity', sys.argv[2]])\n"
    )
    command = [sys.executable, "-c", script, program, name.encode().hex(), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60, env=clean_environment())
    expected, parent, path, native = done.stdout.decode().splitlines()
    line = json.loads(native)
    assert {key: line[key] for key in ("host", "boot", "pid", "start_ticks")} == json.loads(expected)
    assert line["parent_pid"] == int(parent)
    assert line["name"] == Path(path).name
    assert line["system"] == f"{os.uname().sysname} {os.uname().release} {os.uname().machine}"
    assert line["rank"] is None


SRUN = {
    "SLURM_PROCID": "1", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_NODES": "2",
}  # fmt: skip


def rank(rank: int, world_size: int | None = None, **more: int) -> dict[str, int]:
    """As a journal has it: what a launcher does not say is left out."""
    return {"rank": rank, **({} if world_size is None else {"world_size": world_size}), **more}


OF_SRUN = rank(1, 2, local_rank=0, node=1, nodes=2)
LAUNCHERS = {
    "torchrun": (
        {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2"},
        rank(3, 8, local_rank=1, node=1, nodes=2),
    ),
    "deepspeed": (
        {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "CROSS_RANK": "1", "CROSS_SIZE": "2"},
        rank(3, 8, local_rank=1, node=1, nodes=2),
    ),
    "Open MPI's mpirun": (
        {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"},
        rank(3, 4, local_rank=1),
    ),
    "MVAPICH2's mpirun_rsh": (
        {"MV2_COMM_WORLD_RANK": "3", "MV2_COMM_WORLD_LOCAL_RANK": "1", "MV2_COMM_WORLD_SIZE": "4"},
        rank(3, 4, local_rank=1),
    ),
    "Hydra's mpirun": ({"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "0"}, rank(1, 4, local_rank=0)),
    "srun": (SRUN, OF_SRUN),
    "PMIx alone": ({"PMIX_RANK": "5"}, rank(5)),
    "PMIx of srun": ({"PMIX_RANK": "5", **SRUN}, OF_SRUN),
    "mpirun in an srun": ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", **SRUN}, rank(3, 4)),
    "mpirun by an srun": ({"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", **SRUN}, OF_SRUN),
    "another mpirun in an srun": ({"PMI_RANK": "1", "PMI_SIZE": "4", **SRUN}, rank(1, 4)),
    "empty and negative": (
        {"RANK": "", "SLURM_PROCID": "007", "SLURM_STEP_NUM_TASKS": "-2", "PMI_SIZE": "4"},
        rank(7),
    ),
    "no whole number": ({"OMPI_COMM_WORLD_LOCAL_RANK": "2", "OMPI_COMM_WORLD_RANK": "1.5"}, None),
    "no number": ({"RANK": "nine", "LOCAL_RANK": " 1", "WORLD_SIZE": "1e3"}, None),
    "too large": ({"RANK": "9007199254740992", "MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "2"}, rank(1, 2)),
}


@pytest.mark.parametrize(("variables", "expected"), LAUNCHERS.values(), ids=LAUNCHERS)
def test_a_rank_is_the_launchers_in_both_journals(
    program: str, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: dict[str, int] | None
) -> None:
    environment = clean_environment(**variables)
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([program, "identity"], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout)["rank"] == hook.rank_of(environment) == expected


# ---------------------------------------------------------------- reading what it wrote


def test_what_it_writes_is_read(program: str, folder: Path) -> None:
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask_all("begin", "problem 5 10", "problem 6 4000", "end") == ["disk"] * 4
        path, state, pid = driver.path, driver.state(), driver.process.pid
    journal = read_journal(path)
    assert journal is not None
    assert journal.problems == ["x" * 10, "x" * 4000]
    assert (journal.lines, journal.torn) == (4, False)
    assert journal.end is not None
    assert journal.identity.pid == pid
    assert (state["bytes"], state["lines"], state["trouble"]) == (path.stat().st_size, 4, "")
    schema = json.loads(schemas.JOURNAL.read_text())
    for line in chain(path)[0]:
        jsonschema.validate(line, schema)
    assert path.name.endswith(f"-{journal.identity.start_ticks}-counters.journal")
    assert (folder / "failures.txt").read_text() == ""


def test_every_line_can_be_brought_to_the_disk(program: str, folder: Path) -> None:
    with driven(program, "script", str(folder), env=clean_environment(SYNC="1")) as driver:
        assert driver.ask_all("begin", "problem 5 10", "rollup 1", "end") == ["disk", "disk", "done", "disk"]
        assert kinds(driver.path) == ["header", "context", "rollup", "end"]


def test_a_program_that_is_replaced_goes_on(program: str, folder: Path) -> None:
    """Also in a journal whose last line is torn, and past a roll-up that it began."""
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask_all("begin", "problem 1 1", "rollup 1") == ["disk", "disk", "done"]
        path = driver.path
        Path(f"{path}.new").write_text("what a roll-up left")
        with path.open("ab") as file:
            file.write(b'{"half a li')
        assert driver.ask_all("exec\nbegin", "problem 2 1", "state")[:2] == ["disk", "disk"]
        state = driver.state()
        assert (state["continues"], state["lines"]) == (True, 5)
        assert kinds(path) == ["header", "context", "rollup", "program", "problem"]
        head = chain(path)[0][-1]["hash"]
        assert driver.ask_all("rollup 2", "end") == ["done", "disk"]
    lines, rest = chain(path)
    assert rest == b""
    assert [line["kind"] for line in lines] == ["header", "context", "rollup", "program", "context", "rollup", "end"]
    assert (lines[5]["replaces_head"], lines[5]["replaced_lines"]) == (head, 5)
    assert [entry.name for entry in folder.iterdir() if entry.name.endswith(".new")] == []


def test_a_journal_that_does_not_verify_is_not_continued(program: str, folder: Path) -> None:
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask_all("begin", "problem 1 1") == ["disk", "disk"]
        path = driver.path
        changed = path.read_bytes().replace(b'"time_us":1,', b'"time_us":2,')
        path.write_bytes(changed)
        assert driver.ask("exec\nbegin") == "memory"
        assert "does not verify" in driver.state()["trouble"]
    assert path.read_bytes() == changed
    assert "does not verify" in (folder / "failures.txt").read_text()


def test_a_link_in_the_place_of_the_journal_is_not_followed(program: str, folder: Path) -> None:
    other = folder.parent / "precious"
    other.write_text("precious")
    with driven(program, "script", str(folder)) as driver:
        driver.path.symlink_to(other)
        assert driver.ask_all("begin", "problem 1 1") == ["memory", "memory"]
    assert other.read_text() == "precious"


# ---------------------------------------------------------------- what training code does to it


def test_descriptors_that_the_program_closes(program: str, folder: Path) -> None:
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask_all("begin", "close", "problem 1 1", "close", "rollup 1", "close", "end") == [
            "disk", "done", "disk", "done", "done", "done", "disk"
        ]  # fmt: skip
        path = driver.path
    assert kinds(path) == ["header", "context", "rollup", "end"]


def test_descriptors_that_become_another_file(program: str, folder: Path) -> None:
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask_all("begin", "steal", "problem 1 1", "end") == ["disk", "done", "disk", "disk"]
        path = driver.path
    assert kinds(path) == ["header", "problem", "end"]
    assert (folder.parent / "stolen").read_bytes() == b""


def test_descriptors_closed_and_another_file_in_its_place(program: str, folder: Path) -> None:
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask("begin") == "disk"
        path = driver.path
        path.unlink()
        path.write_text("another")
        assert driver.ask_all("close", "problem 1 1", "rollup 1", "flush") == ["done", "memory", "not done", "not done"]
        assert "another file has its name" in driver.state()["trouble"]
    assert path.read_text() == "another"
    assert "another file has its name" in (folder / "failures.txt").read_text()


def test_no_descriptor_left(program: str, folder: Path) -> None:
    """From the first line, and in mid-run where the program closed ours and opened its own."""
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask_all("open_files 3", "begin", "problem 1 1") == ["done", "memory", "memory"]
        assert "too many open files" in driver.state()["trouble"]
        assert driver.ask_all("open_files 64", "flush", "problem 2 1") == ["done", "done", "disk"]
        assert driver.ask_all("close", "open_files 3", "problem 3 1") == ["done", "done", "memory"]
        assert driver.ask_all("open_files 64", "end") == ["done", "disk"]
        path = driver.path
    journal = read_journal(path)
    assert journal is not None
    assert (len(journal.problems), journal.lines) == (3, 5)


def test_the_working_folder_changes(program: str, folder: Path) -> None:
    with driven(program, "script", "run", cwd=folder.parent) as driver:
        assert driver.ask_all("chdir", "begin", "close", "problem 1 1") == ["done", "disk", "done", "disk"]
        assert driver.path.parent == folder


def test_somebody_else_writes_to_it(program: str, folder: Path) -> None:
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask("begin") == "disk"
        path = driver.path
        with path.open("ab") as file:
            file.write(b"mine\n")
        assert driver.ask_all("problem 1 1", "rollup 1") == ["memory", "not done"]
        assert "somebody else has changed it" in driver.state()["trouble"]
    assert path.read_bytes().endswith(b"}\nmine\n")


# ---------------------------------------------------------------- folders and disks that go away


@pytest.mark.parametrize("mode", ["deleted", "deleted before it began"])
def test_the_folder_is_deleted(program: str, folder: Path, mode: str) -> None:
    """Its lines wait in memory; where a folder of the name comes back, the whole journal does."""
    with driven(program, "script", str(folder)) as driver:
        if mode == "deleted":
            assert driver.ask_all("begin", "problem 1 1") == ["disk", "disk"]
        shutil.rmtree(folder)
        if mode != "deleted":
            assert driver.ask_all("begin", "problem 1 1") == ["memory", "memory"]
        assert driver.ask_all("problem 2 1", "rollup 1", "flush") == ["memory", "not done", "not done"]
        assert "no such file or folder" in driver.state()["trouble"]
        path = driver.path
        folder.mkdir()
        assert driver.ask_all("problem 3 1", "end") == ["disk", "disk"]
        assert driver.state()["held"] == 0
    journal = read_journal(path)
    assert journal is not None
    assert (len(journal.problems), journal.end is not None) == (3, True)


def test_more_waits_than_memory_is_given(program: str, folder: Path) -> None:
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask("begin") == "disk"
        shutil.rmtree(folder)
        outcomes = driver.ask_all(*[f"problem {number} 2000" for number in range(100)])
        assert outcomes == sorted(outcomes, reverse=True), "first memory, then lost"
        folder.mkdir()
        assert driver.ask("end") == "disk"
        path, state = driver.path, driver.state()
    assert state["lost"] == outcomes.count("lost") > 50
    lines, rest = chain(path)
    assert rest == b""
    assert [line["time_us"] for line in lines[1:-2]] == list(range(outcomes.count("memory")))
    assert f"; {state['lost']} of its lines did not fit into memory and are lost" in lines[-2]["what"]


def test_the_folder_is_moved(program: str, folder: Path) -> None:
    """The journal goes with it; a roll-up, which needs the name, waits until it is back."""
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask("begin") == "disk"
        name = driver.path.name
        folder.rename(folder.parent / "elsewhere")
        assert driver.ask_all("problem 1 1", "rollup 1") == ["disk", "not done"]
        assert kinds(folder.parent / "elsewhere" / name) == ["header", "problem"]
        (folder.parent / "elsewhere").rename(folder)
        assert driver.ask_all("rollup 1", "end") == ["done", "disk"]
    assert kinds(folder / name) == ["header", "context", "rollup", "end"]


def test_only_the_file_is_deleted(program: str, folder: Path) -> None:
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask_all("begin", "problem 1 1") == ["disk", "disk"]
        driver.path.unlink()
        assert driver.ask_all("problem 2 1", "rollup 1") == ["disk", "done"]
        assert kinds(driver.path) == ["header", "context", "rollup"]


def test_a_limit_on_the_size_of_files(program: str, folder: Path) -> None:
    """The default action of SIGXFSZ would end the program."""
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask_all("begin", "file_size 2000") == ["disk", "done"]
        outcomes = driver.ask_all(*[f"problem {number} 300" for number in range(8)])
        assert outcomes == sorted(outcomes)
        assert {"disk", "memory"} == set(outcomes)
        path = driver.path
        assert kinds(path) == ["header"] + ["problem"] * outcomes.count("disk")
        exact = driver.state()["bytes"]  # where not a byte fits, the write sends the signal
        assert driver.ask_all(f"file_size {exact}", "flush", "file_size 10", "rollup 1") == [
            "done", "not done", "done", "not done"
        ]  # fmt: skip
        assert driver.ask_all("file_size -1", "end") == ["done", "disk"]
        assert kinds(path) == ["header"] + ["problem"] * 8 + ["end"]


def mounted(program: str, folder: Path, options: str) -> list[str]:
    """The test program with a file system of its own at ``folder``, which nobody else sees."""
    inside = f"mount -t tmpfs -o {options} tmpfs '{folder}' && exec '{program}' script '{folder}'"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    trial = [*command, f"mount -t tmpfs tmpfs '{folder}'"]
    if shutil.which("unshare") is None or subprocess.run(trial, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system lets nobody mount a file system of their own")
    return [*command, inside]


def test_a_full_disk(program: str, folder: Path) -> None:
    with driven(*mounted(program, folder, "size=64k")) as driver:
        assert driver.ask("begin") == "disk"
        outcomes = driver.ask_all(*[f"problem {number} 3000" for number in range(60)])
        assert list(dict.fromkeys(outcomes)) == ["disk", "memory", "lost"]
        assert outcomes == sorted(outcomes, key=["disk", "memory", "lost"].index)
        state = driver.state()
        assert "no space left" in state["trouble"] or "a part of a line" in state["trouble"]
        path = Path(f"/proc/{driver.process.pid}/root{driver.path}")
        assert kinds(path) == ["header"] + ["problem"] * outcomes.count("disk")
        assert driver.ask_all("rollup 1", "flush", "end") == ["not done", "not done", "memory"]
        assert path.stat().st_size == state["bytes"]


def test_a_disk_that_was_full(program: str, folder: Path) -> None:
    with driven(*mounted(program, folder, "size=128k")) as driver:
        seen = Path(f"/proc/{driver.process.pid}/root{folder}")
        assert driver.ask("begin") == "disk"
        with contextlib.suppress(OSError), (seen / "filling").open("wb", buffering=0) as filling:
            while filling.write(bytes(4096)):
                pass
        outcomes = driver.ask_all(*[f"problem {number} 900" for number in range(20)])
        assert "memory" in outcomes
        path = seen / driver.path.name
        assert kinds(path) == ["header"] + ["problem"] * outcomes.count("disk")
        assert driver.ask("rollup 1") == "not done"
        (seen / "filling").unlink()
        assert driver.ask_all("flush", "rollup 1", "end") == ["done", "done", "disk"]
        assert kinds(path) == ["header", "context", "rollup", "end"]


def test_a_read_only_folder(program: str, folder: Path) -> None:
    with driven(*mounted(program, folder, "ro")) as driver:
        assert driver.ask_all("begin", "problem 1 1", "flush") == ["memory", "memory", "not done"]
        assert "read-only" in driver.state()["trouble"]
        assert driver.ask_all("writable", "end") == ["done", "disk"]
        path = Path(f"/proc/{driver.process.pid}/root{driver.path}")
        assert kinds(path) == ["header", "problem", "end"]
        assert not (path.parent / "failures.txt").exists(), "in the end nothing has failed"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else(program: str, folder: Path) -> None:
    folder.chmod(0o555)
    with driven(program, "script", str(folder)) as driver:
        assert driver.ask_all("begin", "problem 1 1") == ["memory", "memory"]
        assert "not permitted" in driver.state()["trouble"]
        folder.chmod(0o755)
        assert driver.ask("end") == "disk"
        assert kinds(driver.path) == ["header", "problem", "end"]


# ---------------------------------------------------------------- killed at any moment


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_any_moment(program: str, tmp_path: Path, seed: int) -> None:
    """Ten times each, also in the midst of roll-ups: no line that was said to be on disk is missing."""
    chance = random.Random(seed)
    for attempt in range(10):
        folder, said = tmp_path / f"run{attempt}", tmp_path / f"said{attempt}"
        folder.mkdir()
        with said.open("wb") as out:
            process = subprocess.Popen([program, "torture", str(folder), f"{seed}{attempt}"], stdout=out)
            time.sleep(chance.uniform(0.0, 0.2) ** 1.5)
            process.kill()
            assert process.wait() == -9
        answers = [int(number) for number in said.read_text().split("\n")[:-1]]
        paths = list(folder.glob("*.journal"))
        if not paths:
            assert answers == []
            continue
        covered: set[int] = set()
        for line in chain(paths[0])[0]:
            covered |= set(range(1, line["upto"] + 1)) if line["kind"] == "rollup" else set()
            covered |= {line["n"]} if line["kind"] == "counts" else set()
        assert covered == set(range(1, len(covered) + 1)), "nothing is missing in between"
        assert len(covered) >= len(answers)
