"""Runs the installed ``ftprof`` command as its users do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FTPROF = str(Path(sys.executable).with_name("ftprof"))
REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "scripts" / "examples" / "finetune_lora.py"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For ``-n auto``: one more than there are cores, since many tests wait."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the source folder ``python -c`` would import the sources, which have no native module."""
    monkeypatch.chdir(tmp_path)


def clean_environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would change a run: launchers' and policies' variables."""
    drop = ("PRETRAIN_FLOPS", "FTPROF_BASE_MODELS", "RANK", "LOCAL_RANK", "WORLD_SIZE", "PYTHONPATH", "NO_COLOR")
    launchers = ("SLURM_", "OMPI_", "PMI_", "PMIX_", "MV2_", "PET_", "TORCHELASTIC_", "SM_", "TRAINING_JOB_NAME")
    kept = {name: value for name, value in os.environ.items() if name not in drop and not name.startswith(launchers)}
    return {**kept, "OMP_NUM_THREADS": "1", **changes}


@dataclass(frozen=True)
class Wrapped:
    """What came of one ``ftprof wrap``."""

    code: int
    out: str
    err: str
    path: Path

    @property
    def record(self) -> dict[str, Any]:
        return dict(json.loads(self.path.read_text()))

    @property
    def flops(self) -> int:
        return int(self.record["flops"] or 0)

    def not_counted(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.record["not_counted"]}


def ftprof(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line and capture both streams."""
    options.setdefault("env", clean_environment())
    return subprocess.run([FTPROF, *arguments], capture_output=True, text=True, timeout=900, **options)


@pytest.fixture
def wrap(tmp_path: Path) -> Callable[..., Wrapped]:
    """Wrap a command; the record lies in the test's own folder."""

    def run(command: Sequence[str], *options: str, env: dict[str, str] | None = None, **others: Any) -> Wrapped:
        path = tmp_path / "record.json"
        done = ftprof(
            "wrap", "-o", str(path), "--force", *options, "--", *command,
            env=env or clean_environment(), cwd=tmp_path, **others,
        )  # fmt: skip
        return Wrapped(done.returncode, done.stdout, done.stderr, path)

    return run


@pytest.fixture
def wrap_python(wrap: Callable[..., Wrapped], tmp_path: Path) -> Callable[..., Wrapped]:
    """Wrap a Python program given as text, with arguments of its own."""

    def run(program: str, *options: str, arguments: Sequence[str] = (), **others: Any) -> Wrapped:
        script = tmp_path / "program.py"
        script.write_text(textwrap.dedent(program))
        return wrap([sys.executable, str(script), *arguments], *options, **others)

    return run
