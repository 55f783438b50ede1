"""Which processes use torch without the hook, on a /proc made for the purpose."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from ftprof.measure.analytic.environment import BOOTSTRAP
from ftprof.measure.unhooked import (
    ISOLATED,
    NEVER_LOADED,
    NO_ENVIRONMENT,
    NO_PYTHON,
    UnhookedProcesses,
    of_another_user,
)

TORCH = "7f00-7f01 r-xp 0 00:00 1 /site-packages/torch/lib/libtorch_cpu.so\n"
TORCH_OF_PYTHON = TORCH + "7f02-7f03 r-xp 0 00:00 2 /site-packages/torch/lib/libtorch_python.so\n"


class Processes:
    """A /proc, and the directory of a run whose command is process 10."""

    def __init__(self, folder: Path) -> None:
        self.run, self.proc = folder / "run", folder / "proc"
        self.run.mkdir()
        (self.run / "failures.txt").touch()
        self.hooks = {"FTPROF_RUN_DIR": str(self.run), "PYTHONPATH": f"{BOOTSTRAP}{os.pathsep}/elsewhere"}
        self.add(10, 1, maps="", arguments=["sh"])
        self.unhooked = UnhookedProcesses(self.run, 10, self.proc)

    def add(
        self,
        pid: int,
        parent: int,
        maps: str = TORCH_OF_PYTHON,
        arguments: Sequence[str] = ("python", "train.py"),
        environment: dict[str, str] | None = None,
        user: int | None = None,
    ) -> Path:
        """A process; without ``environment``, with the one that the hook needs, and without ``user`` of our own."""
        folder = self.proc / str(pid)
        (folder / "fd").mkdir(parents=True)
        fields = ["S", str(parent), *["0"] * 17, str(1000 + pid), "0"]
        (folder / "stat").write_text(f"{pid} (a name) {' '.join(fields)}")
        identities = "\t".join([str(os.geteuid() if user is None else user)] * 4)
        (folder / "status").write_text(f"Name:\tpython\nUid:\t{identities}\nGid:\t0\t0\t0\t0\n")
        (folder / "maps").write_text(maps)
        (folder / "cmdline").write_text("".join(f"{argument}\0" for argument in arguments))
        variables = self.hooks if environment is None else environment
        (folder / "environ").write_text("".join(f"{name}={value}\0" for name, value in variables.items()))
        return folder

    def found(self) -> list[str]:
        self.unhooked.look()
        return self.unhooked.found()


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


@pytest.mark.parametrize("lacks", ["FTPROF_RUN_DIR", "PYTHONPATH"])
def test_an_environment_of_its_own(processes: Processes, lacks: str) -> None:
    del processes.hooks[lacks]
    processes.add(11, 10)
    processes.add(12, 11)
    expected = [f"process {pid} (python train.py) used torch and was not counted: {NO_ENVIRONMENT}" for pid in (11, 12)]
    assert processes.found() == expected


def test_a_path_set_anew(processes: Processes) -> None:
    processes.add(11, 10, environment={**processes.hooks, "PYTHONPATH": "/elsewhere"})
    assert NO_ENVIRONMENT in processes.found()[0]


@pytest.mark.parametrize(
    ("arguments", "isolated"),
    [
        (["-I", "train.py"], True),
        (["-uE", "train.py"], True),
        (["-u", "-S", "-m", "train"], True),
        (["-u", "train.py", "-I"], False),
        (["-c", "pass", "-I"], False),
        (["-cIES"], False),
        (["-m", "train", "-E"], False),
        (["-W", "ignore::ImportWarning", "train.py"], False),
        (["-WIgnore", "train.py"], False),
        (["--check-hash-based-pycs", "always", "train.py", "-S"], False),
        ([], False),
    ],
)
def test_options_of_python(processes: Processes, arguments: list[str], isolated: bool) -> None:
    processes.add(11, 10, arguments=["python", *arguments])
    assert [ISOLATED in sentence for sentence in processes.found()] == [isolated]


def test_another_language(processes: Processes) -> None:
    processes.add(11, 10, maps=TORCH, arguments=["a.out"])
    assert processes.found() == [f"process 11 (a.out) used torch and was not counted: {NO_PYTHON}"]


def test_what_is_no_torch_or_not_of_the_run(processes: Processes) -> None:
    processes.add(11, 10, maps="7f00-7f01 r-xp 0 00:00 1 /home/libtorch/lib/libm.so\n", environment={})
    processes.add(12, 1, environment={})
    processes.add(13, 10, environment={**processes.hooks, "FTPROF_RUN_DIR": "/another/run"})
    assert processes.found() == []


def test_a_fork_of_one_that_closed_all_files_is_as_hooked_as_that(processes: Processes) -> None:
    """And one that ended in its import is as its siblings are: of the command and environment of one with a journal."""
    for pid in (11, 12, 13):
        processes.add(pid, 10)
    processes.add(14, 10, arguments=["python", "other.py"])
    processes.add(15, 10, environment={**processes.hooks, "RANK": "1"})
    (processes.run / "host-12345678-12-1012.journal").touch()
    assert [sentence.partition(" used ")[0] for sentence in processes.found()] == [
        "process 14 (python other.py)",
        "process 15 (python train.py)",
    ]


def test_one_with_a_journal_excuses_none_without_the_hooks_environment(processes: Processes) -> None:
    processes.add(11, 10, environment={})
    processes.add(12, 10, environment={})
    (processes.run / "host-12345678-12-1012.journal").touch()
    assert [sentence.partition(" (")[0] for sentence in processes.found()] == ["process 11"]


OTHER = os.geteuid() + 1000


def test_another_user_that_kept_no_journal_in_the_end(processes: Processes) -> None:
    """It may begin one after the look. That of its parent, which is of this user, says nothing of it."""
    for pid in (11, 12):
        processes.add(pid, 10, user=OTHER)
    processes.unhooked.look()
    (processes.run / "host-12345678-10-1010.journal").touch()
    (processes.run / "host-12345678-12-1012.journal").touch()
    why = of_another_user(OTHER)
    assert processes.unhooked.found() == [f"process 11 (python train.py) used torch and was not counted: {why}"]


def test_another_user_that_may_not_be_looked_into(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root in a container cannot, without its capability: whatever is Python may have used torch."""
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "maps":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    processes.add(11, 10, arguments=["/usr/bin/python3.11", "train.py"], user=OTHER)
    processes.add(12, 11, arguments=["/usr/bin/python3.11", "train.py"], user=OTHER)
    processes.add(13, 10, arguments=["sudo", "python3", "train.py"], user=OTHER)
    processes.add(14, 10)
    processes.add(15, 10, user=OTHER)
    processes.unhooked.look()
    (processes.run / "host-12345678-11-1011.journal").touch()  # and 12 is its fork, which counted nothing so far
    (sentence,) = processes.unhooked.found()
    assert sentence.startswith(
        "process 15 (python train.py) was not counted, and whether it used torch could not be seen"
    )


WORKER = ["python", "/site-packages/torch/_inductor/compile_worker/__main__.py", "--workers=4"]
CHECK = [
    "python",
    "-c",
    '\nimport sys\nif sys.platform != "linux":\n    import torch\nfrom ctypes import cdll\ncdll.LoadLibrary("/x.so")\n',
]
OLDER_CHECK = ["python", "-c", '\nimport torch\nfrom ctypes import cdll\ncdll.LoadLibrary("/x.so")\n']


@pytest.mark.parametrize(
    "arguments", [WORKER, CHECK, OLDER_CHECK, ["python", "-m", "torch._vendor.quack._compile_worker"]]
)
def test_what_torch_starts_to_compile_runs_no_operator(processes: Processes, arguments: list[str]) -> None:
    processes.add(11, 10, arguments=arguments, environment={**processes.hooks, "PYTHONPATH": "/site-packages"})
    processes.add(12, 10, maps=TORCH, arguments=arguments, environment={})
    processes.add(13, 10, arguments=["python", "torch/train_compiled.py"], environment={})
    assert [sentence.split()[1] for sentence in processes.found()] == ["13"]


def test_one_that_is_hooked(processes: Processes) -> None:
    """By the file that the hook holds open, which forked children inherit; or by its journal."""
    (processes.add(11, 10, environment={}) / "fd" / "7").symlink_to(processes.run / "failures.txt")
    (processes.add(12, 10, environment={}) / "fd" / "7").symlink_to("/nowhere")
    processes.add(13, 10, environment={})
    (processes.run / "host-12345678-13-1013.journal").touch()
    assert [sentence.split()[1] for sentence in processes.found()] == ["12"]


def test_one_that_the_hook_never_comes_into(processes: Processes) -> None:
    processes.add(11, 10)
    assert processes.found() == [f"process 11 (python train.py) used torch and was not counted: {NEVER_LOADED}"]


@pytest.mark.parametrize("evidence", ["journal", "file", "failure"])
def test_one_that_was_seen_while_it_imported_torch(processes: Processes, evidence: str) -> None:
    folder = processes.add(11, 10, maps=TORCH)
    assert NO_PYTHON in processes.found()[0], "torch's part for Python is not loaded yet"
    (folder / "maps").write_text(TORCH_OF_PYTHON)
    assert NEVER_LOADED in processes.found()[0]
    if evidence == "journal":
        (folder / "stat").unlink()  # it has ended before the next look
        (processes.run / "host-12345678-11-1011.journal").touch()
    elif evidence == "file":
        (folder / "fd" / "7").symlink_to(processes.run / "failures.txt")
    else:
        (processes.run / "failures.txt").write_text("process 11: the analytic meter could not be loaded: why\n")
    assert processes.found() == []


def test_one_that_has_ended_stays_named(processes: Processes) -> None:
    folder = processes.add(11, 10, environment={})
    before = processes.found()
    (folder / "stat").unlink()
    (folder / "maps").unlink()
    assert processes.found() == before != []


def test_a_command_line_of_any_bytes_is_one_short_line(processes: Processes) -> None:
    processes.add(11, 10, arguments=["python", "-c", "import torch\n" + "é" * 300], environment={})
    sentence = processes.found()[0]
    assert sentence.isascii() or "\ufffd" in sentence
    assert "\n" not in sentence
    assert len(sentence) < 300


@pytest.mark.parametrize(("look_s", "looks"), [(0.0005, 60), (0.02, 9), (0.5, 4)])
def test_looking_takes_little_of_the_time(
    processes: Processes, monkeypatch: pytest.MonkeyPatch, look_s: float, looks: int
) -> None:
    """Once a second at the most, and every quarter of a minute at the least."""
    clock = [100.0]
    monkeypatch.setattr("ftprof.measure.unhooked.time.monotonic", lambda: clock[0])
    looked: list[float] = []

    def look(_: UnhookedProcesses) -> None:
        looked.append(clock[0])
        clock[0] += look_s

    monkeypatch.setattr(UnhookedProcesses, "look", look)
    for second in range(60):
        clock[0] = max(clock[0], 100.0 + second)
        processes.unhooked.tick()
    assert len(looked) == looks
